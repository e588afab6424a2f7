"""A lone best run is believed where the other cells lead one to expect it, and left out, by name, where they do not."""

import numpy as np
import pytest

from orchestrator.law import BowlStatus, Observations, fit

CELL = (4e8, 1e10, 524288.0)


def rows_of(runs):
    """The rows of one cell from its lowest rate to its highest."""
    own = (runs.params == CELL[0]) & (runs.tokens == CELL[1]) & (runs.batch_tokens == CELL[2])
    rows = np.flatnonzero(own)
    return rows[np.argsort(runs.learning_rate[rows])]


def bowl_of(law):
    return next(b for b in law.bowls if (b.params, b.tokens, b.batch_tokens) == CELL)


def steep(gap, rise):
    """Three cells of five rates, so coarse that the best run is far below its neighbours; the ends are plateaus."""
    tables = []
    for n in (1e8, 2e8, 4e8):
        u = gap * (np.arange(5) - 2)
        loss = 3.0 * (n / 1e8) ** -0.07 * np.exp(np.minimum(rise * u**2, 1.2))
        column = np.ones(5)
        tables.append(
            (n * column, 1e10 * column, 524288.0 * column, 1e-3 * (n / 1e8) ** -0.4 * np.exp(u), loss)
        )
    names = ("params", "tokens", "batch_tokens", "learning_rate", "loss")
    return Observations(**dict(zip(names, map(np.concatenate, zip(*tables, strict=True)), strict=True)))


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.69])
@pytest.mark.parametrize("rank", [0, 3, 6])
def test_a_loss_too_low_to_believe_is_left_out_and_named(sweep, changed, fast, rank, factor):
    runs = sweep()
    row = rows_of(runs)[rank]
    loss = runs.loss.copy()
    loss[row] *= factor
    spoilt = fit(changed(runs, loss=loss), options=fast)
    absent = fit(runs.where(np.arange(runs.size) != row), options=fast)
    assert bowl_of(spoilt).learning_rate == pytest.approx(bowl_of(absent).learning_rate, rel=1e-9)
    assert (bowl_of(spoilt).runs, bowl_of(spoilt).diverged, bowl_of(spoilt).doubted) == (7, 0, 1)
    (named,) = set(spoilt.warnings) - set(absent.warnings)
    assert named.startswith("1 run is left out for a loss far below all others of the same cell")
    assert "400\u00a0M\u00a0parameters, 10\u00a0B\u00a0tokens, 524\u00a0k\u00a0tokens a batch" in named


def test_two_losses_too_low_in_one_cell_are_both_left_out(sweep, changed, fast):
    runs = sweep()
    loss = runs.loss.copy()
    loss[rows_of(runs)[[1, 5]]] *= 0.3, 0.6
    bowl = bowl_of(fit(changed(runs, loss=loss), options=fast))
    assert (bowl.doubted, bowl.diverged) == (2, 0)


def test_of_two_runs_the_one_too_low_is_left_out(sweep, changed, fast):
    runs = sweep()
    rows = rows_of(runs)
    loss = runs.loss.copy()
    loss[rows[3]] *= 0.5
    kept = ~np.isin(np.arange(runs.size), np.delete(rows, [2, 3]))
    bowl = bowl_of(fit(changed(runs, loss=loss).where(kept), options=fast))
    assert (bowl.runs, bowl.doubted, bowl.diverged) == (2, 1, 0)


def test_a_best_run_below_which_all_others_diverged_is_believed(sweep, changed, fast):
    runs = sweep()
    loss = runs.loss.copy()
    loss[rows_of(runs)[3:]] *= 2.05, 2.1, 2.0, 2.2
    kept = ~np.isin(np.arange(runs.size), rows_of(runs)[:2])
    bowl = bowl_of(fit(changed(runs, loss=loss).where(kept), options=fast))
    assert (bowl.runs, bowl.doubted, bowl.diverged) == (5, 0, 4)
    assert bowl.learning_rate < runs.learning_rate[rows_of(runs)[3]]


def test_bowls_narrower_than_the_lattice_are_believed(fast):
    law = fit(steep(gap=np.log(10), rise=0.1), options=fast)
    assert [bowl.doubted for bowl in law.bowls] == [0, 0, 0]
    assert {bowl.status for bowl in law.bowls} == {BowlStatus.INTERIOR}
    for bowl in law.bowls:
        assert abs(np.log(bowl.learning_rate / (1e-3 * (bowl.params / 1e8) ** -0.4))) < 1.0
