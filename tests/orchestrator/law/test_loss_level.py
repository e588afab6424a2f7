"""The level of the loss: its interval holds in cells without runs, and grows with the distance from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.law.loss_level import MOST_GROUPS, LossLevel, loss_level
from tests.orchestrator.law.valleys import bowl, bowls_of, scaled, true_loss

NEW = [(n, d, b) for n in (2e8, 4e8) for d in (1.5e10, 6e10) for b in (131_072.0, 1_048_576.0)]


def level_of(bowls) -> LossLevel:
    found = loss_level(bowls)
    assert found is not None
    return found


def test_its_interval_holds_losses_of_cells_that_were_not_run() -> None:
    truth = np.log([true_loss(*place) for place in NEW])
    held = []
    for seed in range(20):
        mean, sd = level_of(bowls_of(seed=seed, scatter=1e-3)).at(np.array(NEW))
        held.append(np.abs(mean - truth) < 1.96 * sd)
    assert np.mean(held) > 0.9
    assert sd.max() < 0.03


def test_it_widens_with_the_distance_from_the_runs() -> None:
    level = level_of(bowls_of())
    for axis in range(3):
        places = np.tile([2e8, 2.5e10, 262_144.0], (5, 1))
        places[:, axis] *= 4.0 ** np.arange(1, 6)
        _, sd = level.at(places)
        assert (np.diff(sd) > 0).all()


def test_a_cell_with_runs_keeps_its_own_loss() -> None:
    bowls = bowls_of()
    place = (1e8, 1e10, 262_144.0)
    own = 1.01 * true_loss(*place)
    mean, sd = level_of(
        [*(b for b in bowls if (b.params, b.tokens, b.batch_tokens) != place), bowl(place, own)]
    ).at(np.array([place]))
    assert float(mean[0]) == pytest.approx(np.log(own), abs=1e-3)
    assert float(sd[0]) < 5e-4


def test_units_and_the_order_of_the_bowls_do_not_matter() -> None:
    bowls = bowls_of()
    places = np.array(NEW)
    mean, sd = level_of(bowls).at(places)

    again, same = level_of(bowls[::-1]).at(places)
    assert (again == mean).all()
    assert (same == sd).all()
    other, spread = level_of(scaled(bowls, tokens=1e-3, params=10.0, loss=0.5)).at(
        places * [10.0, 1e-3, 1e-3]
    )
    assert other == pytest.approx(mean + np.log(0.5), abs=1e-4)
    assert spread == pytest.approx(sd, rel=1e-2)


def test_tables_of_many_horizons_are_thinned_out() -> None:
    horizons = np.geomspace(1e9, 1e12, 3 * MOST_GROUPS)
    level = level_of(bowls_of(sizes=(1e8,), horizons=horizons, batches=(262_144.0,)))

    assert len(level.places) == MOST_GROUPS
    mean, sd = level.at(np.array([(1e8, 3.3e10, 262_144.0)]))
    assert abs(float(mean[0]) - np.log(true_loss(1e8, 3.3e10, 262_144.0))) < 3 * sd[0]


def test_a_cell_whose_horizon_was_thinned_out_keeps_its_own_loss() -> None:
    horizons = np.geomspace(1e9, 1e12, MOST_GROUPS + 20)
    bowls = bowls_of(sizes=(1e8,), horizons=horizons, batches=(262_144.0,))
    own = [replace(one, loss=1.05 * one.loss) if one.loss else one for one in bowls]
    places = np.array([(one.params, one.tokens, one.batch_tokens) for one in bowls])
    fitted = level_of(bowls).places
    thinned = [at for at, one in enumerate(bowls) if np.abs(fitted[:, 1] - np.log(one.tokens)).min() > 1e-3]

    for at in (thinned[0], thinned[-1]):
        mixed = [*bowls[:at], own[at], *bowls[at + 1 :]]
        mean, _ = level_of(mixed).at(places[[at]])
        assert float(np.exp(mean[0])) == pytest.approx(own[at].loss, rel=5e-3)


def test_noise_of_the_bottoms_is_not_taken_for_scatter_of_the_cells() -> None:
    truth, held = np.log([true_loss(*place) for place in NEW]), []
    for seed in range(8):
        bowls = [replace(one, noise=1e-2) for one in bowls_of(seed=seed, scatter=1e-2 * np.sqrt(2 / 9))]
        level = level_of(bowls)
        assert np.sqrt(level.cell) < 0.4 * 1e-2 * np.sqrt(2 / 9)
        mean, sd = level.at(np.array(NEW))
        held.append(np.abs(mean - truth) < 1.96 * sd)
    assert np.mean(held) > 0.93


def test_without_a_finished_run_there_is_no_level() -> None:
    assert loss_level([bowl((1e8, 1e10, 1e5), None)]) is None
