"""The best batch: B of the least loss at an (N, D), each batch at its best learning rate.

Against ln B the bottoms of the bowls of one (N, D) form a bowl themselves, as steep above as a large batch leaves few steps:

    ln L = ln L_min + C·g(ln B − ln B*; a),    g of bowl_shape.py

A group is the cells of one (N, D). Its (ln B*, ln C, a) scatter round what the groups have in common,

    ln B* = level + β d + α n + shift of the size,    ln C = level + γ d + δ n,    a constant

with d, n = ln D, ln N over the middle of the groups. One joint fit, as that of the law: Gauss-Newton for the bowls, their
own unknowns integrated out, and variances learned (expectation maximisation). A group whose best batch is the smallest or
largest tried takes part: its slope bounds ln B* on one side.

Exponents of D in ln B*: 0.63 and 0.47 on two recorded dense families, 0.33 to 0.45 on mixtures; published 0.57
(arXiv 2503.04715), and 0.47 for the critical batch (2410.21676). N hardly matters there, nor in 2505.13738.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.amounts import count
from orchestrator.cells import CLOSE
from orchestrator.law.batch_cost import WIDEST_BATCH, BestBatch
from orchestrator.law.bottoms import Bottoms
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_shape import profile
from orchestrator.law.observations import Array, Index

FEWEST_BATCHES = 3
PRIOR_MEAN = np.array([0.0, 0.5, 0.0, -5.5, -0.3, 0.0, 0.4])
"""Prior means of (level, β, α | level, γ, δ | a); the level of ln B* counts from the best batches tried."""
PRIOR_SD = np.array([3.0, 0.2, 0.2, 2.0, 0.3, 0.3, 0.3])
SCATTER = np.array([0.18, 0.25, 0.15])
"""Prior modes of the standard deviations of (ln B*, ln C, a) between groups …"""
SIZE_SCATTER = 0.08  # … of the shift of ln B* that all groups of a size share …
MISFIT = 4e-4  # … and of ln loss round the bowl, beside its noise
MISFIT_GROWTH = 0.3  # the shape is local: its misfit grows by this share of the rise above the bottom
SCATTER_WEIGHT, SIZE_WEIGHT, MISFIT_WEIGHT = 4.0, 2.0, 10.0  # of the prior modes, in observations
TAIL = 4.0  # degrees of freedom of the residuals
ROUNDS, SETTLED, LARGEST_STEP = 25, 1e-3, 0.7
OWN = 3  # unknowns of a group: ln B*, ln C, a
PAIRS = tuple((row, column) for row in range(OWN) for column in range(row, OWN))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchLaw:
    """The best batch as a function of N and D.

    Attributes:
        places: ln N and ln D of the groups, shape [groups, 2].
        sizes: ln N of the sizes that have a shift, shape [sizes].
        common: Posterior mean of (level, β, α, level, γ, δ, a, shifts of the sizes), shape [7 + sizes].
        common_covariance: Its covariance.
        own: Posterior mean of (ln B*, ln C, a) of each group, shape [groups, 3].
        own_covariance: Its covariance, shape [groups, 3, 3].
        variances: Of (ln B*, ln C, a) between groups, shape [3].
        size_variance: Of the shift of a size.
    """

    places: Array
    sizes: Array
    common: Array
    common_covariance: Array
    own: Array
    own_covariance: Array
    variances: Array
    size_variance: float
    middle: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "middle", self.places.mean(axis=0))

    @property
    def exponents(self) -> tuple[float, float]:
        """Exponents of D and of N in the best batch."""
        return float(self.common[1]), float(self.common[2])

    def at(self, params: float, tokens: float) -> BestBatch:
        """The best batch at (N, D): of the group there if it was run, else of a new one."""
        place = np.log([params, tokens])
        known = np.flatnonzero((np.abs(self.places - place) < CLOSE).all(axis=1))
        if known.size:
            return BestBatch(mean=self.own[known[0]], covariance=self.own_covariance[known[0]])
        (row,) = rows_of(place[None], self.middle, self.sizes)
        own_size = (np.abs(self.places[:, 0] - place[0]) < CLOSE).any()
        added = self.variances + np.array([0.0 if own_size else self.size_variance, 0.0, 0.0])
        covariance = row @ self.common_covariance @ row.T + np.diag(added)
        return BestBatch(mean=row @ self.common, covariance=covariance)


def batch_law(bowls: Sequence[Bowl]) -> BatchLaw | str:
    """Fits the best batch to the bottoms of bowls.

    Args:
        bowls: One per cell, in any order.

    Returns:
        The law, or in a sentence why the bowls show no best batch.
    """
    bottoms = Bottoms.of(bowls)
    return no_best_batch(bottoms) or fit_groups(bottoms.where(batches_of(bottoms) > 1))


def best_batch(bowls: Sequence[Bowl], params: float, tokens: float) -> BestBatch | str:
    """The best batch at (N, D) from the bowls of a law, or in sentences why it is not known."""
    found = batch_law(bowls)
    if isinstance(found, str):
        return found
    best = found.at(params, tokens)
    if not best.vague:
        return best
    low, high = best.interval
    return (
        f"The runs leave the best batch open there: between {count(low)} and {count(high)} tokens with 95 %, wider than "
        f"×/÷ {WIDEST_BATCH:g}. Try batches at sizes and horizons nearer to the target."
    )


def batch_to_ask(bowls: Sequence[Bowl], params: float, tokens: float) -> float:
    """The batch at which a target without one is asked: the best, or where that is not known `best_tried`."""
    best = best_batch(bowls, params, tokens)
    return best_tried(bowls, params, tokens) if isinstance(best, str) else best.batch_tokens


def batches_of(bottoms: Bottoms) -> Index:
    """Number of batches of each group."""
    return np.bincount(bottoms.group, minlength=bottoms.start.size)


def no_best_batch(bottoms: Bottoms) -> str | None:
    """Why the bottoms show no best batch; None if they do."""
    tried = np.unique(bottoms.points[:, 2])
    if not tried.size or np.ptp(np.log(tried)) <= CLOSE:
        at = f" of {count(float(tried[0]))} tokens" if tried.size else ""
        return f"All runs have one batch{at}, so they do not show which batch is best."
    batches = batches_of(bottoms)
    best = np.array([np.argmin(own) for own in np.split(bottoms.log_loss, bottoms.start[1:])])
    enough = batches >= FEWEST_BATCHES
    if not enough.any():
        return (
            f"No size and horizon was run with {FEWEST_BATCHES} batches or more, so the runs do not show which batch is "
            "best."
        )
    lowest, highest = best[enough] == 0, best[enough] == batches[enough] - 1
    if (lowest | highest).all():
        end = "smallest" if lowest.all() else "largest" if highest.all() else "smallest or largest"
        return (
            f"At every size and horizon the {end} batch tried loses least ({count(float(tried[0]))} to "
            f"{count(float(tried[-1]))} were tried): a bound, not the best batch. Try batches beyond it."
        )
    return None


def rows_of(places: Array, middle: Array, sizes: Array) -> Array:
    """The rows of (ln B*, ln C, a) on what the groups have in common, shape [m, 2] -> [m, 3, 7 + sizes]."""
    rows = np.zeros((len(places), OWN, PRIOR_MEAN.size + sizes.size))
    n, d = (places - middle).T
    line = np.column_stack([np.ones_like(n), d, n])
    rows[:, 0, :3], rows[:, 1, 3:6], rows[:, 2, 6] = line, line, 1.0
    rows[:, 0, 7:] = np.abs(places[:, :1] - sizes) < CLOSE
    return rows


@dataclass(slots=True, kw_only=True)
class GroupFit:
    """The state of the fit.

    Attributes:
        bottoms: The cells.
        rows: `rows_of` the groups.
        own: (ln B*, ln C, a) of each group, shape [groups, 3].
        level: ln loss at the bottom of each group, shape [groups].
        prior: Prior mean of what the groups have in common.
        variances, size_variance, misfit: As learned so far; the misfit is a variance.
    """

    bottoms: Bottoms
    rows: Array
    own: Array
    level: Array
    prior: Array
    variances: Array
    size_variance: float
    misfit: float

    def information(self) -> tuple[Array, Array]:
        """Linearises: precision and vector of (ln B*, ln C, a) of each group, its level integrated out; learns the misfit.

        Returns:
            (precision [groups, 3, 3], vector [groups, 3]).
        """
        bottoms, group = self.bottoms, self.bottoms.group
        steep = np.exp(self.own[group, 1])
        shape = profile(bottoms.logs[:, 2] - self.own[group, 0], self.own[group, 2])
        height = steep * shape.rise
        slopes = np.stack([-steep * shape.slope, height, steep * shape.bend], axis=1)
        variance = bottoms.variance + self.misfit + (MISFIT_GROWTH * height) ** 2
        left = bottoms.log_loss - height
        residual = left - self.level[group]
        robust = np.minimum((TAIL + 1) / (TAIL + residual**2 / variance), 1.0)
        weight = (robust / variance)[:, None]
        columns = np.column_stack(
            [
                np.ones_like(left),
                left,
                slopes,
                slopes * left[:, None],
                *(slopes[:, i] * slopes[:, j] for i, j in PAIRS),
            ]
        )
        total = np.add.reduceat(weight * columns, bottoms.start, axis=0)
        mean = total / total[:, :1]
        self.level = mean[:, 1]
        precision = np.empty((len(mean), OWN, OWN))
        for at, (i, j) in enumerate(PAIRS):
            own = total[:, 8 + at] - total[:, 2 + i] * mean[:, 2 + j]
            precision[:, i, j] = precision[:, j, i] = own
        vector = total[:, 5:8] - total[:, 2:5] * mean[:, 1:2]
        # Where noise is the larger part, it counts as misfit as well: that widens the intervals, to the safe side.
        share = robust * self.misfit / variance
        free = max(1 - OWN * len(mean) / left.size, 0.2)  # degrees of freedom that the groups' unknowns leave
        self.misfit = (MISFIT_WEIGHT * MISFIT**2 + (share * residual**2).sum() / free) / (
            MISFIT_WEIGHT + share.sum()
        )
        return precision, vector + (precision @ self.own[:, :, None])[:, :, 0]

    def step(self) -> tuple[float, Array, Array, Array]:
        """One round.

        Returns:
            (largest change, common mean, common covariance, covariance of the groups' own unknowns).
        """
        precision, vector = self.information()
        sizes = self.rows.shape[2] - PRIOR_MEAN.size
        sd = np.concatenate([PRIOR_SD, np.full(sizes, np.sqrt(self.size_variance))])
        shrunk = np.linalg.inv(np.eye(OWN) + precision * self.variances)
        flat = self.rows.reshape(-1, self.rows.shape[2])
        seen = (shrunk @ precision @ self.rows).reshape(flat.shape)
        covariance = np.linalg.inv(np.diag(sd**-2.0) + flat.T @ seen)
        told = flat.T @ (shrunk @ vector[:, :, None]).ravel()
        common = covariance @ (self.prior / sd**2 + told)
        expected = self.rows @ common
        local = np.linalg.inv(precision + np.diag(1 / self.variances))
        goal = (local @ (vector + expected / self.variances)[:, :, None])[:, :, 0]
        change = np.clip(goal - self.own, -LARGEST_STEP, LARGEST_STEP)
        self.own = self.own + change
        pull = local / self.variances  # d own / d expected
        through = pull @ self.rows
        apart = through - self.rows
        square = (self.own - expected) ** 2 + np.einsum("gii->gi", local)
        square += np.einsum("gia,ab,gib->gi", apart, covariance, apart, optimize=True)
        self.variances = (SCATTER_WEIGHT * SCATTER**2 + square.sum(axis=0)) / (SCATTER_WEIGHT + len(square))
        if sizes:
            shifts = common[PRIOR_MEAN.size :] ** 2 + np.diag(covariance)[PRIOR_MEAN.size :]
            self.size_variance = float((SIZE_WEIGHT * SIZE_SCATTER**2 + shifts.sum()) / (SIZE_WEIGHT + sizes))
        own = local + through @ covariance @ through.transpose(0, 2, 1)
        return float(np.abs(change).max()), np.asarray(common), np.asarray(covariance, dtype=np.float64), own


def fit_groups(bottoms: Bottoms) -> BatchLaw:
    """The joint fit to groups of at least two batches each."""
    places = bottoms.places
    middle, sizes = places.mean(axis=0), sizes_of(places)
    first = np.array([np.argmin(own) for own in np.split(bottoms.log_loss, bottoms.start[1:])])
    best = bottoms.logs[bottoms.start + first, 2]
    prior = np.concatenate([PRIOR_MEAN, np.zeros(sizes.size)])
    prior[0] = best.mean()
    rows = rows_of(places, middle, sizes)
    state = GroupFit(
        bottoms=bottoms,
        rows=rows,
        own=np.column_stack([best, rows[:, 1:] @ prior]),
        level=bottoms.log_loss[bottoms.start + first],
        prior=prior,
        variances=SCATTER**2,
        size_variance=SIZE_SCATTER**2,
        misfit=MISFIT**2,
    )
    for _ in range(ROUNDS):
        change, common, covariance, own_covariance = state.step()
        if change < SETTLED:
            break
    return BatchLaw(
        places=places,
        sizes=sizes,
        common=common,
        common_covariance=covariance,
        own=state.own,
        own_covariance=own_covariance,
        variances=state.variances,
        size_variance=state.size_variance,
    )


def sizes_of(places: Array) -> Array:
    """The sizes as ln N, ascending; none if there is one only, whose shift is part of the level."""
    found = np.sort(places[:, 0])
    found = found[np.concatenate([[True], np.diff(found) > CLOSE])]
    return np.asarray(found if found.size > 1 else found[:0])


def best_tried(bowls: Sequence[Bowl], params: float, tokens: float) -> float:
    """The batch of least loss at the (N, D) nearest to a target, in ln N and ln D, of those that were run.

    Args:
        bowls: At least one of them with a loss.
        params: N of the target.
        tokens: D of the target.
    """
    bottoms = Bottoms.of(bowls)
    apart = np.round(((bottoms.places - np.log([params, tokens])) ** 2).sum(axis=1), 9)
    rows = np.flatnonzero(bottoms.group == int(np.argmin(apart)))
    best = rows[np.argmin(bottoms.log_loss[rows])]
    return float(bottoms.points[best, 2])
