"""A world to compare strategies in: recorded cells that may be run, and larger ones that may not, as targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np

from orchestrator.amounts import count
from orchestrator.cells import Cell, Cells, Point
from orchestrator.errors import Refused
from orchestrator.law import BowlStatus, FitOptions, Law, Observations, fit
from orchestrator.law.held_out_error import largest_parts
from orchestrator.law.observations import Mask, point_array, point_list, rows_among
from orchestrator.law.unseen_cells import RecordedBowl
from orchestrator.planner.values import KnownRun, RunHistory, RunOutcome, full_grid_flops
from orchestrator.spec import replayed_cells
from orchestrator.tables.recorded_rates import recorded_rates
from orchestrator.tables.run_table import RunTable

FAST: Final = FitOptions(heldout=False)
"""A comparison has its own targets, so the law's held-out error is not needed."""

MISSING: Final = 0.1
"""Share of the cells, and of the rates of the other cells, that a replicate lacks."""

Losses = Mapping[tuple[Point, float], float | None]
"""Mean recorded loss by point and rate; None if every run there diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTarget:
    """A cell that no strategy may run, with its recorded losses.

    Attributes:
        target: its N, D and B.
        rates: η of all its recorded runs, ascending.
        losses: the mean loss at each of them, None if every run diverged; at least two are known.
    """

    target: Point
    rates: tuple[float, ...]
    losses: tuple[float | None, ...]

    @property
    def middle(self) -> float:
        """The baseline: the geometric mean of the recorded rates."""
        return math.exp(fmean(map(math.log, self.rates)))

    def excess_loss(self, learning_rate: float) -> float:
        """Excess loss of a rate over the best recorded one (0.001 is 0.1 %).

        Interpolated by PCHIP in ln η; beyond the outermost completed rate, the excess loss of that rate.
        """
        known = [pair for pair in zip(self.rates, self.losses, strict=True) if pair[1] is not None]
        rates, losses = np.array(known, dtype=np.float64).T
        return RecordedBowl.of(np.log(rates), losses).held(math.log(learning_rate))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedWorld:
    """The cells that may be run, the result of each run, and the targets.

    Attributes:
        cells: cells that may be run, numbered from the cheapest on, each with its recorded rates.
        losses: the mean recorded loss by point and rate.
        targets: the cells that may not be run.
    """

    cells: Cells
    losses: Losses
    targets: tuple[RecordedTarget, ...]

    @property
    def aim(self) -> str:
        """The targets, for people."""
        params, tokens, batch_tokens = (
            _span(axis.tolist()) for axis in point_array(target.target for target in self.targets).T
        )
        cells = "1 cell" if len(self.targets) == 1 else f"{len(self.targets)} cells"
        return f"{cells}: {params} parameters, {tokens} tokens, batches of {batch_tokens} tokens"

    @property
    def runs(self) -> int:
        """Number of runs of the full grid."""
        return sum(len(cell.rates) for cell in self.cells)

    @property
    def flops(self) -> float:
        """FLOPs of the full grid: 6·N·D for every rate in every cell."""
        return full_grid_flops(self.cells, 1)

    def answered(self, cell: int, learning_rate: float, seed: int = 0) -> KnownRun:
        """The result of a run."""
        loss = self.losses[self.cells[cell].point, learning_rate]
        return KnownRun(
            cell=cell,
            learning_rate=learning_rate,
            seed=seed,
            outcome=RunOutcome.DIVERGED if loss is None else RunOutcome.COMPLETED,
            loss=loss,
        )

    def law_of(self, runs: Sequence[KnownRun]) -> Law | None:
        """The law of these runs; None if none can be fitted."""
        observations = RunHistory(cells=self.cells, runs=tuple(runs)).observations
        try:
            return fit(observations, options=FAST) if runs else None
        except Refused:
            return None

    def whole_law(self) -> Law | None:
        """The law of the full grid, the best that a strategy can reach."""
        return self.law_of([self.answered(cell.number, rate) for cell in self.cells for rate in cell.rates])

    def answers(self, law: Law | None) -> tuple[float, ...]:
        """The learning rate at each target: the law's prediction, without a law the middle of the lattice."""
        if law is None:
            return tuple(target.middle for target in self.targets)
        points = point_array(target.target for target in self.targets)
        return tuple(np.exp(law.optimum(points)[0]).tolist())

    def excess_losses(self, rates: Sequence[float]) -> tuple[float, ...]:
        """Excess loss of a rate at each target, in the order of the targets."""
        return tuple(target.excess_loss(rate) for target, rate in zip(self.targets, rates, strict=True))

    def replicate(self, number: int) -> RecordedWorld:
        """This world for 0; otherwise without a random tenth of its cells and of the rates of the others.

        The same number gives the same world.
        """
        if number == 0:
            return self
        random = np.random.default_rng(number)
        kept: list[Cell] = []
        while not kept:
            for cell in self.cells:
                rates = tuple(rate for rate in cell.rates if random.random() >= MISSING)
                if random.random() >= MISSING and rates:
                    kept.append(replace(cell, rates=rates, number=len(kept)))
        return replace(self, cells=Cells(kept))


def recorded_world(table: RunTable) -> RecordedWorld:
    """Split a table into cells that may be run and unseen targets.

    The targets are the cells of the largest size with a minimum inside the recorded rates; if the table has one size,
    those of the longest horizon. Failed runs are left out.

    Args:
        table: runs of one recipe.

    Raises:
        Refused: one cell, no minimum, all minima at one size and horizon, or no law without the targets.
    """
    table = table.grouped()
    observations = table.observations()
    runs = observations.counting()
    if table.cells < 2:
        raise Refused(
            "The table has one cell. A comparison runs strategies in some cells and judges them at larger ones: it "
            "needs two sizes or two horizons."
        )
    law = fit(observations, options=FAST)
    out = _largest_part(runs, law)
    losses = _mean_losses(runs)
    unseen = set(point_list(runs.where(out).points))
    recorded = [
        replace(cell, rates=tuple(rate for rate in cell.rates if (cell.point, rate) in losses))
        for cell in replayed_cells(recorded_rates(table))
    ]
    candidates = [cell for cell in recorded if cell.rates and cell.point not in unseen]
    return RecordedWorld(
        cells=Cells(replace(cell, number=number) for number, cell in enumerate(candidates)),
        losses=losses,
        targets=_targets([cell for cell in recorded if cell.point in unseen], law, losses),
    )


def _targets(cells: Sequence[Cell], law: Law, losses: Losses) -> tuple[RecordedTarget, ...]:
    """The unseen cells that have a minimum and at least two completed rates.

    Raises:
        Refused: there are none.
    """
    rows = rows_among(law.points, point_array(cells)).tolist()
    shown = [
        RecordedTarget(
            target=cell.point,
            rates=cell.rates,
            losses=tuple(losses[cell.point, rate] for rate in cell.rates),
        )
        for cell, row in zip(cells, rows, strict=True)
        if row >= 0 and law.bowls[row].status is BowlStatus.INTERIOR
    ]
    known = tuple(target for target in shown if sum(loss is not None for loss in target.losses) > 1)
    if not known:
        raise Refused(
            "There is no unseen cell to judge strategies at: none of the largest has a minimum and two learning rates "
            "that completed."
        )
    return known


def _largest_part(runs: Observations, law: Law) -> Mask:
    """Whether each run is hidden from the strategies; the others give a law."""
    reason = "All cells with a minimum have one size and one horizon."
    for part in largest_parts(runs, law.bowls):
        out = part.holds(runs)
        try:
            fit(runs.where(~out), options=FAST)
        except Refused as refusal:
            reason = f"Without the {part.in_words} the other runs give no law: {refusal.detail}"
        else:
            return out
    raise Refused(f"There is no unseen cell to judge strategies at. {reason}")


def _mean_losses(runs: Observations) -> Losses:
    found: dict[tuple[Point, float], list[float]] = {}
    for point, rate, loss in zip(
        point_list(runs.points), runs.learning_rate.tolist(), runs.loss.tolist(), strict=True
    ):
        found.setdefault((point, rate), []).extend([loss] if math.isfinite(loss) else [])
    return {at: fmean(losses) if losses else None for at, losses in found.items()}


def _span(sizes: Sequence[float]) -> str:
    low, high = count(min(sizes)), count(max(sizes))
    return low if low == high else f"{low} … {high}"
