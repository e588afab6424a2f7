"""Both paradigms at a held-out scale over HTTP: the document, what it costs, its figure, its page and its export."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.cells import Cell
from orchestrator.law import fit
from orchestrator.settings import Settings
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Run, RunResult, Sweep
from orchestrator.tables.formats import read_table
from tests.orchestrator.conftest import FIELDS, House
from tests.orchestrator.heldout.carried import COMPARISON, SEARCH, compared_loss


@pytest.fixture
def ended(compared: tuple[Store, Sweep]) -> Sweep:
    return compared[1]


@pytest.fixture
def over(compared: tuple[Store, Sweep], tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service over that store."""
    app = create_app(settings=Settings(home=tmp_path), store=compared[0])
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def answer(client: TestClient, path: str, status: int = 200) -> Any:
    response = client.get(path)
    assert response.status_code == status, response.text
    return response.json()


def spoken(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_document_has_contenders_cost_and_verdict(over: TestClient, ended: Sweep) -> None:
    shown = answer(over, f"/v1/sweeps/{ended.id}/comparison")
    assert (shown["sweep_id"], shown["state"], shown["seeds"]) == (ended.id, "complete", 2)
    assert shown["held_out"]["params"] == 2 * 12 * 128**2
    assert shown["law_number"] == ended.law_number
    assert shown["best"]["status"] == "interior"
    assert shown["module_search"]["ended"] == 8
    assert shown["verdict"].startswith("Trust Fitting here: ")
    by_name = {item["name"]: item for item in shown["contenders"]}
    assert set(by_name) >= {"Fitting", "Transfer", "the same rate", "Step Law", "Zhou", "module-wise"}
    assert by_name["Step Law"]["source"] == "arXiv 2503.04715"
    assert by_name["Fitting"]["difference"] is None
    for item in shown["contenders"]:
        excess = item["excess_loss"]
        assert excess["low"] < excess["value"] < excess["high"]
        assert [run["seed"] for run in item["runs"]] == [0, 1]
    assert all(len(rate["runs"]) == 2 for rate in shown["reference"])
    assert all(rate["excess_loss"] > -0.001 for rate in shown["reference"])


def test_the_runs_that_it_names_are_runs_of_the_sweep(over: TestClient, ended: Sweep) -> None:
    shown = answer(over, f"/v1/sweeps/{ended.id}/comparison")
    module_wise = shown["contenders"][-1]
    run = answer(over, f"/v1/runs/{module_wise['runs'][0]['run_id']}")
    assert run["arm"] == "standard"
    assert run["module_rates"].split(",")[0].split("=")[0] in module_wise["module_rates"]
    assert run["loss"] == module_wise["runs"][0]["loss"]


def test_a_sweep_without_one_is_not_found_in_a_sentence(
    client: TestClient, submitted: Callable[..., Any]
) -> None:
    sweep_id = submitted().sweep.id
    problem = answer(client, f"/v1/sweeps/{sweep_id}/comparison", status=404)
    assert problem["detail"] == (
        f"Sweep {sweep_id} compares nothing: its specification has no comparison. Submit one with "
        "comparison: {scale: {width: …, depth: …}}."
    )


def test_before_the_search_is_over_it_waits(client: TestClient) -> None:
    made = client.post("/v1/sweeps", json={**FIELDS, "comparison": COMPARISON})
    assert made.status_code == 201, made.text
    shown = answer(client, f"/v1/sweeps/{made.json()['id']}/comparison")
    assert (shown["state"], shown["contenders"], shown["verdict"]) == ("waiting", [], None)
    figure = answer(client, f"/v1/sweeps/{made.json()['id']}/figures/comparison")
    assert "after the search" in figure["layout"]["annotations"][0]["text"].replace("<br>", " ")


def test_a_plan_shows_what_it_adds(client: TestClient) -> None:
    fields = {**FIELDS, "search": SEARCH, "comparison": COMPARISON}
    plan = client.post("/v1/sweeps?validate_only=true", json=fields).json()
    assert plan["comparison"]["runs"] == 26
    assert plan["comparison"]["flops"] == 26 * 6 * 393_216 * 200_704
    without = client.post("/v1/sweeps?validate_only=true", json={**FIELDS, "search": SEARCH}).json()
    assert without["comparison"] is None
    assert without["full_grid"] == plan["full_grid"]


@pytest.mark.parametrize(
    ("comparison", "path"),
    [
        ({"scale": {"width": 32, "depth": 2}}, "comparison.scale"),
        ({"scale": {"width": 128, "depth": 2}, "seeds": 0}, "comparison.seeds"),
    ],
)
def test_one_that_cannot_be_is_refused_and_nothing_is_written(
    client: TestClient, store: Store, comparison: dict[str, Any], path: str
) -> None:
    for address in ("/v1/sweeps", "/v1/sweeps?validate_only=true"):
        response = client.post(address, json={**FIELDS, "comparison": comparison})
        assert response.status_code == 422
        assert response.json()["errors"][0]["path"] == path
    assert store.sweeps.page()[0] == []


def test_its_cost_is_separate_from_the_searchs(
    over: TestClient, ended: Sweep, compared: tuple[Store, Sweep]
) -> None:
    cost = answer(over, f"/v1/sweeps/{ended.id}")["cost"]
    tally = compared[0].sweeps.tallies([ended.id])[ended.id]
    assert cost["comparison_flops"] == tally.compared_flops > 0
    assert cost["spent_flops"] == tally.spent_flops > 0
    assert cost["saved_fraction"] == pytest.approx(1 - cost["spent_flops"] / cost["full_grid_flops"])


def test_the_export_marks_its_runs_so_that_a_law_takes_the_searchs(over: TestClient, ended: Sweep) -> None:
    text = over.get(f"/v1/sweeps/{ended.id}/runs.csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["arm"] for row in rows} == {"search", "standard", "transfer", "base"}
    table = read_table(text.encode()).one_recipe({"arm": "search"})
    law = answer(over, f"/v1/sweeps/{ended.id}/laws/{ended.law_number}")
    assert fit(table.observations()).runs == law["runs"]


@pytest.mark.parametrize("columns", [None, 1, 4])
def test_its_figure_is_valid_plotly_json(over: TestClient, ended: Sweep, columns: int | None) -> None:
    query = "" if columns is None else f"?columns={columns}"
    drawn = answer(over, f"/v1/sweeps/{ended.id}/figures/comparison{query}")
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    names = [trace["name"] for trace in go.Figure(drawn).data]
    assert names.count("reference bowl") == 2
    assert names.count("Fitting") == 1
    assert names.count("Transfer") == 2


def test_the_other_figures_show_the_search_alone(over: TestClient, ended: Sweep) -> None:
    for name in ("bowls", "coverage", "losses", "savings", "residuals", "law"):
        text = json.dumps(answer(over, f"/v1/sweeps/{ended.id}/figures/{name}"))
        assert "at the held-out scale" not in text


def test_its_page_shows_the_table_and_lists_every_run(over: TestClient, ended: Sweep) -> None:
    page = over.get(f"/sweeps/{ended.id}").text
    text = spoken(page)
    assert "Fitting and Transfer" in text
    assert "Trust Fitting here: " in text
    assert "For Fitting at the held-out scale." in over.get(f"/sweeps/{ended.id}?state=completed").text or (
        "of 8 for module-wise rates" in page
    )
    run = answer(over, f"/v1/sweeps/{ended.id}/comparison")["contenders"][-1]["runs"][0]["run_id"]
    assert "Role in the comparison" in over.get(f"/runs/{run}").text


def test_a_contender_none_of_whose_runs_completed_has_dashes_for_numbers(
    client: TestClient, store: Store
) -> None:
    def lost(run: Run, cell: Cell) -> RunResult:
        if cell.role == "transfer":
            return RunResult(run_id=run.id, state=RunState.FAILED, reason="the machine went away")
        return compared_loss(run, cell)

    house = House(store)
    sweep = house.until_final(house.submit(search=SEARCH, comparison=COMPARISON).id, lost)
    house.rest()
    transfer = answer(client, f"/v1/sweeps/{sweep.id}/comparison")["contenders"][1]
    assert (transfer["excess_loss"], transfer["difference"], transfer["diverged"]) == (None, None, False)
    text = spoken(client.get(f"/sweeps/{sweep.id}").text)
    assert re.search(r"Transfer [0-9.e-]+ – – ", text)
    assert "so the two cannot be compared." in text
    names = [item["name"] for item in answer(client, f"/v1/sweeps/{sweep.id}/figures/comparison")["data"]]
    assert "Fitting" in names


def test_a_page_of_one_that_was_cut_short_says_so_beside_what_is_known(
    client: TestClient, store: Store
) -> None:
    house = House(store)
    sweep_id = house.submit(search=SEARCH, comparison=COMPARISON).id
    house.loop.step()
    while not store.runs.of_comparison(sweep_id):
        house.driver.finish(house.driver.claim(sweep_id), compared_loss)
        house.loop.step()
    house.driver.finish(house.driver.claim(sweep_id, most=1), compared_loss)
    store.sweeps.move(sweep_id, SweepState.CANCELLED)
    house.rest()
    text = spoken(client.get(f"/sweeps/{sweep_id}").text)
    assert "The comparison was cut short: the sweep is cancelled " in text
    assert "so the two cannot be compared." in text
