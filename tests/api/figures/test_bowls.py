"""Bowls in numbers."""

from __future__ import annotations

import pytest

from api.figures.bowls import FROM_TABLE, OFF_THE_SCALE, TALLEST, bowl_excess, bowl_panels
from api.figures.selection import evenly
from api.figures.snapshot import EarlierRun, FigureSnapshot, rounded
from orchestrator.law import BowlStatus
from orchestrator.states import RunState
from tests.api.figures.building import RATES, fitted, full_bowls, make_cells, make_run, make_snapshot


def test_every_cell_with_runs_has_a_panel_and_its_name():
    cells = make_cells()
    panels, total = bowl_panels(make_snapshot(cells, full_bowls(tuple(cells)[:4])))
    assert total == len(panels) == 4
    assert panels[0].title.replace("\u00a0", " ") == "N 10 k · D 100 k"


def test_the_name_says_the_batch_where_it_varies():
    cells = make_cells(batches=(256.0, 1024.0))
    panels, _ = bowl_panels(make_snapshot(cells, full_bowls(cells)))
    assert {panel.title.split("B ")[-1].replace("\u00a0", " ") for panel in panels} == {"256", "1.02 k"}


def test_a_cell_with_nothing_but_pruned_rates_is_not_shown():
    cells = make_cells()
    runs = [make_run(0, 1e-3), make_run(1, 1e-3, RunState.PRUNED)]
    panels, total = bowl_panels(make_snapshot(cells, runs))
    assert [panel.cell.number for panel in panels] == [0]
    assert total == 1


def test_panels_are_capped_at_even_steps_with_both_ends():
    cells = make_cells(sizes=tuple(1e4 * 2**i for i in range(20)))
    panels, total = bowl_panels(make_snapshot(cells, full_bowls(cells)), most=7)
    assert total == 60
    assert [panel.cell.number for panel in panels] == [0, 10, 20, 30, 39, 49, 59]
    first = tuple(cells)[:3]
    assert evenly(first, 7) == list(first)


def test_the_fitted_curve_passes_through_its_minimum_and_stays_within_the_panel():
    cells = make_cells()
    runs = full_bowls(cells)
    panels, _ = bowl_panels(make_snapshot(cells, runs, law=fitted(cells, runs)))
    for panel in panels:
        assert panel.bowl is not None
        assert panel.bowl.status is BowlStatus.INTERIOR
        lowest = min(panel.curve, key=lambda point: point[1])
        assert lowest[0] == pytest.approx(panel.bowl.learning_rate, rel=0.1)
        assert lowest[1] == pytest.approx(panel.bowl.loss, rel=1e-3)
        assert all(loss <= panel.high for _, loss in panel.curve)


def test_losses_far_above_the_best_stand_on_the_top_edge():
    runs = [make_run(0, 1e-3, loss=2.0), make_run(0, 2e-3, loss=2.1), make_run(0, 4e-3, loss=9.0)]
    (panel,), _ = bowl_panels(make_snapshot(make_cells(), runs))
    top = panel.marks[-1]
    assert panel.high < 2.0 * (1 + 1.3 * TALLEST)
    assert panel.kind(top) == OFF_THE_SCALE
    assert panel.height(top) == panel.high
    assert panel.kind(panel.marks[0]) == RunState.COMPLETED


def test_a_diverged_run_stands_on_the_top_edge_and_a_pruned_rate_at_the_bottom():
    runs = [
        make_run(0, 1e-3, loss=2.0),
        make_run(0, 3e-2, RunState.DIVERGED),
        make_run(0, 5e-2, RunState.PRUNED),
    ]
    (panel,), _ = bowl_panels(make_snapshot(make_cells(), runs))
    by_kind = {mark.kind: panel.height(mark) for mark in panel.marks}
    assert by_kind["diverged"] == panel.high
    assert by_kind["pruned"] == panel.low


def test_an_open_run_stands_on_the_fitted_curve():
    cells = make_cells()
    runs = full_bowls(cells)
    law = fitted(cells, runs)
    waiting = make_run(0, RATES[4] * 1.1, RunState.PENDING)
    panels, _ = bowl_panels(make_snapshot(cells, [*runs, waiting], law=law))
    mark = next(mark for mark in panels[0].marks if mark.kind == "pending")
    bowl = panels[0].bowl
    assert panels[0].height(mark) == pytest.approx(bowl.loss * (1 + bowl_excess(bowl, mark.learning_rate)))


def test_before_any_loss_open_runs_stand_in_the_middle():
    (panel,), _ = bowl_panels(make_snapshot(make_cells(), [make_run(0, 1e-3, RunState.RUNNING)]))
    assert (panel.low, panel.high) == (None, None)
    assert panel.height(panel.marks[0]) == 0.5


def test_noise_alone_does_not_fill_a_panel():
    (panel,), _ = bowl_panels(
        make_snapshot(make_cells(), [make_run(0, 1e-3, loss=2.0), make_run(0, 2e-3, loss=2.0001)])
    )
    assert panel.high - panel.low > 0.02 * 2.0


def test_runs_of_a_prior_table_are_marked_as_such():
    cells = make_cells()
    snapshot = make_snapshot(cells, [make_run(0, 1e-3, loss=2.0)])
    at = rounded(cells[0])
    known = FigureSnapshot(
        sweep=snapshot.sweep,
        cells=cells,
        runs=snapshot.runs,
        earlier={at: (EarlierRun(learning_rate=2e-3, loss=1.9), EarlierRun(learning_rate=0.1, loss=None))},
    )
    (panel,), _ = bowl_panels(known)
    assert [mark.kind for mark in panel.marks] == [FROM_TABLE, "diverged", "completed"]
    assert panel.low < 1.9


def test_reasons_of_runs_are_shown_without_their_markup():
    runs = [make_run(0, 1e-3, RunState.PENDING, reason="<b>because</b>")]
    (panel,), _ = bowl_panels(make_snapshot(make_cells(), runs))
    assert "&lt;b&gt;because" in panel.marks[0].text
