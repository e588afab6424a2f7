"""Cells go by number: numbers with holes, or in another order than the sizes, change no plan."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import BadInput
from orchestrator.law import Law
from orchestrator.planner import planner_of
from orchestrator.planner.information import Information
from orchestrator.planner.values import BatchPlan, KnownRun, PlanRequest, RunHistory, RunOutcome, asked_flops
from tests.orchestrator.planner.worlds import Sweep, World, law_of, proxies

SMALL = Cell(number=7, params=1e3, tokens=1e5, batch_tokens=256.0, rates=(1e-3, 2e-3))
LARGE = Cell(number=2, params=1e6, tokens=1e5, batch_tokens=256.0, rates=(1e-3,), role="transfer")


def test_cells_are_found_by_number_and_come_in_its_order() -> None:
    cells = Cells([SMALL, LARGE])
    assert (cells[7], cells[2]) == (SMALL, LARGE)
    assert list(cells) == [LARGE, SMALL]
    assert ([cell.number for cell in cells], cells.next_number) == ([2, 7], 8)
    with pytest.raises(KeyError):
        cells[0]


def test_rows_of_arrays_are_positions_in_the_order_of_numbers() -> None:
    cells = Cells([SMALL, LARGE])
    assert (cells.row_of(2), cells.row_of(7)) == (0, 1)
    with pytest.raises(KeyError):
        cells.row_of(1)


def test_cells_are_equal_by_their_content_and_survive_pickling() -> None:
    cells = Cells([SMALL, LARGE])
    assert cells == Cells([LARGE, SMALL]) == pickle.loads(pickle.dumps(cells))
    assert len({cells, Cells([LARGE, SMALL])}) == 1
    assert cells != Cells([SMALL])
    assert SMALL in cells
    assert replace(SMALL, tokens=2e5) not in cells
    assert not Cells()
    assert Cells().next_number == 0


def test_the_cells_of_the_search_have_no_role() -> None:
    assert Cells([SMALL, LARGE]).searched == Cells([SMALL])


def test_two_cells_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="two cells have one number"):
        Cells([SMALL, replace(LARGE, number=7)])


def test_a_cell_has_a_point() -> None:
    assert SMALL.point == Point(params=1e3, tokens=1e5, batch_tokens=256.0)


@pytest.fixture(scope="module")
def world() -> World:
    return proxies(3, rates=9)


@pytest.fixture(scope="module")
def sweep(world: World) -> Sweep:
    """A sweep under way, with a law."""
    request = PlanRequest(target=world.target, rates_per_cell=4, max_parallel=2)
    started = Sweep(world=world, planner=planner_of("law"), request=request)
    for _ in range(2):
        started.step()
    return started


@pytest.fixture(scope="module")
def law(sweep: Sweep) -> Law:
    found = law_of(sweep.history)
    assert found is not None
    return found


def renumbered(history: RunHistory) -> tuple[RunHistory, dict[int, int]]:
    """The same cells under numbers with holes, the largest first; and the new number of each."""
    number_of = {cell.number: 3 * len(history.cells) - 2 * cell.number for cell in history.cells}
    cells = Cells(replace(cell, number=number_of[cell.number]) for cell in history.cells)
    runs = tuple(replace(run, cell=number_of[run.cell]) for run in history.runs)
    return replace(history, cells=cells, runs=runs), number_of


def with_another(history: RunHistory, number: int) -> RunHistory:
    """The same history with one more cell, smaller and cheaper than all others, whose only rates have failed."""
    first = min(history.cells, key=lambda cell: cell.flops)
    more = replace(first, number=number, params=first.params / 4, rates=first.rates[3:5], trunk="another")
    failed = tuple(
        KnownRun(cell=number, learning_rate=rate, seed=0, outcome=RunOutcome.FAILED) for rate in more.rates
    )
    return replace(history, cells=Cells([*history.cells, more]), runs=history.runs + failed)


def choices(plan: BatchPlan, number_of: dict[int, int] | None = None) -> tuple[set[object], set[object]]:
    """The runs that a plan asks for and rules out, with each cell's number in another numbering."""
    numbers = number_of or {}
    batch = {(numbers.get(run.cell, run.cell), run.learning_rate, run.seed, run.flops) for run in plan.batch}
    return batch, {(numbers.get(rate.cell, rate.cell), rate.learning_rate) for rate in plan.pruned}


@pytest.mark.parametrize("strategy", ["law", "grid"])
@pytest.mark.parametrize("rates_per_cell", [0, 4])
def test_other_numbers_of_the_cells_change_no_plan(
    sweep: Sweep, law: Law, strategy: str, rates_per_cell: int
) -> None:
    request = replace(sweep.request, rates_per_cell=rates_per_cell)
    history, number_of = renumbered(sweep.history)
    before = planner_of(strategy).plan(sweep.history, law, request)
    after = planner_of(strategy).plan(history, law, request)
    assert before.batch
    assert choices(after) == choices(before, number_of)
    assert asked_flops(history) == pytest.approx(asked_flops(sweep.history))


def test_other_numbers_of_the_cells_change_no_opening(world: World) -> None:
    empty, request = RunHistory(cells=world.cells), PlanRequest(target=world.target)
    history, number_of = renumbered(empty)
    before, after = (planner_of("law").plan(known, None, request) for known in (empty, history))
    assert before.batch
    assert choices(after) == choices(before, number_of)


def test_a_run_counts_in_its_own_cell_whatever_the_number(sweep: Sweep, law: Law) -> None:
    history, number_of = renumbered(sweep.history)
    before, after = (Information(law, known, sweep.request) for known in (sweep.history, history))
    cell = sweep.world.cells[4]
    for information, number in ((before, 4), (after, number_of[4])):
        for rate in cell.rates[::3]:
            information.add(number, rate)
    assert after.variance() == pytest.approx(before.variance(), rel=1e-9)


@pytest.mark.parametrize("strategy", ["law", "grid"])
@pytest.mark.parametrize("number", [12, 40])
def test_a_further_cell_shifts_no_plan_of_the_others(
    sweep: Sweep, law: Law, strategy: str, number: int
) -> None:
    before = planner_of(strategy).plan(sweep.history, law, sweep.request)
    after = planner_of(strategy).plan(with_another(sweep.history, number), law, sweep.request)
    assert choices(after)[0] == choices(before)[0]
    assert {place for place in choices(after)[1] if place[0] != number} == choices(before)[1]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_point_that_is_no_model_is_refused(value):
    with pytest.raises(BadInput, match="params is .* it must be a positive finite number"):
        Point(params=value, tokens=1e9, batch_tokens=1e5)
