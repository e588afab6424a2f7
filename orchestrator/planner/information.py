"""Information of a run on ln η* at the target: an exact Gaussian update of the linearised model.

    y_i = m_c + e^{ℓ_c} g(x_i − μ_c) + noise        ln loss of run i in cell c at x = ln η (orchestrator/law/joint.py)

m_c is unknown and eliminated; ℓ_c has a prior and is eliminated. The rest is the information J of the cell's runs on
μ_c, of which Δ = J / (1 + J v_c) reaches w (planner/linear_model.py). Adding Δ to cell c lowers the variance at the target
by (φ_t S φ_c)² Δ / (1 + Δ φ_c S φ_c), S being the covariance of w.

A run exactly at the bottom has no information on its position, so J is averaged over positions of the bottom, weighted by
the law's posterior.

The noise of the k branches of one trunk has the correlation ρ (`SHARED_NOISE`), so they tell as much of what they have in
common as k / (1 + (k − 1)·ρ) independent runs. Of runs made, each counts as its share of that, as in the law; a further
branch counts as what it adds, in its own cell. What branches tell of differences between their horizons is more than
that and is not counted: the approximation needs no covariance between cells, and errs towards runs of other trunks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.linalg import cho_factor, cho_solve

from orchestrator.cells import CLOSE
from orchestrator.law import Law
from orchestrator.law.bowl_shape import rise, slope
from orchestrator.law.cell_information import TAIL
from orchestrator.law.grouped_runs import BLOWN, SHARED_NOISE
from orchestrator.law.observations import Array, Index, point_array, rows_among
from orchestrator.planner.linear_model import belief_of, linear_model
from orchestrator.planner.values import PlanRequest, RunHistory, RunOutcome

NODES, WEIGHTS = hermegauss(5)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
"""Positions of the bottom in standard deviations, and their weights: Gauss-Hermite, exact to the ninth power."""
TrunkKey = tuple[str | None, float, int]
"""(trunk, η, seed) of a sweep's run; (None, 0, label) of a prior run."""
ROBUST = (TAIL + 1) / (TAIL + 3)
"""Information of a run with Student-t noise over that with Gaussian noise of the same scale."""


class Information:
    """The variance at the targets while a batch is put together; every added run updates it.

    Arrays have one row per cell (`Cells.row_of`).

    Args:
        law: the newest law.
        history: cells and runs; open runs count as completed.
        request: its target and further targets.
    """

    def __init__(self, law: Law, history: RunHistory, request: PlanRequest) -> None:
        self.cells = history.cells
        self.belief = belief_of(law, history.cells)
        self._scales, self._asymmetry = law.scales, law.asymmetry
        self._bottoms = self.belief.optimum[:, None] + self.belief.sd[:, None] * NODES
        self._model = model = linear_model(law, history.cells, (request.target, *request.more_targets))
        self._rows, self._own = model.cells.features, model.cells.own
        self._branches: Counter[TrunkKey] = Counter()
        self._made: defaultdict[tuple[int, float], float] = defaultdict(float)
        self._count(finished(history))
        self.known = self._sums_of(self._made)
        covariance = self._covariance(self._known_delta())
        self._spread = self._rows @ covariance
        self._pull = self._spread @ model.targets.features.T
        self._target_variance = self._at_targets(covariance)
        for run in history.runs:
            if run.outcome is RunOutcome.OPEN:
                self.add(run.cell, run.learning_rate, run.seed)

    def _count(self, runs: Sequence[FinishedRun]) -> None:
        """Counts runs that are made, each as its share of what its trunk's branches tell."""
        self._branches.update(run.trunk for run in runs if run.trunk is not None)
        for run in runs:
            worth = 1.0 if run.trunk is None else shared_worth(self._branches[run.trunk])
            self._made[self.cells.row_of(run.cell), run.learning_rate] += worth

    def branches(self, cell: int, rate: float, seed: int) -> int:
        """The number of runs, made or added, that share their trunk with a further run; 0 if its cell has none."""
        trunk = self.cells[cell].trunk
        return 0 if trunk is None else self._branches[trunk, rate, seed]

    def variance(self) -> float:
        """Mean variance of ln η* over the targets, given the runs so far, the open ones and those added."""
        return float(np.mean(self._target_variance))

    def attainable(self) -> Array:
        """Least variance of ln η* at each target that runs in these cells can reach, shape [targets].

        Assumes that every rate of every cell was run and that the bottom lies among them: a bound, not a forecast.
        """
        row = np.repeat(np.arange(len(self.cells)), [len(cell.rates) for cell in self.cells])
        x = np.log(np.concatenate([cell.rates for cell in self.cells]))
        low, high = (np.log([cell.rates[end] for cell in self.cells]) for end in (0, -1))
        bottoms = np.clip(self.belief.optimum, low, high)[:, None]
        sums = np.zeros((len(self.cells), 1, 6))
        np.add.at(sums, row, self._terms(row, x, bottoms, np.zeros(x.size), self._every()))
        every = self.delta(np.arange(len(self.cells)), sums)[:, 0]
        return self._at_targets(self._covariance(np.maximum(every, self._known_delta())))

    def _every(self) -> Array:
        """The share of an independent run that each rate of each cell is worth once all are made, shape [rates of all cells]."""
        shared = Counter((cell.trunk, rate) for cell in self.cells for rate in cell.rates)
        found = (
            1 if cell.trunk is None else shared[cell.trunk, rate]
            for cell in self.cells
            for rate in cell.rates
        )
        return np.array([shared_worth(branches) for branches in found])

    def cell_variance(self) -> Array:
        """Variance of ln η* in each cell without the cell's own shift, shape [cells]."""
        return np.asarray((self._spread * self._rows).sum(axis=1))

    def terms(self, row: Index, rates: Sequence[float], branches: Index | None = None) -> Array:
        """The terms that runs add to the sums that `delta` takes, for every position of the bottom.

        A repeated run averages the noise, not the misfit of the bowl's shape.

        Args:
            row: row of each run's cell, shape [m].
            rates: η of each, [m].
            branches: number of runs that share the trunk of each (`branches`), [m]; by default none.

        Returns:
            Weighted 1, s, h, s², s·h, h², shape [m, nodes, 6]: s the slope in μ, h the rise.
        """
        made = np.array(
            [self._made.get(at, 0.0) for at in zip(row.tolist(), rates, strict=True)], dtype=np.float64
        )
        fresh = 1.0 if branches is None else fresh_worth(branches)
        return self._terms(row, np.log(rates), self._bottoms, made, made + fresh)

    def _terms(self, row: Index, x: Array, bottoms: Array, before: Array, after: Array) -> Array:
        """The terms that raise the runs of each rate from `before` to `after`, for bottoms at given positions [cells, nodes]."""
        u = x[:, None] - bottoms[row]
        curvature = self.belief.curvature[row][:, None]
        height = curvature * rise(u, self._asymmetry)
        tilt = -curvature * slope(u, self._asymmetry)
        missed = (self._scales.growth * height) ** 2
        weight = ROBUST * (self._precision(after, missed) - self._precision(before, missed))
        # The law counts a run this far up as diverged: then it has no information on the bottom's position.
        weight = np.where(height > BLOWN, 0.0, weight)
        products = (np.ones_like(u), tilt, height, tilt**2, tilt * height, height**2)
        return np.stack([weight * product for product in products], axis=-1)

    def _precision(self, runs: Array, missed: Array) -> Array:
        """Precision of the mean loss at one rate, worth `runs` runs, shape [m], at a squared misfit `missed`, [m, nodes]."""
        noise = self._scales.noise**2 / np.where(runs > 0, runs, 1.0)[:, None]
        return np.where(runs[:, None] > 0, 1 / (noise + missed), 0.0)

    def delta(self, row: Index, sums: Array) -> Array:
        """Δ of cells from the sums of their runs (`terms`), shape [m, nodes, 6] -> [m, nodes]."""
        information = fisher(sums, self._scales.curvature)
        return np.asarray(information / (1 + information * self._own[row][:, None]))

    def drop(self, row: Index, gained: Array) -> Array:
        """Expected drop of the targets' mean variance when cells gain Δ, shape [m, nodes] -> [m]."""
        pull = np.mean(self._pull**2, axis=1)[row]
        size = self.cell_variance()[row]
        return np.asarray(pull * ((gained / (1 + gained * size[:, None])) @ WEIGHTS))

    def add(self, cell: int, rate: float, seed: int = 0) -> None:
        """Count a run as completed.

        Args:
            cell: number of its cell.
            rate: its η.
            seed: its seed, which tells its trunk.
        """
        row, branches = self.cells.row_of(cell), self.branches(cell, rate, seed)
        at = np.array([row])
        before = self.delta(at, self.known[at])
        self.known[at] += self.terms(at, [rate], np.array([branches]))
        self._made[row, rate] += float(fresh_worth(np.array(branches)))
        trunk = self.cells[cell].trunk
        if trunk is not None:
            self._branches[trunk, rate, seed] += 1
        self._update(row, float(((self.delta(at, self.known[at]) - before) @ WEIGHTS)[0]))

    def _update(self, row: int, gained: float) -> None:
        direction = self._spread @ self._rows[row]
        share = gained / (1 + gained * direction[row])
        pull = self._pull[row].copy()
        self._target_variance = self._target_variance - share * pull**2
        self._pull = self._pull - share * direction[:, None] * pull
        self._spread = self._spread - share * direction[:, None] * self._spread[row]

    def _sums_of(self, runs: Mapping[tuple[int, float], float]) -> Array:
        sums = np.zeros((len(self.cells), NODES.size, 6))
        if runs:
            row, x = np.array([row for row, _ in runs]), np.log([rate for _, rate in runs])
            made = np.array(list(runs.values()), dtype=np.float64)
            np.add.at(sums, row, self._terms(row, x, self._bottoms, np.zeros_like(made), made))
        return sums

    def _known_delta(self) -> Array:
        """Expected Δ of the completed runs, shape [cells]."""
        return np.asarray(self.delta(np.arange(len(self.cells)), self.known) @ WEIGHTS)

    def _at_targets(self, covariance: Array) -> Array:
        """Variance of ln η* at each target, given S."""
        rows = self._model.targets.features
        return np.asarray(((rows @ covariance) * rows).sum(axis=1) + self._model.targets.own)

    def _covariance(self, here: Array) -> Array:
        """S: the covariance of w given Δ of the cells and the runs from elsewhere."""
        model = self._model
        abroad = model.abroad_information / (1 + model.abroad_information * model.abroad.own)
        rows = np.concatenate([self._rows, model.abroad.features])
        precision = rows.T @ (np.concatenate([here, abroad])[:, None] * rows)
        precision[np.diag_indices(len(precision))] += model.prior_sd**-2.0
        return np.asarray(cho_solve(cho_factor(precision, lower=True), np.eye(len(precision))))


def fisher(sums: Array, curvature_sd: float) -> Array:
    """J on μ from weighted sums of 1, s, h, s², s·h, h²: m eliminated, ℓ with its prior, shape [..., 6] -> [...]."""
    one, s, h, ss, sh, hh = np.moveaxis(sums, -1, 0)
    one = np.maximum(one, np.finfo(np.float64).tiny)
    ss, sh, hh = ss - s * s / one, sh - s * h / one, hh - h * h / one
    return np.asarray(np.maximum(ss - sh * sh / (hh + curvature_sd**-2.0), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A completed run in one of the history's cells; `trunk` is what it shares with others, None if nothing."""

    cell: int
    learning_rate: float
    trunk: TrunkKey | None


def finished(history: RunHistory) -> list[FinishedRun]:
    """Every completed run, and every prior run in one of the history's cells."""
    cells = history.cells
    runs = [
        FinishedRun(
            cell=run.cell,
            learning_rate=run.learning_rate,
            trunk=None if (trunk := cells[run.cell].trunk) is None else (trunk, run.learning_rate, run.seed),
        )
        for run in history.runs
        if run.outcome is RunOutcome.COMPLETED
    ]
    if history.prior is None:
        return runs
    prior, ordered = history.prior.where(np.isfinite(history.prior.loss)), tuple(cells)
    rows = rows_among(point_array(ordered), prior.points).tolist()
    theirs = zip(rows, prior.learning_rate.tolist(), prior.trunks.tolist(), strict=True)
    return runs + [
        FinishedRun(
            cell=cell.number,
            learning_rate=_lattice_rate(cell.rates, rate),
            trunk=None if label < 0 else (None, 0.0, label),
        )
        for row, rate, label in theirs
        if row >= 0
        for cell in (ordered[row],)
    ]


def shared_worth(branches: float) -> float:
    """The share of an independent run that each of the branches of one trunk is worth."""
    return 1 / (1 + (branches - 1) * SHARED_NOISE)


def fresh_worth(branches: Index) -> Array:
    """The share of an independent run that one more branch adds to those that a trunk has."""
    after = (branches + 1) / (1 + branches * SHARED_NOISE)
    return np.asarray(after - branches / (1 + np.maximum(branches - 1, 0) * SHARED_NOISE))


def _lattice_rate(rates: Sequence[float], rate: float) -> float:
    """The rate of a lattice that equals a recorded one up to rounding; the recorded one if there is none."""
    nearest = min(rates, key=lambda other: abs(np.log(other / rate)))
    return nearest if abs(np.log(nearest / rate)) <= CLOSE else rate
