"""Laws of hard designs: each gives a sound answer, a named warning, or a refusal for its true reason."""

import json

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import BowlStatus, LawRefusal, fit

BATCH = (262144.0,)
SIZES = (1e8, 2e8, 4e8, 8e8)


def sentence_of_refusal(law, target):
    with pytest.raises(Refused) as caught:
        law.predict(target)
    assert caught.value.code == LawRefusal.INTERVAL_TOO_WIDE.code
    return caught.value.detail


def predicted(law, target):
    """The width of the interval, infinite if refused, and all sentences with it."""
    try:
        answer = law.predict(target)
    except Refused as refused:
        return np.inf, (refused.detail,)
    assert answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    return answer.high / answer.low, answer.warnings


def along_a_line(sweep, joined, *, tokens=lambda n: 1e10, batch_tokens=lambda n: 262144.0, horizons=None):
    """Four sizes whose horizon or batch follows them."""
    return joined(
        *(
            sweep(sizes=(n,), horizons=horizons or (tokens(n),), batches=(batch_tokens(n),), seed=seed)
            for seed, n in enumerate(SIZES)
        )
    )


def test_one_cell_answers_for_itself_and_names_three_priors(sweep, fast):
    law = fit(sweep(sizes=(1e8,), horizons=(1e10,), batches=BATCH), options=fast)
    for name in ("params", "tokens", "batch_tokens"):
        assert any(f"so the exponent of {name} comes from a prior" in line for line in law.warnings)
    assert any("most of this law comes from its priors" in line for line in law.warnings)
    assert law.predict(Point(params=1e8, tokens=1e10, batch_tokens=BATCH[0])).high > 0
    for axis in ("params", "tokens", "batch_tokens"):
        cell = {"params": 1e8, "tokens": 1e10, "batch_tokens": BATCH[0]}
        near = law.predict(Point(**{**cell, axis: 2 * cell[axis]}))
        assert any(f"the exponent of {axis}" in line and "from a prior" in line for line in near.warnings)
        far = sentence_of_refusal(law, Point(**{**cell, axis: 10 * cell[axis]}))
        assert f"its {axis} are 10 times away from the only value tried" in far


def test_one_horizon_names_the_prior_nearby(sweep, fast):
    law = fit(sweep(horizons=(1e10,)), options=fast)
    own = law.predict(Point(params=8e8, tokens=1e10, batch_tokens=BATCH[0]))
    twice = law.predict(Point(params=8e8, tokens=2e10, batch_tokens=BATCH[0]))
    assert twice.high / twice.low > own.high / own.low
    assert any("the exponent of tokens" in line and "from a prior" in line for line in twice.warnings)
    assert not any("The target's tokens" in line for line in own.warnings)


def test_a_horizon_off_the_line_that_the_runs_follow_is_refused_for_that(sweep, joined, fast):
    law = fit(along_a_line(sweep, joined, tokens=lambda n: 20 * n), options=fast)
    assert law.predict(Point(params=1.6e9, tokens=3.2e10, batch_tokens=BATCH[0])).learning_rate > 0
    detail = sentence_of_refusal(law, Point(params=1.6e9, tokens=2e9, batch_tokens=BATCH[0]))
    assert "its tokens are 16 times below what these runs used at such params" in detail


def test_a_batch_off_the_line_that_the_runs_follow_is_refused_for_that(sweep, joined, fast):
    runs = along_a_line(sweep, joined, batch_tokens=lambda n: 262144 * n / 1e8, horizons=(4e9, 1e10, 2.5e10))
    law = fit(runs, options=fast)
    assert law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=16 * 262144)).learning_rate > 0
    detail = sentence_of_refusal(law, Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert "its batch_tokens are 16 times below what these runs used at such params" in detail


@pytest.mark.parametrize(
    ("sizes", "power"),
    [
        ((1e8, 3e8, 9e8, 2.7e9), 0.5),
        ((119746574.857157, 594065806.3690424, 2261602293.5440593), 1.0),
        ((32204006.296034627, 329528471.1843765, 942663345.604704, 2007902549.090349), 0.5),
    ],
)
def test_a_target_across_an_exact_line_is_refused_with_a_finite_reason(sweep, joined, fast, sizes, power):
    """N and B are one column twice up to rounding: no regression of the third on both may break the sentence."""
    batches = {n: 3e5 * (n / 1e8) ** power for n in sizes}
    tables = [
        sweep(sizes=(n,), horizons=(4e9, 1e10, 2.5e10), batches=(batch,), rates=5, seed=seed)
        for seed, (n, batch) in enumerate(batches.items())
    ]
    law = fit(joined(*tables), options=fast)
    for n, batch in ((sizes[-1], batches[sizes[0]]), (sizes[0], batches[sizes[-1]])):
        _, said = predicted(law, Point(params=n, tokens=1e10, batch_tokens=batch))
        assert not any("inf" in line for line in said)
        assert any("params" in line and "batch_tokens" in line for line in said)


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("scatter", [0.05, 0.2])
def test_a_batch_that_nearly_follows_the_model_is_named_when_asked_across(
    sweep, joined, fast, power, scatter
):
    rng = np.random.default_rng(0)
    tables = [
        sweep(
            sizes=(n,),
            horizons=(d,),
            batches=(262144 * (n / 1e8) ** power * np.exp(scatter * rng.standard_normal()),),
            seed=int(rng.integers(1e6)),
        )
        for n in SIZES
        for d in (4e9, 1e10, 2.5e10)
    ]
    law = fit(joined(*tables), options=fast)
    grown = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=262144 * 16**power))
    width, said = predicted(law, Point(params=1.6e9, tokens=1e10, batch_tokens=262144))
    assert width > grown.high / grown.low
    assert any("batch_tokens" in line for line in said)


@pytest.mark.parametrize(("offset", "where"), [(2.0, "12 of 24 cells"), (-2.0, "0 of 24 cells")])
def test_minima_on_an_edge_are_called_bounds(sweep, joined, fast, offset, where):
    runs = joined(sweep(sizes=SIZES[:2]), sweep(sizes=SIZES[2:], offset=offset, rates=5))
    law = fit(runs, options=fast)
    named = [line for line in law.warnings if "bounds, not minima" in line]
    assert len(named) == 1
    assert f"{where} have their best run at the lowest rate tried" in named[0]
    assert any("No cell with params of" in line and "800" in line for line in law.warnings)


@pytest.mark.parametrize("axis", ["params", "tokens", "batch_tokens"])
def test_an_axis_far_outside_the_runs_is_named_or_refused(sweep, fast, axis):
    law = fit(sweep(), options=fast)
    place = {"params": 8e8, "tokens": 2.5e10, "batch_tokens": 524288.0}
    target = Point(**{**place, axis: 40 * place[axis]})
    _, said = predicted(law, target)
    assert any(axis in line and "40 times outside" in line for line in said)


@pytest.mark.parametrize("axis", ["params", "tokens"])
@pytest.mark.parametrize(
    ("ratio", "bend", "shown"),
    [(2.0, 0.1, False), (2.0, -0.1, False), (2.0, 0.25, True), (4.0, 0.1, True), (4.0, -0.1, True)],
)
def test_a_bend_that_the_runs_show_is_named_and_one_that_they_hide_misleads_nobody(
    sweep, truth, fast, axis, ratio, bend, shown
):
    """Four values of one axis; a weak bend over a short range may be the scatter of sizes, and is no law's to name."""
    middle = {"params": 3e8, "tokens": 1e10}

    class Bent(truth):
        def optimum(self, params, tokens, batch_tokens):
            x = np.log((params if axis == "params" else tokens) / middle[axis])
            return super().optimum(params, tokens, batch_tokens) + bend * x**2

    values = middle[axis] * ratio ** (np.arange(4) - 1.5)
    sizes, horizons = (values, (4e9, 2.5e10)) if axis == "params" else ((1e8, 8e8), values)
    law = fit(sweep(Bent(), sizes=sizes, horizons=horizons, batches=BATCH), options=fast)
    if shown:
        assert any(f"curves in {axis}" in line for line in law.warnings)
        return
    beyond = [np.array([value]) for value in ({**middle, axis: 4 * values[-1]}).values()]
    mean, sd = law.optimum(*beyond, np.array(BATCH))
    assert abs(mean - Bent().optimum(*beyond, np.array(BATCH)))[0] < 3 * sd[0]


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.03, 1.25])
@pytest.mark.parametrize("row", [0, 3, 10, 20, 38, 41])
def test_one_wrong_loss_does_not_make_the_bowls_flat(sweep, changed, fast, row, factor):
    runs = sweep(sizes=(1e8, 2e8, 4e8), horizons=(4e9, 1e10), batches=BATCH)
    loss = runs.loss.copy()
    loss[row] *= factor
    law = fit(changed(runs, loss=loss), options=fast)
    interior = [bowl for bowl in law.bowls if bowl.status is BowlStatus.INTERIOR]
    assert len(interior) >= 5
    terms = {term.name: term for term in law.coefficients}
    for term in fit(runs, options=fast).coefficients[1:4]:
        assert abs(terms[term.name].value - term.value) < 0.06


@pytest.mark.parametrize(
    "optimizer", ["adamw", "kron", "lion", "mars", "mini", "mudam", "muon", "scion", "soape", "sophia"]
)
def test_messy_runs_are_asked_for_targets_soundly(recorded, optimizer):
    runs = recorded("optimizer_sweep.csv", optimizer=optimizer)
    law = fit(runs)
    widths = []
    for factor in (1, 2, 4, 100):
        target = Point(
            params=factor * runs.params.max(),
            tokens=factor * runs.tokens.max(),
            batch_tokens=runs.batch_tokens.max(),
        )
        widths.append(predicted(law, target)[0])
    assert widths == sorted(widths)
    assert widths[-1] == np.inf
    json.dumps(law.to_document(), allow_nan=False)
