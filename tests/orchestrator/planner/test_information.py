"""The information model: the information of a run before it is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cells import Cell, Cells, Point
from orchestrator.law import Law, Observations
from orchestrator.law.observations import point_array
from orchestrator.planner import planner_of
from orchestrator.planner.draft import Draft
from orchestrator.planner.greedy_search import GreedySearch
from orchestrator.planner.information import (
    NODES,
    WEIGHTS,
    Information,
    fisher,
    fresh_worth,
    shared_worth,
)
from orchestrator.planner.linear_model import linear_model
from orchestrator.planner.values import KnownRun, PlanRequest, RunHistory, RunOutcome
from tests.known_law import observed
from tests.orchestrator.planner.worlds import Sweep, law_of, proxies


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    """Three batches into a sweep of proxies."""
    world = proxies(5, rates=13)
    found = Sweep(
        world=world, planner=planner_of("law"), request=PlanRequest(target=world.target, rates_per_cell=3)
    )
    for _ in range(3):
        found.step()
    return found


@pytest.fixture(scope="module")
def law(sweep: Sweep) -> Law:
    found = sweep.law()
    assert found is not None
    return found


def known(sweep: Sweep, law: Law) -> Information:
    return Information(law, sweep.history, sweep.request)


def sd_of(law: Law, target: Point) -> float:
    place = point_array([target])
    return float(law.optimum(place)[1][0])


def test_the_planner_is_as_sure_of_the_target_as_the_law(sweep: Sweep, law: Law) -> None:
    """Two computations of one posterior: the law's from its residuals, the planner's from the expected information of runs."""
    assert np.sqrt(known(sweep, law).variance()) == pytest.approx(sd_of(law, sweep.world.target), rel=0.25)


def test_the_prior_of_the_planner_is_the_law_s(sweep: Sweep, law: Law) -> None:
    """Far from all runs a posterior is nearly its prior: how exponents drift, in the units that the runs chose."""
    for drift in (0.2, 3.0):
        scales = replace(law.scales, drift=drift)
        model = linear_model(replace(law, scales=scales), sweep.world.cells, (sweep.world.target,))
        stated = [term.prior_sd for term in replace(law, scales=scales).coefficients]
        assert model.prior_sd[: len(stated)] == pytest.approx(stated)


@pytest.mark.parametrize("times", [1.0, 10.0, 1000.0])
def test_the_planner_s_sd_far_away_is_the_law_s(sweep: Sweep, law: Law, times: float) -> None:
    target = replace(sweep.world.target, params=times * sweep.world.target.params)
    information = Information(law, sweep.history, replace(sweep.request, target=target))
    assert np.sqrt(information.variance()) == pytest.approx(sd_of(law, target), rel=0.15)


def test_the_places_of_the_bottom_have_the_variance_that_the_law_states() -> None:
    assert WEIGHTS.sum() == pytest.approx(1.0)
    assert float(WEIGHTS @ NODES**2) == pytest.approx(1.0)
    assert float(WEIGHTS @ NODES**4) == pytest.approx(3.0)


def test_what_the_cells_can_lead_to_is_reached_by_running_them_whole(sweep: Sweep, law: Law) -> None:
    information = known(sweep, law)
    bound = float(information.attainable()[0])
    assert bound <= information.variance()
    for cell in sweep.world.cells:
        for rate in cell.rates:
            information.add(cell.number, rate)
    assert information.variance() == pytest.approx(bound, rel=0.2)


def test_open_runs_count_as_if_they_were_in(sweep: Sweep, law: Law) -> None:
    *_, cell = sweep.world.cells
    opened = tuple(
        KnownRun(cell=cell.number, learning_rate=rate, seed=0, outcome=RunOutcome.OPEN)
        for rate in cell.rates[:8:2]
    )
    more = replace(sweep.history, runs=sweep.history.runs + opened)
    with_open = Information(law, more, sweep.request)
    by_hand = known(sweep, law)
    for run in opened:
        by_hand.add(run.cell, run.learning_rate)
    assert with_open.variance() == pytest.approx(by_hand.variance(), rel=1e-9)
    assert with_open.variance() < known(sweep, law).variance()


def test_the_expected_drop_is_the_drop_that_the_update_makes(sweep: Sweep, law: Law) -> None:
    """In a cell whose bottom is well known, expectation over its place and the update agree."""
    information = known(sweep, law)
    at = np.array([int(np.argmin(information.belief.sd))])
    rates = sweep.world.cells[at[0]].rates[1:12:5]
    before = information.known[at]
    shared = [np.array([information.branches(int(at[0]), rate, 0)]) for rate in rates]
    more = before + sum(
        information.terms(at, [rate], branches) for rate, branches in zip(rates, shared, strict=True)
    )
    gained = information.delta(at, more) - information.delta(at, before)
    expected = float(information.drop(at, gained)[0])
    start = information.variance()
    for rate in rates:
        information.add(int(at[0]), rate)
    assert expected > 0
    assert start - information.variance() == pytest.approx(expected, rel=0.1)


def without_largest(sweep: Sweep) -> RunHistory:
    """The sweep as it would stand had its largest size not been run."""
    largest = max(cell.params for cell in sweep.world.cells)
    runs = tuple(run for run in sweep.history.runs if sweep.world.cells[run.cell].params < largest)
    return replace(sweep.history, runs=runs)


def test_one_run_in_an_empty_cell_adds_no_information_and_two_do(sweep: Sweep, law: Law) -> None:
    information = Information(law, without_largest(sweep), sweep.request)
    *_, empty = sweep.world.cells
    at = np.array([empty.number])
    low, high = (information.terms(at, [rate]) for rate in (empty.rates[0], empty.rates[5]))
    assert information.delta(at, low) @ WEIGHTS == pytest.approx(0.0, abs=1e-6)
    assert (information.delta(at, low + high) @ WEIGHTS)[0] > 1.0


def test_two_cells_of_a_new_size_share_its_shift(sweep: Sweep) -> None:
    """Runs at two horizons of a size that no run has had yet make the planner surer of its third."""
    history = without_largest(sweep)
    law = law_of(history)
    assert law is not None
    *_, shorter, long, longest = sweep.world.cells
    drops = []
    for params in (longest.params, 1.01 * longest.params):
        aim = Point(params=params, tokens=longest.tokens, batch_tokens=longest.batch_tokens)
        without = Cells(cell for cell in sweep.world.cells if cell != longest)
        information = Information(law, replace(history, cells=without), PlanRequest(target=aim))
        before = information.variance()
        for cell in (shorter, long):
            for rate in cell.rates[:9:2]:
                information.add(cell.number, rate)
        drops.append(before - information.variance())
    assert drops[0] > drops[1] + 0.5 * law.scales.size**2


def test_a_target_that_is_a_cell_is_best_run_itself(sweep: Sweep, law: Law) -> None:
    cell = sweep.world.cells[7]
    information = Information(law, sweep.history, PlanRequest(target=cell.point))
    own = law.scales.cell**2
    for rate in cell.rates:
        for _ in range(50):
            information.add(cell.number, rate)
    assert information.variance() < own, "the cell's own shift is measured, not only the law's part"


def results(sweep: Sweep, runs: list[KnownRun]) -> Observations:
    """The runs as a table of them would hold them, with their trunks."""
    return RunHistory(cells=sweep.world.cells, runs=tuple(runs)).observations


def test_runs_from_elsewhere_are_known(sweep: Sweep, law: Law) -> None:
    """The same runs given as prior runs leave the planner as sure as if the sweep had made them."""
    runs = [run for run in sweep.history.runs if run.outcome is RunOutcome.COMPLETED]
    from_elsewhere = RunHistory(cells=sweep.world.cells, prior=results(sweep, runs))
    found = Information(law, from_elsewhere, sweep.request)
    assert found.variance() == pytest.approx(known(sweep, law).variance(), rel=1e-6)
    *_, last = sweep.world.cells
    abroad = RunHistory(cells=Cells((last,)), prior=results(sweep, runs))
    assert Information(law, abroad, sweep.request).variance() < 1.5 * known(sweep, law).variance()


def test_prior_runs_whose_tokens_were_counted_are_runs_of_their_cells(sweep: Sweep, law: Law) -> None:
    """The law takes them for the cells' own, so the planner must too; a rounded rate is the lattice's."""
    runs = [run for run in sweep.history.runs if run.outcome is RunOutcome.COMPLETED]
    exact = results(sweep, runs)
    draw = np.random.default_rng(0).uniform(-2e-4, 2e-4, (2, exact.size))
    counted = replace(
        exact, tokens=exact.tokens * (1 + draw[0]), learning_rate=exact.learning_rate * (1 + draw[1])
    )
    found = Information(law, RunHistory(cells=sweep.world.cells, prior=counted), sweep.request)
    assert found.variance() == pytest.approx(known(sweep, law).variance(), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    slopes=st.lists(st.floats(-1, 1), min_size=1, max_size=6),
    rises=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    weight=st.floats(1, 1e6),
    sd=st.floats(0.05, 2),
)
def test_the_information_is_the_schur_complement(
    slopes: list[float], rises: list[float], weight: float, sd: float
) -> None:
    s, h = np.array(slopes), np.array(rises[: len(slopes)])
    sums = weight * np.array([s.size, s.sum(), h.sum(), s @ s, s @ h, h @ h])
    whole = weight * np.array(
        [[s @ s, s.sum(), s @ h], [s.sum(), s.size, h.sum()], [s @ h, h.sum(), h @ h]], dtype=np.float64
    )
    whole[2, 2] += sd**-2
    expected = whole[0, 0] - whole[0, 1:] @ np.linalg.solve(whole[1:, 1:], whole[1:, 0])
    assert float(fisher(sums, sd)) == pytest.approx(expected, rel=1e-4, abs=1e-8 * weight)


def test_more_runs_never_make_the_planner_less_sure(sweep: Sweep, law: Law) -> None:
    information = known(sweep, law)
    random = np.random.default_rng(0)
    last = information.variance()
    for _ in range(60):
        cell = sweep.world.cells[int(random.integers(len(sweep.world.cells)))]
        information.add(cell.number, float(random.choice(cell.rates)))
        assert information.variance() <= last * (1 + 1e-9)
        last = information.variance()
    assert last > 0


def test_a_run_of_a_rate_that_was_run_averages_noise_but_not_what_the_shape_misses(
    sweep: Sweep, law: Law
) -> None:
    """On the bottom a second seed is worth as much as the first; far from it little."""
    information = Information(law, RunHistory(cells=sweep.world.cells), sweep.request)
    empty = sweep.world.cells[0]
    at = np.array([empty.number])
    worth = []
    for rate in (
        min(empty.rates, key=lambda rate: abs(np.log(rate) - information.belief.optimum[empty.number])),
        empty.rates[0],
    ):
        first = information.terms(at, [rate])[0, 2, 0]
        information.add(empty.number, rate)
        second = information.terms(at, [rate])[0, 2, 0]
        worth.append(second / first)
    near, far = worth
    assert far < near <= 1 + 1e-9
    assert far < 0.5


def test_a_prior_run_that_its_machine_ended_says_nothing_of_its_rate(sweep: Sweep) -> None:
    runs = [run for run in sweep.history.runs if run.outcome is RunOutcome.COMPLETED]
    crashed = observed(sweep.world.cells, runs)
    failed = np.zeros(crashed.size, dtype=bool)
    failed[0] = True
    crashed = replace(crashed, loss=np.where(failed, np.nan, crashed.loss), failed=failed)
    counted = RunHistory(cells=sweep.world.cells, prior=crashed).observations
    assert counted.size == crashed.size - 1
    assert np.isfinite(counted.loss).all()


def test_the_branches_of_a_trunk_are_worth_as_much_together_however_they_are_counted() -> None:
    for branches in range(1, 9):
        one_by_one = fresh_worth(np.arange(branches)).sum()
        assert one_by_one == pytest.approx(branches * shared_worth(branches))
    assert fresh_worth(np.array([0, 1, 2]))[1] < 0.2 < fresh_worth(np.array([0, 1, 2]))[0] == 1


def twins(sweep: Sweep, longer: str | None, shorter: str | None) -> tuple[Cells, tuple[Cell, Cell]]:
    """The sweep's cells and two further horizons of the largest size, alike but for their trunks.

    Forks save nothing, so both cost the same; both have the rates that were run on the trunk of the largest size.
    """
    *_, longest = sweep.world.cells
    rates = sorted({run.learning_rate for run in sweep.history.runs if run.cell == longest.number})
    number, tokens = sweep.world.cells.next_number, 1.5 * longest.tokens
    one = replace(
        longest, number=number, tokens=1.002 * tokens, trunk=longer, rates=tuple(rates), decay_fraction=1.0
    )
    other = replace(one, number=number + 1, tokens=tokens, trunk=shorter)
    return Cells([*sweep.world.cells, one, other]), (one, other)


@pytest.mark.parametrize("alone", [None, "of its own"])
@pytest.mark.parametrize("sharing", [0, 1])
def test_of_two_cells_alike_the_one_that_shares_no_trunk_with_runs_made_is_preferred(
    sweep: Sweep, law: Law, alone: str | None, sharing: int
) -> None:
    *_, longest = sweep.world.cells
    trunks = [alone, alone]
    trunks[sharing] = longest.trunk
    cells, pair = twins(sweep, *trunks)
    branch, free = pair[sharing], pair[1 - sharing]
    history = replace(sweep.history, cells=cells)
    information = Information(law, history, sweep.request)
    at = np.array([cells.row_of(cell.number) for cell in (branch, free)])
    for rate in branch.rates:
        made = [information.branches(cell.number, rate, 0) for cell in (branch, free)]
        assert made[0] > made[1] == 0
        shared, fresh = information.terms(at, [rate] * 2, np.array(made))[:, 2, 0]
        assert shared < 0.99 * fresh

    draft = Draft(history, sweep.request)
    for cell in sweep.world.cells:  # only the two are left to choose from
        draft.asked |= {(cell.number, rate, 0) for rate in cell.rates}
    search = GreedySearch(draft, information)
    chosen = search.best(0.0)
    assert chosen is not None
    search.take(chosen)
    assert {run.cell for run in draft.batch} == {free.number}


def test_the_order_of_the_runs_does_not_matter_to_the_planner(sweep: Sweep, law: Law) -> None:
    turned = replace(sweep.history, runs=sweep.history.runs[::-1])
    assert Information(law, turned, sweep.request).variance() == pytest.approx(
        known(sweep, law).variance(), rel=1e-12
    )
    assert law_of(turned).to_document() == law.to_document()
    plans = [planner_of("law").plan(history, law, sweep.request) for history in (sweep.history, turned)]
    assert plans[0] == plans[1]
