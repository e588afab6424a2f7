"""Coverage, learning curves and savings in numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from api.figures.coverage_map import MOST_ROWS, count_text, coverage_map
from api.figures.learning_curves import draw_losses, learning_curves, why_no_curves
from api.figures.run_curve import draw_run
from api.figures.savings import grid_shares, savings
from orchestrator.cells import Cell, Cells
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from tests.api.figures.building import (
    RATES,
    full_bowls,
    make_answer,
    make_cells,
    make_points,
    make_record,
    make_run,
    make_snapshot,
)


def test_coverage_has_a_tile_for_every_rate_of_every_cell():
    cells = make_cells()
    view = coverage_map(make_snapshot(cells, [make_run(0, RATES[0]), make_run(0, RATES[9], RunState.PRUNED)]))
    assert len(view.cells) == len(cells)
    assert all(len(cell.tiles) == len(RATES) for cell in view.cells)
    assert (len(view.rows), len(view.columns)) == (2, 3)
    first = view.cells[0]
    assert (first.tiles[0].state, first.tiles[1].state) == (RunState.COMPLETED, None)
    assert first.counts == {RunState.COMPLETED: 1, RunState.PRUNED: 1, None: 8}


def test_a_pruned_tile_shows_its_reason():
    runs = [make_run(0, RATES[9], RunState.PRUNED, reason="the law puts the optimum at 4e-3")]
    tile = coverage_map(make_snapshot(make_cells(), runs)).cells[0].tiles[9]
    assert "the law puts the optimum at 4e-3" in tile.text


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ((RunState.COMPLETED, RunState.RUNNING), RunState.RUNNING),
        ((RunState.PRUNED, RunState.PENDING), RunState.PENDING),
        ((RunState.DIVERGED, RunState.COMPLETED), RunState.COMPLETED),
    ],
)
def test_seeds_in_different_states_show_the_most_telling_one(states, shown):
    runs = [make_run(0, RATES[0], state, seed=seed) for seed, state in enumerate(states)]
    assert coverage_map(make_snapshot(make_cells(), runs)).cells[0].tiles[0].state is shown


def test_a_map_too_large_for_a_page_says_how_many_cells_it_leaves_out():
    cells = make_cells(sizes=tuple(1e4 * 1.1**i for i in range(MOST_ROWS + 10)), horizons=(1e5,))
    view = coverage_map(make_snapshot(cells))
    assert len(view.rows) == MOST_ROWS
    assert view.left_out == 10


@pytest.mark.parametrize(("panels", "columns"), [(1, 3), (2, 6), (3, 9), (None, 16)])
def test_a_narrow_map_has_fewer_columns_and_counts_the_cells_it_leaves_out(panels, columns):
    view = coverage_map(make_snapshot(make_cells(horizons=tuple(1e5 * i for i in range(1, 21)))), panels)
    assert len(view.columns) == columns
    assert (view.columns[0], view.columns[-1]) == ("100\xa0k", "2\xa0M")
    assert view.left_out == 2 * (20 - columns)


@pytest.mark.parametrize(
    ("state", "trainer", "words"),
    [
        (SweepState.RUNNING, {}, "when a run reports"),
        (SweepState.COMPLETED, {}, "has ended"),
        (SweepState.RUNNING, {"kind": "replay", "table": "t"}, "A replay looks up"),
        (SweepState.COMPLETED, {"kind": "replay", "table": "t"}, "A replay looks up"),
    ],
)
def test_curves_are_promised_only_where_some_will_come(
    state: SweepState, trainer: dict[str, str], words: str
):
    snapshot = make_snapshot(make_cells(), state=state)
    if trainer:
        spec = parse_spec({"name": "again", "trainer": trainer})
        snapshot = replace(snapshot, sweep=replace(snapshot.sweep, spec=spec))
    assert learning_curves(snapshot, {}) is None
    assert words in why_no_curves(snapshot)


def test_counts_are_words_where_there_is_room():
    runs = [
        make_run(0, RATES[0]),
        make_run(0, RATES[1], RunState.PENDING),
        make_run(0, RATES[2], RunState.PRUNED),
    ]
    cell = coverage_map(make_snapshot(make_cells(), runs)).cells[0]
    assert count_text(cell, short=False) == "1 of 10 run · 1 pruned · 1 open"
    assert count_text(cell, short=True) == "2/10"


def test_a_trunk_shared_by_horizons_is_drawn_once_and_as_far_as_it_goes():
    cells = make_cells()
    short = make_run(0, 1e-3, trunk_id="trunk")
    long = make_run(1, 1e-3, trunk_id="trunk")
    points = {
        short.id: [*make_points("trunk", [5.0, 4.0]), *make_points(short.id, [3.9], start=3)],
        long.id: [*make_points("trunk", [5.0, 4.0, 3.5, 3.2]), *make_points(long.id, [3.0, 2.9], start=5)],
    }
    view = learning_curves(make_snapshot(cells, [short, long]), points)
    trunks = [curve for curve in view.curves if curve.trunk]
    branches = [curve for curve in view.curves if not curve.trunk]
    assert [curve.loss for curve in trunks] == [(5.0, 4.0, 3.5, 3.2)]
    assert [curve.loss for curve in branches] == [(4.0, 3.9), (3.2, 3.0, 2.9)]
    assert (view.runs_shown, view.runs_total) == (2, 2)


def test_a_divergence_does_not_set_the_scale_and_a_loss_that_is_no_number_is_left_out():
    run = make_run(0, 1e-3, trunk_id=None)
    bad = make_run(0, 5e-2, RunState.DIVERGED, trunk_id=None)
    points = {
        run.id: make_points(run.id, [5.0, 4.0, 3.0]),
        bad.id: make_points(bad.id, [5.0, 80.0, math.nan]),
    }
    view = learning_curves(make_snapshot(make_cells(), [run, bad]), points)
    assert view.high < 6.0
    assert all(math.isfinite(loss) for curve in view.curves for loss in curve.loss)


def test_without_losses_there_are_no_curves():
    assert learning_curves(make_snapshot(make_cells(), [make_run(0, 1e-3)]), {}) is None


def test_the_four_parts_of_the_cost_add_up_to_the_full_grid():
    cells = make_cells()
    runs = full_bowls([cells[0], cells[1], cells[2]])[:20]
    open_runs = [make_run(3, RATES[0], RunState.RUNNING), make_run(3, RATES[9], RunState.PRUNED)]
    for state in (SweepState.RUNNING, SweepState.COMPLETED):
        snapshot = make_snapshot(cells, [*runs, *open_runs], state=state)
        parts = grid_shares(snapshot)
        assert parts.full == pytest.approx(snapshot.sweep.full_grid_flops)
        assert parts.spent == pytest.approx(sum(run.flops for run in runs))
        assert min(parts.spent, parts.shared, parts.open, parts.never_run) >= 0


def test_what_is_not_decided_yet_is_not_called_saved_while_the_sweep_lives():
    cells = make_cells()
    pruned = make_run(5, RATES[9], RunState.PRUNED)
    living = grid_shares(make_snapshot(cells, [*full_bowls([cells[0]]), pruned]))
    ended = grid_shares(make_snapshot(cells, [*full_bowls([cells[0]]), pruned], state=SweepState.COMPLETED))
    assert living.never_run == pytest.approx(cells[5].flops)
    assert ended.open == 0
    assert ended.never_run == pytest.approx(living.open + living.never_run)


def test_a_shared_trunk_is_a_saving_of_its_own():
    cells = make_cells()
    half = [make_run(0, rate, flops=cells[0].flops / 2) for rate in RATES]
    assert grid_shares(make_snapshot(cells, half)).shared == pytest.approx(cells[0].flops * len(RATES) / 2)


def test_batches_add_up_and_pruned_rates_cost_nothing():
    runs = [
        make_run(0, RATES[0], batch=1, flops=2.0),
        make_run(0, RATES[1], batch=2, flops=3.0),
        make_run(0, RATES[2], batch=2, flops=4.0),
        make_run(0, RATES[3], RunState.PRUNED),
    ]
    batches = savings(make_snapshot(make_cells(), runs), []).batches
    assert [(b.number, b.runs, b.flops, b.cumulative) for b in batches] == [
        (1, 1, 2.0, 2.0),
        (2, 2, 7.0, 9.0),
    ]


def test_the_interval_of_every_law_is_a_factor_and_a_refusal_has_none():
    laws = [make_record(number=1), make_record(prediction=make_answer(), number=2)]
    intervals = savings(make_snapshot(make_cells()), laws).intervals
    assert intervals[0].factor is None
    assert intervals[1].factor == pytest.approx(2.0)


def test_cells_without_a_lattice_have_no_coverage():
    cell = Cell(number=0, params=1e4, tokens=1e5, batch_tokens=256, rates=())
    assert coverage_map(make_snapshot(Cells((cell,)))).cells == ()


def test_a_first_loss_at_step_0_does_not_keep_a_curve_from_being_drawn():
    run = make_run(0, 1e-3, trunk_id=None)
    points = make_points(run.id, [5.0, 4.0, 3.0], start=0)
    view = learning_curves(make_snapshot(make_cells(), [run]), {run.id: points})
    for drawn in (draw_losses(view), draw_run(run, make_cells()[0], points)):
        assert drawn.data[0].x[:2] == (256, 512)
        assert drawn.layout.xaxis.range[0] < math.log10(256)
    first = make_points(run.id, [5.0], start=0)
    assert learning_curves(make_snapshot(make_cells(), [run]), {run.id: first}) is None
    assert not draw_run(run, make_cells()[0], first).data
