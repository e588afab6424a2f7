"""Runs over REST: pages, learning curves, and an export that is a run table."""

from collections.abc import Callable
from math import nan
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from orchestrator.knowledge import observations_of
from orchestrator.states import SweepState
from orchestrator.store.records import LensPoint
from orchestrator.tables.formats import read_table
from orchestrator.tables.table_notices import table_notices


def test_runs_come_in_pages_with_their_cells(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/runs"
    first = client.get(url, params={"limit": "20"}).json()
    rest = client.get(url, params={"limit": "20", "cursor": first["next_cursor"]}).json()
    runs = first["items"] + rest["items"]
    assert rest["next_cursor"] is None
    assert first["total"] == len(runs) == len({run["id"] for run in runs}) == 36
    cells = trained.store.sweeps.cells(trained.sweep.id)
    for run in runs:
        cell = cells[run["cell"]]
        assert (run["params"], run["tokens"], run["batch_tokens"]) == (
            cell.params,
            cell.tokens,
            cell.batch_tokens,
        )


def test_runs_are_filtered_by_state(client: TestClient, trained: Any) -> None:
    page = client.get(f"/v1/sweeps/{trained.sweep.id}/runs", params={"state": "diverged"}).json()
    assert page["total"] == len(page["items"]) == 6
    assert all(run["loss"] is None and run["learning_rate"] > 0.03 for run in page["items"])
    refused = client.get(f"/v1/sweeps/{trained.sweep.id}/runs", params={"state": "lost"})
    assert refused.status_code == 422
    assert "'pruned'" in refused.json()["detail"]


def test_a_run_is_shown_alone_as_in_the_list(client: TestClient, trained: Any) -> None:
    run = client.get(f"/v1/sweeps/{trained.sweep.id}/runs").json()["items"][5]
    assert client.get(f"/v1/runs/{run['id']}").json() == run
    assert client.get(f"/v1/runs/{'0' * 32}").status_code == 404


def test_the_curve_has_trunk_then_branch_and_keeps_its_ends(client: TestClient, trained: Any) -> None:
    page = client.get(f"/v1/sweeps/{trained.sweep.id}/runs", params={"state": "completed"}).json()
    url = f"/v1/runs/{page['items'][0]['id']}/losses"
    whole = client.get(url).json()["points"]
    assert [point["step"] for point in whole] == list(range(1, 60))
    assert [point["part"] for point in whole] == ["trunk"] * 49 + ["branch"] * 10
    few = client.get(url, params={"max_points": "10"}).json()["points"]
    assert len(few) <= 10
    assert (few[0], few[-1]) == (whole[0], whole[-1])


def test_what_the_lenses_saw_has_trunk_then_branch_and_both_lenses(client: TestClient, trained: Any) -> None:
    run = next(run for run in trained.store.runs.of_sweep(trained.sweep.id) if run.state == "completed")
    values = {
        "gradient_norm": 1.5,
        "gradient_norm_max": 2.0,
        "loss_spikes": 1.0,
        "attention_logit": 7.0,
        "head.activation": 3.0,
        "head.change": 0.2,
        "head.update": 0.01,
        "attention.update": 0.02,
    }
    seen = [(str(run.trunk_id), 32, values), (run.id, 52, {"attention_logit": 40.0, "head.activation": nan})]
    trained.store.lenses.append(
        [LensPoint(curve=curve, step=step, tokens=2048 * step, values=found) for curve, step, found in seen]
    )
    answer = client.get(f"/v1/runs/{run.id}/lenses").json()
    first, second = answer["points"]
    assert answer["reason"] is None
    assert (first["step"], first["tokens"], first["part"]) == (32, 65_536, "trunk")
    assert (first["gradient_norm_max"], first["loss_spikes"], first["output_logit_rms"]) == (2.0, 1, 3.0)
    assert first["expert_imbalance"] is None
    assert first["modules"] == {
        "attention": {"activation": None, "change": None, "update": 0.02},
        "head": {"activation": 3.0, "change": 0.2, "update": 0.01},
    }
    assert (second["part"], second["attention_logit"], second["output_logit_rms"]) == ("branch", 40.0, None)
    assert (second["loss_spikes"], second["modules"]) == (None, {})


def test_a_run_without_lenses_says_why(client: TestClient, trained: Any) -> None:
    runs = {run.state: run for run in trained.store.runs.of_sweep(trained.sweep.id)}
    for state, words in (("completed", "besides its losses"), ("pruned", "ruled out")):
        answer = client.get(f"/v1/runs/{runs[state].id}/lenses").json()
        assert answer["points"] == []
        assert words in answer["reason"]
    assert client.get(f"/v1/runs/{'0' * 32}/lenses").status_code == 404


def test_a_divergence_says_after_how_many_tokens(client: TestClient, trained: Any) -> None:
    runs = client.get(f"/v1/sweeps/{trained.sweep.id}/runs?limit=200").json()["items"]
    found = {(run["state"], run["diverged_tokens"]) for run in runs}
    assert found == {("completed", None), ("diverged", 81_920), ("pruned", None)}


def test_a_number_of_points_out_of_range_is_refused(client: TestClient, trained: Any) -> None:
    run_id = trained.store.runs.of_sweep(trained.sweep.id)[0].id
    for points in ("1", "10001", "all"):
        answer = client.get(f"/v1/runs/{run_id}/losses", params={"max_points": points})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "max_points"


def test_the_export_is_a_run_table_of_what_was_learned(client: TestClient, trained: Any) -> None:
    answer = client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = read_table(answer.content)
    runs = [run for run in trained.store.runs.of_sweep(trained.sweep.id) if run.state != "pruned"]
    assert len(table) == len(runs) == 35
    assert table.cells == 6
    assert table.recipe_columns().recipes == {}
    assert table.learning_rate.tolist() == [run.learning_rate for run in runs]
    losses = np.array([np.nan if run.loss is None else run.loss for run in runs])
    assert np.array_equal(table.loss, losses, equal_nan=True)


def test_an_export_can_be_uploaded_again(client: TestClient, trained: Any) -> None:
    exported = client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv")
    table = client.post("/v1/tables", content=exported.content, headers={"content-type": "text/csv"}).json()
    assert (table["rows"], table["cells"], table["diverged"], table["recipes"]) == (35, 6, 6, {})


def test_an_export_is_read_back_as_the_sweeps_runs_without_a_warning(
    client: TestClient, submitted: Callable[..., Any]
) -> None:
    recorded = submitted()
    recorded.move(SweepState.RUNNING)
    for cell in recorded.store.sweeps.cells(recorded.sweep.id):
        recorded.ask(recorded.sweep.id, *((cell.number, rate) for rate in cell.rates[cell.number % 2 :]))
    recorded.ask(recorded.sweep.id, (0, 0.004, 1), (0, 0.008, 1))
    recorded.train()
    text = client.get(f"/v1/sweeps/{recorded.sweep.id}/runs.csv").content

    table = read_table(text)
    read, own = table.observations(), observations_of(recorded.store, recorded.sweep)

    assert table_notices(table.one_recipe({})) == ()
    for column in ("params", "tokens", "batch_tokens", "learning_rate", "loss", "seed"):
        assert np.array_equal(getattr(read, column), getattr(own, column), equal_nan=True)
    assert table.numbers("gpu_seconds").tolist() == [0.5] * len(table)
    assert np.unique(read.trunks).size < len(table)  # horizons share trunks
    assert read.counting().digest("") == own.counting().digest("")
