"""Answers without support by the runs are refused with a reason, or carry a named warning."""

import contextlib

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import LawRefusal, Observations, fit


def refusal(call):
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


def test_no_finished_runs(sweep, changed):
    runs = sweep()
    found = refusal(lambda: fit(changed(runs, loss=np.full(runs.size, np.nan))))
    assert found.code == LawRefusal.NO_RUNS.code
    assert f"0 of {runs.size} runs completed" in found.detail


@pytest.mark.parametrize(("offset", "word"), [(2.0, "downwards"), (-2.0, "upwards")])
def test_all_minima_on_an_edge(sweep, offset, word):
    found = refusal(lambda: fit(sweep(offset=offset, rates=5)))
    assert found.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert word in found.detail
    assert "24 cells" in found.detail


def test_two_rates_a_cell_ask_for_a_third(sweep):
    found = refusal(lambda: fit(sweep(rates=2)))
    assert found.code == LawRefusal.NO_INTERIOR_MINIMUM.code
    assert "a third learning rate" in found.detail
    assert "Widen" not in found.detail


@pytest.mark.parametrize("noise", [5e-4, 3e-3])
@pytest.mark.parametrize(
    ("sizes", "horizons"), [((1e8, 2e8, 4e8, 8e8), (4e9, 1e10, 2.5e10)), ((1e8,), (1e10,))]
)
def test_losses_that_do_not_depend_on_the_rate_give_no_law(sweep, truth, noise, sizes, horizons):
    reasons = []
    for seed in range(8):
        runs = sweep(
            truth(curvature=0.0, noise=noise),
            sizes=sizes,
            horizons=horizons,
            batches=(262144.0,),
            rates=8,
            seed=seed,
        )
        with contextlib.suppress(Refused):
            fit(runs)
            continue
        reasons.append(refusal(lambda runs=runs: fit(runs)).reason)
    assert len(reasons) >= 7
    assert set(reasons) <= {LawRefusal.FLAT, LawRefusal.NO_INTERIOR_MINIMUM}


def test_wrong_losses_do_not_make_a_minimum_of_noise(sweep, truth, changed):
    runs = sweep(truth(curvature=0.0, noise=2e-3), batches=(262144.0,))
    loss = runs.loss * np.where(np.arange(runs.size) % 30 == 17, 1.2, 1.0)
    assert refusal(lambda: fit(changed(runs, loss=loss))).code == LawRefusal.FLAT.code


def test_one_size_is_answered_nearby_with_a_warning_and_refused_far_away(sweep, fast):
    law = fit(sweep(sizes=(1e8,)), options=fast)
    near = law.predict(Point(params=1e8, tokens=1e10, batch_tokens=262144))
    twice = law.predict(Point(params=2e8, tokens=1e10, batch_tokens=262144))
    assert twice.high / twice.low > near.high / near.low
    assert any("params" in line and "prior" in line for line in twice.warnings)
    for factor in (10, 100):
        target = Point(params=factor * 1e8, tokens=1e10, batch_tokens=262144)
        found = refusal(lambda target=target: law.predict(target))
        assert found.code == LawRefusal.INTERVAL_TOO_WIDE.code
        assert f"its params are {factor} times away from the only value tried" in found.detail


def test_one_horizon_is_refused_far_away(sweep, fast):
    law = fit(sweep(horizons=(1e10,)), options=fast)
    assert law.predict(Point(params=2e8, tokens=2e10, batch_tokens=262144)).learning_rate > 0
    found = refusal(lambda: law.predict(Point(params=2e8, tokens=1e12, batch_tokens=262144)))
    assert "its tokens are 100 times away from the only value tried" in found.detail


def test_one_batch_names_the_prior(sweep, fast):
    law = fit(sweep(batches=(262144.0,)), options=fast)
    assert [notice.code for notice in law.notices] == ["single_value"]
    answer = law.predict(Point(params=8e8, tokens=1e10, batch_tokens=524288))
    assert any("exponent of batch_tokens" in line for line in answer.warnings)


def tied(runs, changed, column, source, power):
    values = getattr(runs, source)
    return changed(runs, **{column: getattr(runs, column).mean() * (values / values.mean()) ** power})


def test_horizons_tied_to_sizes_are_named(sweep, changed, fast):
    law = fit(tied(sweep(horizons=(1e10,)), changed, "tokens", "params", 1.0), options=fast)
    assert any("tokens is tied to params" in line and "D ∝ N^1" in line for line in law.warnings)


def test_a_batch_that_grows_with_the_model_is_named_and_answered(sweep, changed, fast):
    law = fit(tied(sweep(batches=(262144.0,)), changed, "batch_tokens", "params", 0.5), options=fast)
    assert any("batch_tokens is tied to params" in line and "B ∝ N^0.5" in line for line in law.warnings)
    grown = float(law.largest[2])
    along = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=grown * 2**0.5))
    across = law.predict(Point(params=1.6e9, tokens=1e10, batch_tokens=grown / 4))
    assert across.high / across.low > along.high / along.low


def test_too_few_bowls_are_named(sweep, fast):
    law = fit(sweep(sizes=(1e8, 2e8), horizons=(1e10,), batches=(262144.0,)), options=fast)
    assert any("Only 2 of 2 cells" in line for line in law.warnings)


def test_far_extrapolation_is_named_or_refused(sweep, fast):
    law = fit(sweep(sizes=tuple(np.geomspace(1e7, 1e9, 8))), options=fast)
    target = Point(params=4e10, tokens=2.5e10, batch_tokens=262144)
    assert any("40 times outside the runs" in line for line in law.predict(target).warnings)
    assert law.predict(Point(params=2e9, tokens=1e10, batch_tokens=262144)).extrapolation == {
        "params": pytest.approx(2.0),
        "tokens": pytest.approx(0.4),
        "batch_tokens": pytest.approx(0.5),
    }


def test_curvature_in_log_log_is_named(sweep, truth, fast):
    class Bent(truth):
        def optimum(self, params, tokens, batch_tokens):
            return super().optimum(params, tokens, batch_tokens) + 0.15 * np.log(params / 2.8e8) ** 2

    sizes = tuple(np.geomspace(2e7, 4e9, 8))
    bent, straight = (fit(sweep(law, sizes=sizes), options=fast) for law in (Bent(), truth()))
    assert any("curves in params" in line for line in bent.warnings)
    assert not any("curves" in line for line in straight.warnings)


def test_values_that_are_no_runs_are_refused():
    column = np.ones(3)
    with pytest.raises(ValueError, match="learning_rate is .*-1.0.* in row 1"):
        Observations(
            params=column, tokens=column, batch_tokens=column, learning_rate=np.array([1, -1, 1]), loss=column
        )
    with pytest.raises(ValueError, match="loss has 2 rows where params has 3"):
        Observations(params=column, tokens=column, batch_tokens=column, learning_rate=column, loss=column[:2])


def test_a_level_out_of_range_is_an_error(sweep, fast):
    with pytest.raises(ValueError, match=r"between 0\.5 and 0\.999"):
        fit(sweep(), options=fast).predict(Point(params=1e8, tokens=1e10, batch_tokens=262144), level=1.0)
