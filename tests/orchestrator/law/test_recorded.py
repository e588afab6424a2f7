"""Real runs that others published (skipped where the machine does not have them)."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.batch import FAST, each_size, judge, long_horizons
from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import LawRefusal, Observations, fit
from orchestrator.tables.formats import read_table


@pytest.fixture
def recorded(recorded_runs: Path) -> Callable[..., Observations]:
    """A recorded table of one recipe."""

    def read(name: str, **where: str) -> Observations:
        return read_table((recorded_runs / name).read_bytes()).where(where).observations()

    return read


def test_dense_runs_give_the_rate_at_a_billion_parameters(recorded):
    law = fit(recorded("steplaw_dense.csv"))
    answer = law.predict(Point(params=1073741824, tokens=2e10, batch_tokens=262144))
    assert 6e-4 < answer.learning_rate < 1.6e-3
    assert answer.low < answer.learning_rate < answer.high
    assert answer.high / answer.low < 3
    terms = {term.name: term for term in law.coefficients}
    for name in ("ln N", "ln B", "s"):  # they bend at the critical batch
        assert abs(terms[name].value) > 2 * terms[name].sd
        assert not terms[name].from_prior
    assert law.heldout.mean < 5e-4
    assert len(json.dumps(law.to_document())) < 200_000

    def exponent(batch_tokens):
        """At a fixed batch the optimum falls with the horizon below the critical batch and rises above it."""
        ends = law.band(np.array([(4e8, tokens, batch_tokens) for tokens in (1e10, 4e10)]))[0]
        return (ends[1] - ends[0]) / np.log(4)

    assert exponent(65_536) < -0.15
    assert exponent(2_097_152) > 0.1


@pytest.mark.parametrize("optimizer", ["muon", "muonh"])
def test_horizons_of_one_size_are_a_law_in_tokens(recorded, optimizer):
    law = fit(recorded("muon_token_horizons.csv", optimizer=optimizer))
    size = 134217728
    exponent = next(term for term in law.coefficients if term.name == "ln D")
    assert -0.4 < exponent.value < -0.1
    assert not exponent.from_prior
    own = law.predict(Point(params=size, tokens=3e10, batch_tokens=524288))
    twice = law.predict(Point(params=2 * size, tokens=3e10, batch_tokens=524288))
    assert twice.high / twice.low > own.high / own.low
    assert any("params" in line and "prior" in line for line in twice.warnings)
    with pytest.raises(Refused) as caught:
        law.predict(Point(params=100 * size, tokens=3e10, batch_tokens=524288))
    assert caught.value.code == LawRefusal.INTERVAL_TOO_WIDE.code


def width(law, target):
    """The width of the interval, infinite if refused."""
    try:
        answer = law.predict(target)
    except Refused:
        return np.inf
    assert answer.low < answer.learning_rate < answer.high
    assert answer.valley_low <= answer.learning_rate <= answer.valley_high
    return answer.high / answer.low


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", "kron", "lion", "mars", "mini", "mudam", "muon", "scion", "soape", "sophia"],
)
def test_messy_runs_are_answered_soundly(recorded, optimizer):
    runs = recorded("optimizer_sweep.csv", optimizer=optimizer)
    law = fit(runs)
    assert sum(bowl.runs for bowl in law.bowls) == runs.size
    assert any(bowl.status == "interior" for bowl in law.bowls)
    assert np.isfinite(law.optimum(runs.points)[0]).all()
    largest = Point(params=runs.params.max(), tokens=runs.tokens.max(), batch_tokens=runs.batch_tokens.max())
    widths = [
        width(
            law,
            Point(
                params=factor * largest.params,
                tokens=factor * largest.tokens,
                batch_tokens=largest.batch_tokens,
            ),
        )
        for factor in (1, 2, 4, 100)
    ]
    assert widths == sorted(widths)
    assert widths[-1] == np.inf
    json.dumps(law.to_document(), allow_nan=False)


@pytest.mark.parametrize("optimizer", ["cautious", "nadamw"])
def test_runs_whose_lowest_rate_is_best_are_refused(recorded, optimizer):
    """Four of their cells have three rates, and the lowest is best in all."""
    with pytest.raises(Refused) as caught:
        fit(recorded("optimizer_sweep.csv", optimizer=optimizer))
    assert caught.value.code == LawRefusal.NO_INTERIOR_MINIMUM.code


@pytest.mark.parametrize(
    ("table", "parts", "most"),
    [("steplaw_dense.csv", each_size, 0.085), ("oellm_dense.csv", long_horizons, 0.045)],
    ids=["sizes", "horizons"],
)
def test_the_best_batch_and_the_loss_of_what_was_left_out(recorded, table, parts, most):
    runs = recorded(table)
    whole = fit(runs, options=FAST)
    judged = [judge(runs, left_out, whole) for left_out in parts(runs)]
    pairs, cells = ([item for part in parts for item in part] for parts in zip(*judged, strict=True))

    assert np.mean([pair.excess for pair in pairs]) <= most
    off = np.array([(pair.off, pair.sd) for pair in pairs if np.isfinite(pair.off)])
    assert np.sqrt((off[:, 0] ** 2).mean()) <= 0.2
    assert (np.abs(off[:, 0]) < 1.96 * off[:, 1]).mean() >= 0.9
    assert np.mean([cell.holds for cell in cells]) >= 0.9
    assert np.mean([cell.cost_holds for cell in cells]) >= 0.9
