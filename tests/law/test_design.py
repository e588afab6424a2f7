"""What a run would teach, said beforehand, is what the same run teaches when made."""

import numpy as np
import pytest

from orchestrator.law import Design, Law, fit

PLACES = np.array([(n, d, b) for n in (1e8, 2e8, 4e8) for d in (4e9, 1e10) for b in (131072.0, 524288.0)])
TARGETS = np.array([[1.6e9, 2.5e10, 524288.0], [4e8, 1e10, 524288.0]])


@pytest.fixture
def law(sweep, fast):
    return fit(sweep(sizes=(1e8, 2e8), horizons=(4e9, 1e10)), options=fast)


@pytest.fixture
def design(law, sweep):
    return Design.of(law, sweep(sizes=(1e8, 2e8), horizons=(4e9, 1e10)), PLACES, TARGETS)


def test_it_starts_from_the_law(design, law):
    mean, sd = law.optimum(*PLACES.T)
    assert design.optimum == pytest.approx(mean, abs=0.01)
    assert design.sd == pytest.approx(sd, rel=0.1)
    assert design.variance == pytest.approx(law.optimum(*TARGETS.T)[1] ** 2, rel=1e-6)


def test_one_run_in_a_new_cell_teaches_nothing_two_do(design):
    new = np.array([len(PLACES) - 1])
    rate = np.exp(design.optimum[new])
    alone = design.gains(new, np.column_stack([rate * 0.7]))
    both = design.gains(new, np.column_stack([rate * 0.5, rate * 2.0]))
    assert alone == pytest.approx(0.0, abs=1e-6)
    assert (both > 1e-4).all()


def test_gains_never_exceed_the_variance_and_more_runs_gain_more(design):
    cell = np.arange(len(PLACES))
    rate = np.exp(design.optimum)[:, None]
    pair = design.gains(cell, rate * np.array([0.5, 2.0, np.nan, np.nan]))
    four = design.gains(cell, rate * np.array([0.5, 2.0, 0.35, 2.8]))
    assert (pair <= design.variance).all()
    assert (four >= pair - 1e-9).all()


def test_promised_runs_shrink_the_variance_by_what_was_promised(design):
    new = len(PLACES) - 1
    rates = np.exp(design.optimum[new]) * np.array([0.5, 1.0, 2.0])
    promised = design.gains(np.array([new]), rates[None, :])[0]
    after = design.with_runs(new, rates)
    assert design.variance - after.variance == pytest.approx(promised, rel=0.25)
    assert (after.sd <= design.sd + 1e-12).all()
    assert after.gains(np.array([new]), rates[None, :])[0].max() < promised.max()


def test_the_promise_is_kept_by_a_refit(design, law, sweep, joined, truth, fast):
    grown = sweep(sizes=(1e8, 2e8), horizons=(4e9, 1e10))
    place = PLACES[-1]
    rates = np.exp(design.optimum[-1]) * np.array([0.35, 0.6, 1.0, 1.7, 2.8])
    extra = sweep(sizes=(place[0],), horizons=(place[1],), batches=(place[2],), rates=5)
    made = type(extra)(
        params=extra.params,
        tokens=extra.tokens,
        batch_tokens=extra.batch_tokens,
        learning_rate=rates,
        loss=truth().loss(*place, rates) * np.exp(5e-4 * np.array([1.0, -1.0, 0.5, 0.7, -1.2])),
    )
    refitted = fit(joined(grown, made), options=fast)
    promised = np.sqrt(design.with_runs(len(PLACES) - 1, rates).variance)
    assert refitted.optimum(*TARGETS.T)[1] == pytest.approx(promised, rel=0.35)


def test_it_works_from_a_document_and_without_runs(law):
    again = Law.from_document(law.to_document())
    bare = Design.of(again, None, PLACES, TARGETS)
    assert bare.variance == pytest.approx(law.prediction_band(*TARGETS.T)[1] ** 2, rel=1e-9)
