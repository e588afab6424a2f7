"""The cell to run in if a run at the target costs too much."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.confirmed_targets import NOISE, TARGET, height, target_world
from orchestrator.law import fit
from orchestrator.law.bowl import Z95
from orchestrator.law.observations import point_array
from orchestrator.planner.affordable import affordable
from orchestrator.planner.confirming import TargetRun
from tests.known_law import FAST

RUN = 6 * TARGET.params * TARGET.tokens


@pytest.mark.parametrize("share", [0.2, 0.3, 0.9, 2.0])
def test_it_costs_no_more_than_may_be_spent_and_lies_no_farther_than_the_target(share: float) -> None:
    law = target_world().law
    found = affordable(law, TARGET, share * RUN)

    assert found is not None
    assert found.flops == pytest.approx(6 * found.cell.params * found.cell.tokens * len(found.rates))
    assert found.flops <= share * RUN
    assert found.cell.params <= TARGET.params * (1 + 1e-6)
    assert found.cell.tokens <= TARGET.tokens * (1 + 1e-6)
    assert 1 < found.factor_after < found.factor_before
    interval = law.predict(TARGET)
    assert found.factor_before == pytest.approx(interval.high / interval.learning_rate)


def test_more_flops_narrow_at_least_as_much() -> None:
    found = [affordable(target_world().law, TARGET, share * RUN) for share in (0.2, 0.4, 1.0, 3.0)]
    factors = [one.factor_after for one in found if one is not None]

    assert len(factors) == 4
    assert factors == sorted(factors, reverse=True)


def test_nothing_is_affordable_where_the_flops_pay_for_no_cell() -> None:
    assert affordable(target_world().law, TARGET, 1e10) is None


def test_the_interval_after_the_runs_is_about_what_was_promised() -> None:
    """Over several sweeps: the runs are made, the law fitted again."""
    promised, kept = [], []
    for seed in range(8):
        world = target_world(seed)
        found = affordable(world.law, TARGET, 0.5 * RUN)
        assert found is not None
        random = np.random.default_rng(seed)
        mean, sd = (float(value[0]) for value in world.law.prediction_band(point_array([found.cell])))
        bottom, level = random.normal(mean, sd), 2.4
        extra = [
            TargetRun(
                learning_rate=rate,
                loss=level * np.exp(min(height(np.log(rate) - bottom), 0.3) + random.normal(0, NOISE)),
            )
            for rate in found.rates
        ]
        law = fit(world.with_runs(found.cell, extra), options=FAST)
        promised.append(np.log(found.factor_after))
        kept.append(Z95 * float(law.optimum(point_array([TARGET]))[1][0]))

    assert np.mean(kept) == pytest.approx(np.mean(promised), rel=0.2)
