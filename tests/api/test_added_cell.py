"""A cell that is added to a recorded sweep shifts nothing: its number is a name, not a position."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from sqlalchemy import create_engine, insert
from starlette.testclient import TestClient

from api.dashboard.views import run_view
from api.figures.bowls import bowl_panels
from api.figures.coverage_map import coverage_map
from api.figures.law_curves import law_view
from api.figures.residuals import residuals
from api.figures.savings import grid_shares, savings
from api.figures.snapshot import read_snapshot
from orchestrator.cells import Cell, Cells
from orchestrator.knowledge import knowledge_of
from orchestrator.law import fit
from orchestrator.settings import Settings
from orchestrator.states import SweepState
from orchestrator.store import schema
from orchestrator.submission.preview import cells_of

PLACE = (0, 0.001)
"""The rate that the sweep rules out, in its smallest cell."""


def smaller(cells: Cells, number: int) -> Cell:
    """A cell that would come first by size."""
    return replace(cells[0], number=number, params=cells[0].params / 4, trunk="another")


def add_cell(url: str, sweep_id: str, cell: Cell) -> None:
    """Write a further cell of a sweep, as no method of the store does yet."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(schema.cells), {"sweep_id": sweep_id, **asdict(cell)})
    engine.dispose()


def shown(recorded: Any, client: TestClient) -> dict[str, Any]:
    """The laws, figures and documents of the sweep as it was before."""
    store, sweep = recorded.store, recorded.sweep
    snapshot, known = read_snapshot(store, sweep.id), knowledge_of(store, sweep, None)
    coverage = coverage_map(snapshot)
    url = f"/v1/sweeps/{sweep.id}"
    return {
        "law": fit(known.observations).to_document(),
        "cells": {
            (coverage.rows[cell.row], coverage.columns[cell.column]): cell.counts for cell in coverage.cells
        },
        "panels": bowl_panels(snapshot),
        "residuals": residuals(snapshot),
        "shares": grid_shares(snapshot),
        "savings": savings(snapshot, store.laws.of_sweep(sweep.id)),
        "view": law_view(snapshot).answer.model_dump(exclude={"sweep_id"}),
        "spent": known.spent_flops,
        "runs": client.get(f"{url}/runs").json(),
        "table": client.get(f"{url}/runs.csv").text,
        "figures": {
            name: client.get(f"{url}/figures/{name}").json() for name in ("bowls", "losses", "residuals")
        },
    }


@pytest.mark.parametrize("number", [6, 11])
def test_a_smaller_cell_that_is_added_shifts_nothing(
    trained: Any, client: TestClient, sqlite_url: str, number: int
) -> None:
    before, cells = shown(trained, client), trained.store.sweeps.cells(trained.sweep.id)
    assert cells.next_number == 6
    added = smaller(cells, number)

    add_cell(sqlite_url, trained.sweep.id, added)

    assert trained.store.sweeps.cells(trained.sweep.id) == Cells([*cells, added])
    after = shown(trained, client)
    more = after["cells"].keys() - before["cells"].keys()
    assert [after["cells"].pop(name) for name in more] == [{None: len(added.rates)}]
    assert after == before

    trained.ask(trained.sweep.id, (number, added.rates[0]))
    trained.train()
    runs = client.get(f"/v1/sweeps/{trained.sweep.id}/runs").json()["items"]
    assert runs[:-1] == before["runs"]["items"]
    assert (runs[-1]["cell"], runs[-1]["params"], runs[-1]["state"]) == (number, added.params, "completed")
    assert run_view(trained.store, runs[-1]["id"], "200").run.params == added.params


def test_numbers_with_holes_in_another_order_give_the_same_law_and_figures(
    trained: Any, client: TestClient
) -> None:
    """The same sweep with its cells numbered 15, 12, 9, … shows and says the same."""
    store = trained.store
    spec = trained.sweep.spec
    number_of = {number: 15 - 3 * number for number in range(6)}
    cells = Cells(replace(cell, number=number_of[cell.number]) for cell in cells_of(spec, store, Settings()))
    sweep, _ = store.sweeps.create(spec, cells=cells)
    other = type(trained)(store, sweep)
    other.move(SweepState.RUNNING)
    asked = [(cell.number, rate) for cell in cells_of(spec, store, Settings()) for rate in cell.rates]
    other.ask(
        sweep.id,
        *((number_of[cell], rate) for cell, rate in asked if (cell, rate) != PLACE),
        pruned=[(number_of[PLACE[0]], PLACE[1])],
    )
    other.train()
    other.fit()

    first, second = shown(trained, client), shown(other, client)
    for same in ("law", "cells", "residuals", "view", "spent", "shares"):
        assert second[same] == first[same]
    panels = {panel.title: panel.curve for panel in first["panels"][0]}
    assert {panel.title: panel.curve for panel in second["panels"][0]} == panels
    assert [run["params"] for run in second["runs"]["items"]] == [
        run["params"] for run in first["runs"]["items"]
    ]
