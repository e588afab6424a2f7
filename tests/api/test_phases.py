"""The law before the decay beside the law after it, over REST, in a world where the two differ."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from api.figures.snapshot import read_snapshot
from api.figures.stable_snapshot import stable_snapshot
from orchestrator.cells import Cell
from orchestrator.states import RunState, SweepState
from orchestrator.store.records import RunResult
from tests.known_law import KnownLaw

GRID = {
    "scales": [{"width": 32, "depth": 2}, {"width": 64, "depth": 2}, {"width": 128, "depth": 2}],
    "tokens": [204_800, 409_600, 819_200, 1_638_400],
    "batch_tokens": [2048],
    "learning_rates": {"min": 2.5e-4, "max": 3.2e-2, "per_octave": 1.5},
}
STABLE_EXPONENT, ANNEALED_EXPONENT = -0.1, -0.4
NUMBER = r"([−+]?\d+\.\d+)"


ANNEALED = KnownLaw(
    rate=4e-3,
    at=(1e5, 5e5, 1.0),
    exponents=(-0.3, ANNEALED_EXPONENT, 0.0),
    curvature=0.03,
    bottom=lambda cell: 2.0 + (6 * cell.params * cell.tokens / 1e11) ** -0.1,
)
STABLE = replace(ANNEALED, rate=2e-3, exponents=(-0.3, STABLE_EXPONENT, 0.0))


def at_fork(cell: Cell) -> Cell:
    """The cell where its decay begins."""
    return replace(cell, tokens=cell.fork_tokens)


def train(recorded: Any, *, measured: bool = True) -> None:
    """Finish every rate of every cell; ``measured`` says whether the losses before the decay are known."""
    cells = recorded.store.sweeps.cells(recorded.sweep.id)
    random = np.random.default_rng(3)
    recorded.move(SweepState.RUNNING)
    recorded.ask(recorded.sweep.id, *((cell.number, rate) for cell in cells for rate in cell.rates))
    fence = recorded.drive(recorded.sweep.id)
    results = []
    for run in recorded.store.runs.claim(recorded.sweep.id, fence=fence):
        cell, rate = cells[run.cell], run.learning_rate
        before, after = 5e-4 * random.standard_normal(2)
        results.append(
            RunResult(
                run_id=run.id,
                state=RunState.COMPLETED,
                loss=ANNEALED.loss(cell, rate) * (1 + after),
                trunk_loss=1.05 * STABLE.loss(at_fork(cell), rate) * (1 + before) if measured else None,
            )
        )
    recorded.store.runs.finish(results, fence=fence)


@pytest.fixture
def both(submitted: Callable[..., Any]) -> Any:
    """A sweep whose runs are done before and after their decay, with a law."""
    recorded = submitted(grid=GRID)
    train(recorded)
    recorded.fit()
    return recorded


def figure(client: TestClient, recorded: Any, name: str, **query: str) -> Any:
    return client.get(f"/v1/sweeps/{recorded.sweep.id}/figures/{name}", params=query)


def words(answer: Any) -> str:
    assert answer.status_code == 200
    sentence = " ".join(note["text"] for note in answer.json()["layout"]["annotations"])
    return sentence.replace("<br>", " ").replace("\u00a0", " ")


def test_a_line_under_the_law_says_how_its_optima_differ(client: TestClient, both: Any) -> None:
    sentence = words(figure(client, both, "law", phase="stable"))
    ratio, low, high = (
        float(part)
        for part in re.search(f"η\\* is {NUMBER} times .* \\(95 %: {NUMBER} – {NUMBER}\\)", sentence).groups()  # type: ignore[union-attr]
    )
    largest = max(both.store.sweeps.cells(both.sweep.id), key=lambda cell: cell.flops)
    truth = STABLE.optimum(at_fork(largest)) / ANNEALED.optimum(largest)
    assert low < ratio < high < 1.3 * low
    assert low < truth < high
    assert "at N 393 k, D 1.64 M" in sentence
    exponents = re.search(f"D: {NUMBER} ± {NUMBER} before, {NUMBER} ± {NUMBER} after", sentence)
    assert exponents is not None
    before, before_sd, after, after_sd = (float(part.replace("−", "-")) for part in exponents.groups())
    assert before == pytest.approx(STABLE_EXPONENT, abs=3 * before_sd)
    assert after == pytest.approx(ANNEALED_EXPONENT, abs=3 * after_sd)
    assert before - after > 3 * math.hypot(before_sd, after_sd)


def test_the_stable_law_is_drawn_where_the_decay_begins_and_never_at_the_target(
    client: TestClient, both: Any
) -> None:
    stable = figure(client, both, "law", phase="stable").json()
    forks = {round(cell.fork_tokens) for cell in both.store.sweeps.cells(both.sweep.id)}
    (measured,) = (
        trace for trace in stable["data"] if trace["name"] == "measured" and trace["xaxis"] == "x2"
    )
    assert {round(tokens) for tokens in measured["x"]} == forks
    names = {trace["name"] for trace in stable["data"]}
    assert "target" not in names
    assert "law, largest cell" in names


def test_the_bowls_before_the_decay_show_the_losses_there(client: TestClient, both: Any) -> None:
    stable = figure(client, both, "bowls", phase="stable")
    assert "N 24.6 k · D 164 k" in words(stable)
    marks = [trace for trace in stable.json()["data"] if trace["name"] == "completed" and trace["x"][0]]
    shown = {(rate, loss) for trace in marks for rate, loss in zip(trace["x"], trace["y"], strict=True)}
    known = {(run.learning_rate, run.trunk_loss) for run in both.store.runs.of_sweep(both.sweep.id)}
    best = {min(trace["y"]) for trace in marks}
    assert best <= {loss for _, loss in known}
    assert len(shown & known) > len(marks)


@pytest.mark.parametrize("name", ["bowls", "law"])
def test_annealed_is_what_is_drawn_unless_one_asks(client: TestClient, both: Any, name: str) -> None:
    usual = figure(client, both, name).json()
    stable = figure(client, both, name, phase="stable").json()
    assert figure(client, both, name, phase="annealed").json() == usual != stable


def test_the_stable_law_leaves_laws_and_predictions_alone(client: TestClient, both: Any) -> None:
    def answers() -> list[Any]:
        at = {"params": 1e6, "tokens": 2e6}
        base = f"/v1/sweeps/{both.sweep.id}"
        return [client.get(base).json()["law"], client.get(f"{base}/prediction", params=at).json()]

    before = answers()
    figure(client, both, "law", phase="stable")
    assert answers() == before
    assert [record.number for record in both.store.laws.of_sweep(both.sweep.id)] == [1]


def test_it_is_fitted_once_for_every_law(both: Any) -> None:
    first, again = (stable_snapshot(read_snapshot(both.store, both.sweep.id)) for _ in range(2))
    both.fit()
    later = stable_snapshot(read_snapshot(both.store, both.sweep.id))
    assert again.law is first.law is not None
    assert later.law is not first.law


def test_an_unknown_phase_is_refused(client: TestClient, both: Any) -> None:
    answer = figure(client, both, "law", phase="liquid")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["path"] == "phase"
    assert "'annealed' or 'stable'" in error["message"]


@pytest.mark.parametrize("name", ["coverage", "losses", "residuals", "savings"])
def test_other_figures_have_no_stable_phase(client: TestClient, both: Any, name: str) -> None:
    answer = figure(client, both, name, phase="stable")
    assert answer.status_code == 422
    assert "phase" in answer.json()["errors"][0]["path"]
    assert "bowls, law" in answer.json()["detail"]
    assert figure(client, both, name, phase="annealed").status_code == 200


@pytest.mark.parametrize("name", ["bowls", "law"])
def test_a_cosine_has_no_stable_phase(client: TestClient, submitted: Callable[..., Any], name: str) -> None:
    trainer = {"kind": "proxy", "schedule": {"shape": "cosine"}}
    answer = figure(client, submitted(trainer=trainer, grid=GRID), name, phase="stable")
    assert answer.status_code == 409
    assert "decay by a cosine from the end of the warmup" in answer.json()["detail"]


def test_without_a_law_and_without_losses_before_the_decay_the_figure_says_why(
    client: TestClient, submitted: Callable[..., Any]
) -> None:
    recorded = submitted(grid=GRID)
    assert "with the sweep's first law" in words(figure(client, recorded, "law", phase="stable"))
    train(recorded, measured=False)
    recorded.fit()
    sentence = words(figure(client, recorded, "law", phase="stable"))
    assert "The stable phase has no law: 0 of 0 runs completed" in sentence
    assert figure(client, recorded, "bowls", phase="stable").status_code == 200


def test_the_exported_table_has_both_losses(client: TestClient, both: Any) -> None:
    head, *rows = client.get(f"/v1/sweeps/{both.sweep.id}/runs.csv").text.splitlines()
    loss, trunk = (head.split(",").index(name) for name in ("loss", "trunk_loss"))
    found = {(float(row.split(",")[loss]), float(row.split(",")[trunk])) for row in rows}
    assert found == {(run.loss, run.trunk_loss) for run in both.store.runs.of_sweep(both.sweep.id)}
