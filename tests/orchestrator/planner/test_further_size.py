"""The further size: what is proposed, what it costs, and whether it keeps its word."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.confirmed_targets import TARGET, target_world
from benchmarks.promised_intervals import DESIGNS, kept_promises
from orchestrator.cells import Point
from orchestrator.law import Law, fit
from orchestrator.law.observations import point_array
from orchestrator.planner.further_size import (
    APART,
    FurtherCell,
    FurtherSize,
    expected_factor,
    further_size,
    joint_covariance,
)
from tests.known_law import FAST, runs_of

FAR = Point(params=6.4e9, tokens=2.5e10, batch_tokens=262_144.0)


@cache
def law_of(sizes: tuple[float, ...] = (1e8, 2e8, 4e8)) -> Law:
    """Sizes at three horizons and two batches."""
    return fit(runs_of(sizes=sizes), options=FAST)


def flops_at(target: Point) -> float:
    return 6 * target.params * target.tokens


def offered(law: Law, target: Point, **given: float) -> FurtherSize:
    found = further_size(law, target, **given)
    assert isinstance(found, FurtherSize), found
    return found


def runs_at(law: Law, *cells: Point) -> list[FurtherCell]:
    """Three rates a factor two apart round each predicted optimum."""
    means = law.band(point_array(cells))[0]
    return [
        FurtherCell(cell=cell, rates=tuple(np.exp(mean + np.log(2) * np.array([-1, 0, 1])).tolist()))
        for cell, mean in zip(cells, means.tolist(), strict=True)
    ]


def with_size_shift(law: Law, sd: float) -> Law:
    return replace(law, scales=replace(law.scales, size=sd))


@pytest.mark.parametrize("sizes", [(1e8,), (1e8, 2e8), (1e8, 2e8, 4e8)])
@pytest.mark.parametrize("times", [4, 16])
def test_it_lies_below_the_target_away_from_what_was_tried_and_costs_less_than_a_run_there(
    sizes: tuple[float, ...], times: float
) -> None:
    law, target = law_of(sizes), replace(FAR, params=times * max(sizes))
    found = offered(law, target)

    assert min(sizes) < found.params < target.params
    assert all(max(found.params / size, size / found.params) >= APART for size in (*sizes, target.params))
    assert found.flops == pytest.approx(sum(flops_at(one.cell) * len(one.rates) for one in found.cells))
    assert found.flops < flops_at(target)
    assert {one.cell.params for one in found.cells} == {found.params}
    assert all(3 <= len(one.rates) <= 4 and list(one.rates) == sorted(one.rates) for one in found.cells)
    assert 1 < found.factor_after < found.factor_before
    assert found.factor_after == pytest.approx(expected_factor(law, target, found.cells), rel=0.01)


def test_it_stands_where_the_interval_is_the_reported_one() -> None:
    law = law_of()
    places = point_array([FAR, replace(FAR, params=7e8), law.bowls[0].point])

    sds = np.sqrt(np.diag(joint_covariance(law, places)))

    assert sds == pytest.approx(law.prediction_band(places)[1])
    assert np.log(offered(law, FAR).factor_before) == pytest.approx(1.96 * sds[0], rel=1e-3)


def test_the_same_law_proposes_the_same() -> None:
    again = Law.from_document(law_of().to_document())

    assert further_size(again, FAR) == further_size(law_of(), FAR)


def test_horizons_and_batches_are_the_ones_tried() -> None:
    cells = [one.cell for one in offered(law_of(), FAR).cells]

    assert {cell.tokens for cell in cells} <= {4e9, 1e10, 2.5e10}
    assert {cell.batch_tokens for cell in cells} <= {131_072, 524_288}


def test_horizons_that_follow_the_size_go_on_to_do_so() -> None:
    sizes = (1e8, 2e8, 4e8, 8e8)
    runs = runs_of(sizes=sizes, horizons=(20 * 1e8,), batches=(131_072,))
    runs = replace(runs, tokens=20 * runs.params, batch_tokens=131_072 * (runs.params / 1e8) ** 0.5)
    target = Point(params=1.6e10, tokens=3.2e11, batch_tokens=131_072 * 160**0.5)

    found = further_size(fit(runs, options=FAST), target)

    assert isinstance(found, FurtherSize)
    for cell in (one.cell for one in found.cells):
        assert cell.tokens == pytest.approx(20 * cell.params, rel=0.05)
        assert cell.batch_tokens == pytest.approx(131_072 * (cell.params / 1e8) ** 0.5, rel=0.05)


def test_nothing_is_proposed_where_the_size_or_the_rate_is_known() -> None:
    known = further_size(law_of(), replace(FAR, params=4e8))
    narrow = further_size(law_of(), replace(FAR, params=4.4e8, tokens=1e10))

    assert "has runs" in str(known)
    assert "already" in str(narrow)


def test_nothing_is_proposed_below_what_was_tried_or_beyond_the_flops() -> None:
    smaller = further_size(law_of((4e8, 8e8)), replace(FAR, params=4e7))
    poor = further_size(law_of(), FAR, budget_flops=1e15)

    assert str(smaller).endswith("for less than one run at the target.")
    assert str(poor).endswith("for these FLOPs.")


def test_it_costs_less_than_may_be_spent() -> None:
    law, target = law_of((1e8,)), replace(FAR, params=1.6e9)
    free = offered(law, target)
    held = offered(law, target, budget_flops=0.8 * free.flops)

    assert held.flops < 0.8 * free.flops
    assert held.factor_after > free.factor_after


def test_inactive_parameters_cost_nothing() -> None:
    whole, part = offered(law_of(), FAR), offered(law_of(), FAR, active_share=0.25)

    assert part.cells == whole.cells
    assert part.flops == pytest.approx(whole.flops / 4)


def test_a_size_farther_from_the_others_promises_more() -> None:
    law = law_of()
    cells = [replace(FAR, params=size, tokens=1e10) for size in (4.5e8, 8e8, 1.6e9, 3.2e9)]
    factors = [expected_factor(law, FAR, runs_at(law, cell)) for cell in cells]

    assert factors == sorted(factors, reverse=True)
    assert factors[-1] < offered(law, FAR).factor_before


def test_more_cells_of_one_size_do_not_average_its_shift_out() -> None:
    def left(shift: float, *sizes: float) -> float:
        law = with_size_shift(law_of(), shift)
        cells = [replace(FAR, params=n, tokens=d) for n, d in zip(sizes, (4e9, 1e10, 2.5e10), strict=False)]
        return float(np.log(expected_factor(law, FAR, runs_at(law, *cells))))

    one, three = (left(0.4, *[8e8] * cells) for cells in (1, 3))
    apart = left(0.4, 8e8, 1.6e9, 3.2e9)
    unshifted = [left(0.0, *[8e8] * cells) for cells in (1, 3)]

    assert one - three < 0.1 * (one - apart)
    assert unshifted[0] - unshifted[1] > 0.01


def test_a_refused_target_is_offered_a_size_that_brings_it_within_reach() -> None:
    law = law_of((1e8,))
    found = offered(law, replace(FAR, params=1.6e9))

    assert found.factor_before > 3 >= found.factor_after


def test_an_interval_that_no_size_narrows_by_a_tenth_is_left_alone() -> None:
    found = further_size(target_world().law, replace(TARGET, params=1.3 * 4e8, tokens=2e11))

    assert str(found).startswith("No further size would narrow the interval enough: the best, near")


def test_the_interval_after_the_runs_is_about_what_was_promised() -> None:
    """Over several sweeps: the runs are made, the law fitted again."""
    kept = list(kept_promises(DESIGNS["three sizes"], 12, None))

    assert len(kept) >= 10
    assert 0.85 < np.median([one.found / one.promised for one in kept]) < 1.1
