"""``etalon sweep extend``, ``clone`` and ``etalon run`` against a real server, and the same changes as pages offer them."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from tests.api.servers import Server
from tests.etalon.cli.running import answer_of, etalon, plain, refusal_of


@pytest.fixture
def ended(
    served: tuple[Server, Store], submit_to: Any, train_all: Any, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A completed sweep of a server that the commands ask."""
    server, store = served
    monkeypatch.setenv("ETALON_URL", server.url)
    monkeypatch.setenv("ETALON_TOKEN", "")
    recorded = train_all(store, submit_to(store, name=f"ended {secrets.token_hex(4)}").sweep)
    recorded.move(SweepState.COMPLETED)
    return recorded


def test_a_sweep_is_extended_by_options(ended: Any) -> None:
    options = ("--tokens", "800k", "--tokens", "400k", "--scale", "width=256,depth=2", "--budget-runs", "200")
    more = ("--budget-flops", "1e18", "--max-rate", "0.1", "--target", "params=2M", "--name", "none")
    sweep = answer_of("sweep", "extend", ended.sweep.id, *options, *more)
    spec = sweep["spec"]
    assert (sweep["state"], sweep["revision"], sweep["name"]) == ("queued", 2, "none")
    assert spec["grid"]["tokens"] == [200_000, 400_000, 800_000]
    assert [scale["width"] for scale in spec["grid"]["scales"]] == [32, 64, 128, 256]
    assert spec["grid"]["learning_rates"] == {"min": 1e-3, "max": 0.1, "per_octave": 1}
    assert spec["search"]["budget"] == {"runs": 200, "flops": 1e18, "seconds": None}
    assert spec["target"] == {"params": 2e6, "tokens": 8e5, "batch_tokens": 2048}

    lifted = answer_of("sweep", "extend", ended.sweep.id, "--budget-runs", "none", "--target", "none")
    assert (lifted["spec"]["search"]["budget"]["runs"], lifted["spec"]["target"]) == (None, None)
    status, text = etalon("sweep", "extend", ended.sweep.id, "--seeds", 2)
    assert (status, plain(text)) == (0, f"{ended.sweep.id} is queued, revision 4")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), "Nothing to change"),
        (("--tokens", "many"), "--tokens"),
        (("--learning-rate", "0.2"), "--min-rate or --max-rate"),
        (("--scale", "width"), "name=value"),
        (("--scale", "width=257,depth=2"), "grid.scales.3.width"),
        (("--min-rate", "0.002"), "grid.learning_rates"),
    ],
)
def test_an_extension_that_cannot_be_is_refused(ended: Any, options: tuple[str, ...], found: str) -> None:
    assert found in refusal_of("sweep", "extend", ended.sweep.id, *options)
    assert ended.store.sweeps.get(ended.sweep.id).revision == 1


def test_a_sweep_is_cloned(ended: Any) -> None:
    copy = answer_of("sweep", "clone", ended.sweep.id, "--patch", '{"name": "copy"}')
    assert (copy["name"], copy["state"], copy["revision"]) == ("copy", "queued", 1)
    assert "not JSON" in refusal_of("sweep", "clone", ended.sweep.id, "--patch", "name")


def test_runs_are_excluded_included_and_retried(ended: Any) -> None:
    runs = ended.store.runs.of_sweep(ended.sweep.id)
    completed = next(run for run in runs if run.state is RunState.COMPLETED)
    diverged = next(run for run in runs if run.state is RunState.DIVERGED)
    assert answer_of("run", "exclude", completed.id, "--reason", "a bad node")["excluded"] == "a bad node"
    assert answer_of("run", "include", completed.id)["excluded"] is None
    assert "can be retried" in refusal_of("run", "retry", completed.id, code=1)
    status, text = etalon("run", "retry", diverged.id)
    assert (status, plain(text)) == (0, f"{diverged.id} is retried; it is pending")


def test_pages_offer_what_the_states_allow(client: TestClient, trained: Any) -> None:
    sweep = f"/sweeps/{trained.sweep.id}"
    assert 'data-revision="1"' in client.get(sweep).text
    runs = trained.store.runs.of_sweep(trained.sweep.id)
    completed = next(run for run in runs if run.state is RunState.COMPLETED)
    diverged = next(run for run in runs if run.state is RunState.DIVERGED)
    pruned = next(run for run in runs if run.state is RunState.PRUNED)

    def verbs(run_id: str) -> list[str]:
        text = client.get(f"/runs/{run_id}").text
        return [verb for verb in ("retry", "exclude", "include") if f'data-verb="{verb}"' in text]

    assert verbs(completed.id) == ["exclude"]
    assert verbs(diverged.id) == ["retry", "exclude"]
    assert verbs(pruned.id) == []
    trained.store.revisions.exclude(completed.id, "a <bad> node")
    assert verbs(completed.id) == ["retry", "include"]
    assert "Excluded from the law: a &lt;bad&gt; node" in client.get(f"/runs/{completed.id}").text
    trained.move(SweepState.CANCELLED)
    assert "data-revision" not in client.get(sweep).text
    assert verbs(completed.id) == ["include"]
