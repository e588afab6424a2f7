"""Answers without support by the runs are refused for their true reason, or carry a named warning."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import LawRefusal, Observations, fit
from orchestrator.law.observations import point_array
from tests.known_law import FAST, LARGE, joined, runs_of

BATCH = (262144.0,)
SIZES = (1e8, 2e8, 4e8, 8e8)
HORIZONS = (4e9, 1e10, 2.5e10)
FLAT = replace(LARGE, curvature=0.0)


def refusal(call):
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def refused_at(law, target):
    """The sentence of a prediction that is refused for the width of its interval."""
    found = refusal(lambda: law.predict(target))
    assert found.code == LawRefusal.INTERVAL_TOO_WIDE.code
    return found.detail


def width_and_sentences(law, target):
    """The width of the interval, infinite if refused, and all sentences with it."""
    try:
        answer = law.predict(target)
    except Refused as refused:
        return np.inf, (refused.detail,)
    assert answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    return answer.high / answer.low, answer.warnings


def along_a_line(batches, horizons=lambda n: HORIZONS, **design):
    """Runs whose batch or horizons follow their size."""
    tables = [
        runs_of(sizes=(n,), horizons=horizons(n), batches=(batch,), seed=seed, **design)
        for seed, (n, batch) in enumerate(batches.items())
    ]
    return joined(*tables)


def test_no_finished_runs():
    runs = runs_of()
    found = refusal(lambda: fit(replace(runs, loss=np.full(runs.size, np.nan))))
    assert found.code == LawRefusal.NO_RUNS.code
    assert f"0 of {runs.size} runs completed" in found.detail


def test_failed_runs_count_as_runs_that_did_not_complete():
    runs = runs_of()
    found = refusal(lambda: fit(replace(runs, failed=np.ones(runs.size, dtype=bool))))
    assert f"0 of {runs.size} runs completed" in found.detail


@pytest.mark.parametrize(("offset", "word"), [(2.0, "downwards"), (-2.0, "upwards")])
def test_all_minima_on_an_edge(offset, word):
    found = refusal(lambda: fit(runs_of(offset=offset, rates=5)))
    assert found.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert word in found.detail
    assert "24 cells" in found.detail


@pytest.mark.parametrize(("offset", "where"), [(2.0, "the lowest rate tried"), (-2.0, "the highest")])
def test_some_minima_on_an_edge_are_called_bounds(offset, where):
    law = fit(
        joined(runs_of(sizes=SIZES[:2]), runs_of(sizes=SIZES[2:], offset=offset, rates=5)), options=FAST
    )
    (named,) = [line for line in law.warnings if "bounds, not minima" in line]
    assert named.startswith(f"Of 24 cells, 12 have the best run at {where}: bounds")
    assert any("No cell with params of" in line and "800" in line for line in law.warnings)


def test_two_rates_a_cell_ask_for_a_third():
    found = refusal(lambda: fit(runs_of(rates=2)))
    assert found.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert "a third learning rate" in found.detail
    assert "Widen" not in found.detail


@pytest.mark.parametrize("noise", [5e-4, 3e-3])
@pytest.mark.parametrize(("sizes", "horizons"), [(SIZES, HORIZONS), ((1e8,), (1e10,))])
def test_losses_that_do_not_depend_on_the_rate_give_no_law(noise, sizes, horizons):
    codes = []
    for seed in range(8):
        runs = runs_of(
            replace(FLAT, noise=noise), sizes=sizes, horizons=horizons, batches=BATCH, rates=8, seed=seed
        )
        try:
            fit(runs)
        except Refused as refused:
            codes.append(refused.code)
    assert len(codes) >= 7
    assert set(codes) <= {LawRefusal.FLAT.code, LawRefusal.NO_INTERIOR_MINIMUM.code}


def test_wrong_losses_do_not_make_a_minimum_of_noise():
    runs = runs_of(replace(FLAT, noise=2e-3), batches=BATCH)
    loss = runs.loss * np.where(np.arange(runs.size) % 30 == 17, 1.2, 1.0)
    assert refusal(lambda: fit(replace(runs, loss=loss))).code == LawRefusal.FLAT.code


def refused_shape(shape):
    """The refusal of runs whose ln loss is a function of the distance u from the optimum, but for noise."""
    runs = runs_of(replace(LARGE, noise=0.0))
    u = np.log(runs.learning_rate) - LARGE.log_optimum(runs)
    noise = 5e-4 * np.random.default_rng(0).standard_normal(runs.size)
    return refusal(lambda: fit(replace(runs, loss=3 * np.exp(shape(u) + noise)), options=FAST))


@pytest.mark.parametrize("depth", [0.015, 0.1])
def test_inverted_losses_are_called_that(depth):
    found = refused_shape(lambda u: -depth * u**2)
    assert found.code == LawRefusal.INVERTED.code
    assert "of 24 cells with three rates or more the loss is highest between the rates tried" in found.detail


@pytest.mark.parametrize("depth", [0.05, 0.3])
def test_two_minima_are_called_that(depth):
    found = refused_shape(lambda u: depth * np.abs(np.abs(u) - 0.6))
    assert "cells the loss has several minima" in found.detail
    assert "does not depend" not in found.detail


def test_losses_of_noise_are_called_noise():
    found = refused_shape(lambda u: 0 * u)
    assert found.code == LawRefusal.FLAT.code
    assert "No bowl stands out from the noise" in found.detail


@pytest.mark.parametrize("factor", [2.2, np.nan])
def test_rates_that_all_diverged_but_one_are_not_called_untried(factor):
    runs = runs_of()
    lowest = np.arange(runs.size) % 7 == 0
    loss = np.where(lowest, runs.loss, factor * runs.loss)
    found = refusal(lambda: fit(replace(runs, loss=loss), options=FAST))
    assert found.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert (
        "of 24 cells, 24 have three rates or more but fewer than three that neither diverged" in found.detail
    )
    assert "Run more learning rates near the best run" in found.detail


def test_one_cell_answers_for_itself_and_names_three_priors():
    law = fit(runs_of(sizes=(1e8,), horizons=(1e10,), batches=BATCH), options=FAST)
    assert any("most of this law comes from its priors" in line for line in law.warnings)
    cell = Point(params=1e8, tokens=1e10, batch_tokens=BATCH[0])
    own = law.predict(cell)
    for axis in ("params", "tokens", "batch_tokens"):
        assert any(f"so the exponent of {axis} comes from a prior" in line for line in law.warnings)
        near = law.predict(replace(cell, **{axis: 2 * getattr(cell, axis)}))
        assert near.high / near.low > own.high / own.low
        assert any(f"the exponent of {axis}" in line and "from a prior" in line for line in near.warnings)
        assert not any(f"The target's {axis}" in line for line in own.warnings)
        far = refused_at(law, replace(cell, **{axis: 10 * getattr(cell, axis)}))
        assert f"its {axis} are 10 times away from the only value tried" in far


def test_one_batch_names_the_prior():
    law = fit(runs_of(batches=BATCH), options=FAST)
    assert [notice.code for notice in law.notices] == ["single_value"]
    answer = law.predict(Point(params=8e8, tokens=1e10, batch_tokens=524288))
    assert any("exponent of batch_tokens" in line for line in answer.warnings)


def test_an_interval_that_says_nothing_is_not_given_as_a_number():
    law = fit(runs_of(sizes=(1e8,)))
    assert "not known at all" in refused_at(law, Point(params=1e20, tokens=1e10, batch_tokens=262144))


def test_horizons_tied_to_sizes_are_named_and_a_target_off_the_line_is_refused_for_that():
    law = fit(along_a_line(dict.fromkeys(SIZES, BATCH[0]), lambda n: (20 * n,)), options=FAST)
    assert any("tokens is tied to params" in line and "D ∝ N^1" in line for line in law.warnings)
    assert law.predict(Point(params=1.6e9, tokens=3.2e10, batch_tokens=BATCH[0])).learning_rate > 0
    detail = refused_at(law, Point(params=1.6e9, tokens=2e9, batch_tokens=BATCH[0]))
    assert "its tokens are 16 times below what these runs used at such params" in detail


def test_a_batch_off_the_line_that_the_runs_follow_is_refused_for_that():
    law = fit(along_a_line({n: 262144 * n / 1e8 for n in SIZES}), options=FAST)
    assert law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=16 * 262144)).learning_rate > 0
    detail = refused_at(law, Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert "its batch_tokens are 16 times below what these runs used at such params" in detail


def test_a_target_a_little_off_the_line_that_the_runs_follow_is_answered_with_a_warning():
    law = fit(along_a_line({n: 262144 * (n / 1e8) ** 0.5 for n in SIZES}), options=FAST)
    assert any("batch_tokens is tied to params" in line and "B ∝ N^0.5" in line for line in law.warnings)
    on, off = (
        law.predict(Point(params=8e8, tokens=1e10, batch_tokens=batch)) for batch in (262144 * 8**0.5, 262144)
    )
    assert "its batch_tokens are 2.83 times below what these runs used at such params and tokens" in " ".join(
        off.warnings
    )
    assert not any("off the line" in line for line in on.warnings)
    assert off.high / off.low > on.high / on.low


@pytest.mark.parametrize(
    ("sizes", "power"),
    [
        ((1e8, 3e8, 9e8, 2.7e9), 0.5),
        ((119746574.857157, 594065806.3690424, 2261602293.5440593), 1.0),
        ((32204006.296034627, 329528471.1843765, 942663345.604704, 2007902549.090349), 0.5),
    ],
)
def test_a_target_across_an_exact_line_is_refused_with_a_finite_reason(sizes, power):
    """N and B are one column twice up to rounding: no regression of the third on both may break the sentence."""
    batches = {n: 3e5 * (n / 1e8) ** power for n in sizes}
    law = fit(along_a_line(batches, rates=5), options=FAST)
    for n, batch in ((sizes[-1], batches[sizes[0]]), (sizes[0], batches[sizes[-1]])):
        _, said = width_and_sentences(law, Point(params=n, tokens=1e10, batch_tokens=batch))
        assert not any("inf" in line for line in said)
        assert any("params" in line and "batch_tokens" in line for line in said)


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("scatter", [0.05, 0.2])
def test_a_batch_that_nearly_follows_the_model_is_named_when_asked_across(power, scatter):
    random = np.random.default_rng(0)
    tables = [
        runs_of(
            sizes=(n,),
            horizons=(d,),
            batches=(262144 * (n / 1e8) ** power * np.exp(scatter * random.standard_normal()),),
            seed=int(random.integers(1e6)),
        )
        for n in SIZES
        for d in HORIZONS
    ]
    law = fit(joined(*tables), options=FAST)
    grown = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144 * 16**power))
    width, said = width_and_sentences(law, Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert width > grown.high / grown.low
    assert any("batch_tokens" in line for line in said)


def test_horizons_that_nearly_follow_the_size_are_no_tie_where_the_runs_tell_them_apart():
    sizes = dict.fromkeys(np.geomspace(1e7, 1e10, 7), BATCH[0])
    law = fit(along_a_line(sizes, lambda n: (20 * n, 60 * n), rates=9), options=FAST)
    assert all(term.sd < 0.4 * term.prior_sd for term in law.coefficients if term.name in ("ln N", "ln D"))
    assert not any("tied" in line for line in law.warnings)


def test_where_the_axes_vary_apart_no_target_is_off_a_line():
    law = fit(runs_of(), options=FAST)
    for target in (
        Point(params=3.2e9, tokens=4e9, batch_tokens=131072),
        Point(params=1e8, tokens=1e11, batch_tokens=131072),
    ):
        assert not any("off the line" in line for line in law.predict(target).warnings)


@pytest.mark.parametrize("axis", ["params", "tokens", "batch_tokens"])
def test_an_axis_far_outside_the_runs_is_named_or_refused(axis):
    place = Point(params=8e8, tokens=2.5e10, batch_tokens=524288.0)
    target = replace(place, **{axis: 40 * getattr(place, axis)})
    _, said = width_and_sentences(fit(runs_of(), options=FAST), target)
    assert any(axis in line and "40 times outside" in line for line in said)


def test_how_far_a_target_lies_outside_is_stated_for_each_axis():
    law = fit(runs_of(), options=FAST)
    assert law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144)).extrapolation == {
        "params": pytest.approx(2.0),
        "tokens": pytest.approx(0.4),
        "batch_tokens": pytest.approx(0.5),
    }


@pytest.mark.parametrize("axis", ["params", "tokens"])
@pytest.mark.parametrize(
    ("ratio", "bend", "shown"),
    [(2.0, 0.1, False), (2.0, -0.1, False), (2.0, 0.25, True), (4.0, 0.1, True), (4.0, -0.1, True)],
)
def test_a_bend_that_the_runs_show_is_named_and_one_that_they_hide_misleads_nobody(axis, ratio, bend, shown):
    """Four values of one axis; a weak bend over a short range may be the scatter of sizes, and is no law's to name."""
    middle = Point(params=3e8, tokens=1e10, batch_tokens=BATCH[0])
    bent = replace(
        LARGE,
        at=(middle.params, middle.tokens, BATCH[0]),
        bends=(bend, 0.0) if axis == "params" else (0.0, bend),
    )
    values = getattr(middle, axis) * ratio ** (np.arange(4) - 1.5)
    sizes, horizons = (values, (4e9, 2.5e10)) if axis == "params" else ((1e8, 8e8), values)
    law = fit(runs_of(bent, sizes=sizes, horizons=horizons, batches=BATCH), options=FAST)
    if shown:
        assert any(f"curves in {axis}" in line for line in law.warnings)
        return
    beyond = replace(middle, **{axis: 4 * values[-1]})
    mean, sd = law.optimum(point_array([beyond]))
    assert abs(mean[0] - bent.log_optimum(beyond)) < 3 * sd[0]


@pytest.mark.parametrize(("bend", "named"), [(0.0, False), (0.018, False), (0.15, True)])
def test_a_bend_is_named_if_it_matters_over_the_range_of_the_runs(bend, named):
    bent = replace(LARGE, at=(2e8, 1e10, 262144.0), bends=(bend, 0.0), noise=1e-5)
    law = fit(runs_of(bent, sizes=5e7 * 2.0 ** np.arange(5), rates=9), options=FAST)
    at_the_ends, _ = law.bend(0)
    assert at_the_ends == pytest.approx(bend * np.log(4) ** 2, abs=0.015)
    assert any("curves in params" in line for line in law.warnings) == named


def test_less_than_one_step_is_named_of_cells_and_of_a_target():
    runs = runs_of(horizons=(2e5, 1e6, 4e6), batches=(65536.0, 131072.0))
    law = fit(runs, options=FAST)
    assert not any("one step" in line for line in law.warnings)
    answer = law.predict(Point(params=8e8, tokens=1.2e5, batch_tokens=131072))
    assert (
        "The target trains 120\u00a0k tokens in batches of 131\u00a0k: less than one step." in answer.warnings
    )
    swapped = fit(replace(runs, tokens=runs.batch_tokens, batch_tokens=runs.tokens), options=FAST)
    named = "24 of 24 cells have more batch_tokens than tokens, less than one step"
    assert any(line.startswith(named) for line in swapped.warnings)


def test_values_that_are_no_runs_are_refused():
    column = np.ones(3)
    good = Observations(params=column, tokens=column, batch_tokens=column, learning_rate=column, loss=column)
    with pytest.raises(ValueError, match="learning_rate is .*-1.0.* in row 1"):
        replace(good, learning_rate=np.array([1, -1, 1]))
    with pytest.raises(ValueError, match="loss has 2 rows where params has 3"):
        replace(good, loss=column[:2])
    with pytest.raises(ValueError, match="failed has 1 rows"):
        replace(good, failed=np.array([True]))
