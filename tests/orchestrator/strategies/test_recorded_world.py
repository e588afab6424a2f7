"""Worlds made of run tables: what may be run, what is judged, and what a table cannot support."""

from __future__ import annotations

import math

import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.planner.values import RunOutcome
from orchestrator.strategies.recorded_world import RecordedTarget, recorded_world
from tests.known_law import RECORDED
from tests.orchestrator.strategies.tables import HORIZONS, RATES, SIZES, counted, rows, table

LARGE = Point(params=64e6, tokens=1e8, batch_tokens=65_536)


def test_the_largest_size_is_the_target_and_all_smaller_ones_may_be_run():
    world = recorded_world(table(rows()))

    assert {target.target.params for target in world.targets} == {8e6}
    assert [target.target.tokens for target in world.targets] == list(HORIZONS)
    assert {cell.params for cell in world.cells} == set(SIZES) - {8e6}
    assert [cell.number for cell in world.cells] == list(range(9))
    assert world.runs == 9 * len(RATES)
    assert "3 cells: 8 M parameters" in world.aim.replace("\u00a0", " ")


def test_of_one_size_the_longest_horizon_is_the_target():
    world = recorded_world(table(rows(sizes=(1e6,))))

    assert [target.target.tokens for target in world.targets] == [4e8]
    assert [cell.tokens for cell in world.cells] == [1e8, 2e8]


def test_a_largest_size_without_a_minimum_is_neither_run_nor_judged_at():
    edge = rows(sizes=(64e6,), rates=[rate for rate in RATES if rate > 2 * RECORDED.optimum(LARGE)])

    world = recorded_world(table([*rows(), *edge]))

    assert {target.target.params for target in world.targets} == {8e6}
    assert max(cell.params for cell in world.cells) == 4e6


def test_a_run_answers_with_the_mean_of_its_repeats_that_completed():
    again = f"1e6,1e8,65536,{RATES[0]:g},9.0,completed"
    diverged = f"1e6,1e8,65536,{RATES[0]:g},,diverged"
    first = rows()[0]

    world = recorded_world(table([*rows(), again, diverged]))

    once = float(first.split(",")[4])
    assert world.answered(0, RATES[0]).loss == pytest.approx((once + 9.0) / 2)


def test_a_recorded_diverged_run_answers_diverged():
    world = recorded_world(table([*rows(), "1e6,1e8,65536,0.5,,diverged"]))

    assert world.cells[0].rates[-1] == 0.5
    answer = world.answered(0, 0.5)
    assert (answer.outcome, answer.loss) == (RunOutcome.DIVERGED, None)


def test_what_the_machine_ended_cannot_be_asked_for():
    world = recorded_world(table([*rows(), "1e6,1e8,65536,0.5,,failed"]))

    assert world.cells[0].rates == pytest.approx(RATES)


def test_tokens_counted_in_each_run_split_neither_cells_nor_targets():
    exact, world = recorded_world(table(rows())), recorded_world(table(counted(rows())))

    meant = sorted(cell.tokens for cell in exact.cells)
    assert sorted(cell.tokens for cell in world.cells) == pytest.approx(meant, rel=2e-4)
    assert [cell.rates for cell in world.cells] == [cell.rates for cell in exact.cells]
    assert [target.losses for target in world.targets] == [target.losses for target in exact.targets]
    assert world.answered(0, RATES[0]).loss == exact.answered(0, RATES[0]).loss


def test_a_target_with_one_known_rate_is_left_out_or_refused_in_words():
    """Horizons a thousandth apart in a chain: two cells, of which a law that knows their medians makes one."""
    beyond = rows(sizes=(8e6,), horizons=(3.0048e8,))
    one = rows(sizes=(8e6,), horizons=(3e8,), rates=RATES[3:4])
    chained = [*one, *rows(sizes=(8e6,), horizons=(3.0024e8,), rates=RATES[3:4]) * 20]
    lines = [*rows(sizes=SIZES[:3]), *chained, *beyond]

    with pytest.raises(Refused, match="two learning rates that completed"):
        recorded_world(table(lines))
    (target,) = recorded_world(table([*lines, *rows(sizes=(8e6,), horizons=(4e8,))])).targets
    assert target.target.tokens == 4e8


TARGET = RecordedTarget(
    target=Point(params=1e6, tokens=1e8, batch_tokens=1e4),
    rates=(1e-3, 2e-3, 4e-3, 8e-3),
    losses=(2.2, 2.0, 2.1, None),
)


def test_the_middle_of_a_lattice_is_the_geometric_mean_of_its_rates():
    assert TARGET.middle == pytest.approx(math.sqrt(1e-3 * 8e-3))


def test_replicates_are_repeatable_and_lack_some_cells_and_rates():
    world = recorded_world(table(rows()))

    assert world.replicate(0) is world
    assert world.replicate(3).cells == world.replicate(3).cells
    thinned = [world.replicate(number) for number in range(1, 21)]
    assert all(place.runs < world.runs for place in thinned)
    assert min(len(place.cells) for place in thinned) < len(world.cells)
    assert all(place.targets == world.targets for place in thinned)
    assert [cell.number for cell in thinned[0].cells] == list(range(len(thinned[0].cells)))


def test_a_replicate_of_very_few_cells_always_keeps_one():
    world = recorded_world(table(rows(sizes=(1e6, 2e6), horizons=(1e8,))))

    assert len(world.cells) == 1
    assert all(world.replicate(number).cells for number in range(60))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (rows(sizes=(1e6,), horizons=(1e8,)), "has one cell"),
        (rows(rates=[0.1, 0.2, 0.4]), "No cell has an interior minimum"),
        (
            [*rows(sizes=(1e6,), horizons=(1e8,)), *rows((1e6,), (1e8,), batch_tokens=131_072)],
            "one size and one horizon",
        ),
        (
            [*rows((2e6,), (1e8,)), *rows((1e6,), (1e8,), rates=[0.2, 0.4, 0.8])],
            "Without the cells of 2.M.parameters or more the other runs give no law",
        ),
    ],
)
def test_a_table_that_cannot_support_a_comparison_is_refused_with_the_reason(lines, says):
    with pytest.raises(Refused, match=says):
        recorded_world(table(lines))
