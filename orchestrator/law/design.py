"""What one more run would teach: exact Gaussian updates of ln η* at the targets, before the run is made.

The law's posterior is Gaussian in the pooled unknowns v (joint.py). A cell's runs enter it only through G, their
information on the cell's pooled (ℓ, μ) = F v once the cell's own bottom, curvature and shift are eliminated. More runs
change G by ΔG, and the variance at a target with row f falls by

    x ΔG (I + V ΔG)^-1 xᵀ,    x = f Σ Fᵀ [2],   V = F Σ Fᵀ [2, 2].

A run on the bottom itself says nothing of where the bottom is, so gains are averaged over where it may lie. The
bottom's height is unknown: one run alone in a cell is worth nothing, which is why runs come in sets.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from orchestrator.law.cells import Cells, Index, group
from orchestrator.law.joint import TAIL, TINY, Locals, gather, invert, misfit, unrest
from orchestrator.law.law import CURVATURE_TERMS, Law, key
from orchestrator.law.observations import Array, Observations
from orchestrator.law.shape import rise, slope

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
INFORMATIVE = (TAIL + 1) / (
    TAIL + 3
)  # Fisher information of Student-t noise over that of a Gaussian of its scale
ITERATIONS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The law's posterior as seen from candidate cells and targets.

    Attributes:
        places: N, D, B of the candidate cells, shape [cells, 3].
        optimum: Mean of ln η* in each, its runs included, shape [cells].
        sd: Standard deviation of that, shape [cells].
        log_curvature: Mean of ln C in each, shape [cells].
        variance: Of ln η* at each target, shape [targets].
        noise: Standard deviation of ln loss at a bottom.
        growth: Standard deviation of ln loss per unit of rise above it.
        rows: F of each cell, shape [cells, 2, q].
        target_rows: f of each target, shape [targets, q].
        target_cell: The candidate cell that a target is, or -1, shape [targets].
        target_own: Variance that a target's own cell adds to f Σ fᵀ, shape [targets].
        covariance: Σ, shape [q, q].
        own: T, precision of a cell's own (ℓ, μ), shape [cells, 2].
        information: H, what a cell's runs say of (m, ℓ, μ), shape [cells, 3, 3].
        unrest: A cell's noise over the pool's, squared, shape [cells].
    """

    places: Array
    optimum: Array
    sd: Array
    log_curvature: Array
    variance: Array
    noise: float
    growth: float
    rows: Array
    target_rows: Array
    target_cell: Index
    target_own: Array
    covariance: Array
    own: Array
    information: Array
    unrest: Array

    @classmethod
    def of(cls, law: Law, observations: Observations | None, places: Array, targets: Array) -> Self:
        """The design for candidate cells and targets, with the runs known so far.

        Args:
            law: Fitted to `observations`, or to fewer runs; also one read from a document.
            observations: The runs, or None where there are none in the candidate cells.
            places: N, D, B of the candidate cells, shape [cells, 3].
            targets: N, D, B of the targets, shape [targets, 3].
        """
        rows, own, mean = pooled(law, places)
        target_rows, target_precision, _ = pooled(law, targets)
        here = Locals(
            bottom=np.zeros(len(places)),
            curvature=mean[:, 0],
            optimum=mean[:, 1],
            unrest=np.ones(len(places)),
        )
        information = np.zeros((len(places), 3, 3))
        if observations is not None and observations.size:
            here, information = settle(law, match(group(observations), places), here, own, mean)
        numbers = {key(*place): at for at, place in enumerate(places.tolist())}
        same = np.array([numbers.get(key(*place), -1) for place in targets.tolist()], dtype=np.int64)
        design = cls(
            places=places,
            optimum=here.optimum,
            sd=np.zeros(len(places)),
            log_curvature=here.curvature,
            variance=np.zeros(len(targets)),
            noise=law.scales.noise,
            growth=law.scales.growth,
            rows=rows,
            target_rows=target_rows[:, 1],
            target_cell=same,
            target_own=1 / target_precision[:, 1],
            covariance=law.pooled_covariance,
            own=own,
            information=information,
            unrest=here.unrest,
        )
        return design.refreshed()

    def refreshed(self) -> Self:
        """The same posterior with `sd` and `variance` computed from it."""
        spread = (self.rows @ self.covariance) @ self.rows.transpose(0, 2, 1)
        sd = np.sqrt(own_variance(self.information, self.own, spread))
        pool = ((self.target_rows @ self.covariance) * self.target_rows).sum(axis=1)
        variance = np.where(self.target_cell >= 0, sd[self.target_cell] ** 2, pool + self.target_own)
        return replace(self, sd=sd, variance=variance)

    def gains(self, cell: Index, rates: Array) -> Array:
        """Expected fall of the variance of ln η* at each target for sets of runs made together in one cell.

        Args:
            cell: Which candidate cell each set is in, shape [sets].
            rates: η of the runs of each set, shape [sets, runs]; NaN pads sets of fewer runs.

        Returns:
            Gains >= 0, shape [sets, targets].
        """
        carried = self.rows @ self.covariance
        spread = (carried @ self.rows.transpose(0, 2, 1))[cell]
        cross = np.einsum("ciq,tq->tci", carried, self.target_rows, optimize=True)[:, cell]
        own, before = self.own[cell], eliminated(self.information, self.own)[cell]
        total = np.zeros((cell.size, len(self.target_rows)))
        for node, share in zip(NODES, WEIGHTS, strict=True):
            information = self.information[cell] + self.added(cell, rates, float(node))
            change = eliminated(information, own) - before
            reduced = change @ invert(np.eye(2) + spread @ change)
            fall = np.einsum("tsi,sij,tsj->st", cross, reduced, cross, optimize=True)
            for target in np.flatnonzero(self.target_cell >= 0):
                at = cell == self.target_cell[target]
                left = spread[at] - spread[at] @ reduced[at] @ spread[at]
                fall[at, target] = self.variance[target] - own_variance(information[at], own[at], left)
            total += share * fall
        return np.maximum(total, 0.0)

    def with_runs(self, cell: int, rates: Array) -> Self:
        """The design as it will be once runs at `rates` (shape [runs]) in one cell are made, whatever their losses."""
        at = np.array([cell])
        information = self.information.copy()
        for node, share in zip(NODES, WEIGHTS, strict=True):
            information[cell] += share * self.added(at, rates[None, :], float(node))[0]
        change = (eliminated(information[at], self.own[at]) - eliminated(self.information[at], self.own[at]))[
            0
        ]
        carried = self.rows[cell] @ self.covariance
        inner = change @ np.linalg.inv(np.eye(2) + carried @ self.rows[cell].T @ change)
        covariance = self.covariance - carried.T @ ((inner + inner.T) / 2) @ carried
        return replace(self, information=information, covariance=covariance).refreshed()

    def added(self, cell: Index, rates: Array, node: float) -> Array:
        """Information on (m, ℓ, μ) that runs bring where the bottom lies `node` standard deviations off, [sets, 3, 3]."""
        u = np.log(rates) - (self.optimum[cell] + node * self.sd[cell])[:, None]
        steep = np.exp(self.log_curvature[cell])[:, None]
        height, tilt = steep * rise(u), -steep * slope(u)
        weight = INFORMATIVE / (self.noise**2 + (self.growth * height) ** 2) / self.unrest[cell][:, None]
        weight = np.where(np.isnan(rates), 0.0, weight)
        jacobian = np.nan_to_num(np.stack([np.ones_like(height), height, tilt], axis=-1))
        return np.asarray(np.einsum("sr,sri,srj->sij", weight, jacobian, jacobian))


def pooled(law: Law, places: Array) -> tuple[Array, Array, Array]:
    """The pooled rows F [m, 2, q], own precision T [m, 2] and means of (ℓ, μ) [m, 2] at cells (N, D, B) [m, 3]."""
    w, z, outside = law.rows(law.reference.points(places[:, 0], places[:, 1], places[:, 2]))
    rows = np.zeros((len(places), 2, law.pooled.size))
    rows[:, 0, :CURVATURE_TERMS] = w
    rows[:, 1, CURVATURE_TERMS:] = z
    own = np.column_stack([np.full(len(places), law.scales.curvature**-2.0), 1 / outside])
    return rows, own, rows @ law.pooled


def match(cells: Cells, places: Array) -> Cells:
    """The runs renumbered to the candidate cells; runs of other cells are in the law already and are left out."""
    numbers = {key(*place): at for at, place in enumerate(places.tolist())}
    number = np.array([numbers.get(key(*place), -1) for place in cells.places.tolist()], dtype=np.int64)
    keep, keep_bound = number[cells.cell] >= 0, number[cells.bound_cell] >= 0
    return replace(
        cells,
        places=places,
        coordinates=np.log(places),
        cell=number[cells.cell][keep],
        x=cells.x[keep],
        y=cells.y[keep],
        bound_cell=number[cells.bound_cell][keep_bound],
        bound_x=cells.bound_x[keep_bound],
        best_loss=np.full(len(places), np.nan),
        runs=np.zeros(len(places), dtype=np.int64),
        diverged=np.zeros(len(places), dtype=np.int64),
    )


def settle(law: Law, cells: Cells, start: Locals, own: Array, mean: Array) -> tuple[Locals, Array]:
    """The cells' own bowls given the law, and the information H of their runs there."""
    here = start
    for _ in range(ITERATIONS):
        evidence = gather(cells, here, law.scales)
        inverse = invert(evidence.information + own[:, :, None] * np.eye(2))
        at = np.column_stack([here.curvature, here.optimum])
        goal = np.einsum("cij,cj->ci", inverse, evidence.vector + own * mean)
        at = at + np.clip(goal - at, -0.6, 0.6)
        here = replace(
            here,
            bottom=evidence.level - (evidence.tilt * at).sum(axis=1),
            curvature=at[:, 0],
            optimum=at[:, 1],
        )
        _, pool, square = misfit(cells, evidence, law.scales, here, inverse)
        here = replace(here, unrest=unrest(cells, pool, square))
    evidence = gather(cells, here, law.scales)
    information = np.empty((cells.size, 3, 3))
    information[:, 0, 0] = evidence.weight
    information[:, 0, 1:] = information[:, 1:, 0] = evidence.tilt * evidence.weight[:, None]
    information[:, 1:, 1:] = evidence.information + np.einsum(
        "c,ci,cj->cij", evidence.weight, evidence.tilt, evidence.tilt
    )
    return here, information


def without_bottom(information: Array) -> Array:
    """H with m eliminated: [cells, 3, 3] -> [cells, 2, 2]."""
    cross = information[:, 1:, 0]
    return np.asarray(
        information[:, 1:, 1:] - np.einsum("ci,cj,c->cij", cross, cross, 1 / (information[:, 0, 0] + TINY))
    )


def eliminated(information: Array, own: Array) -> Array:
    """G = A (A + T)^-1 T: what runs say of the pooled (ℓ, μ), [cells, 3, 3] -> [cells, 2, 2]."""
    a = without_bottom(information)
    g = a @ invert(a + own[:, :, None] * np.eye(2)) * own[:, None, :]
    return np.asarray((g + g.transpose(0, 2, 1)) / 2)


def own_variance(information: Array, own: Array, spread: Array) -> Array:
    """Variance of μ in cells, their own runs included: [S + S T V T S]_μμ, shape [cells]."""
    inverse = invert(without_bottom(information) + own[:, :, None] * np.eye(2))
    carried = inverse[:, 1] * own
    return np.asarray(inverse[:, 1, 1] + np.einsum("ci,cij,cj->c", carried, spread, carried))
