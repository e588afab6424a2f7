"""A world to compare strategies in: recorded cells that may be run, and larger ones that may not and are judged at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.amounts import count
from orchestrator.errors import Unsupported
from orchestrator.law import BowlStatus, FitOptions, Law, Observations, Point, Refused, fit
from orchestrator.law.held_out_error import largest_parts
from orchestrator.law.unseen_cells import RecordedBowl
from orchestrator.planner.values import Cell, Cells, KnownRun, RunOutcome, full_grid_flops
from orchestrator.spec import replayed_cells
from orchestrator.tables.recorded_rates import recorded_rates
from orchestrator.tables.run_table import RunTable

FAST: Final = FitOptions(heldout=False)
"""A comparison judges by its own targets: the law's held-out error is not needed."""

MISSING: Final = 0.1
"""Share of the cells, and of the rates of those that are left, that a replicate lacks."""

Place = tuple[float, float, float]
Losses = Mapping[tuple[Place, float], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTarget:
    """A cell that no strategy may run, and what is recorded there.

    Attributes:
        target: its N, D and B.
        rates: η of all its recorded runs, ascending.
        losses: the mean loss at each of them, None where every run diverged; two at least are known.
    """

    target: Point
    rates: tuple[float, ...]
    losses: tuple[float | None, ...]

    @property
    def middle(self) -> float:
        """The middle of its lattice, the geometric mean of its rates: the answer of who knows nothing."""
        return math.exp(fmean(map(math.log, self.rates)))

    def excess_loss(self, learning_rate: float) -> float:
        """What a rate costs over the best recorded one (0.001 is 0.1 %).

        Between recorded rates by PCHIP in ln η; beyond the outermost that completed it counts as that one.
        """
        known = [pair for pair in zip(self.rates, self.losses, strict=True) if pair[1] is not None]
        rates, losses = np.array(known, dtype=np.float64).T
        return RecordedBowl.of(np.log(rates), losses).held(math.log(learning_rate))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedWorld:
    """What may be run, how each run would end, and where strategies are judged.

    Attributes:
        cells: cells that may be run, numbered from the cheapest on, each with its recorded rates.
        losses: the mean recorded loss by place and rate, None where every run diverged.
        targets: the cells that may not be run.
    """

    cells: Cells
    losses: Losses
    targets: tuple[RecordedTarget, ...]

    @property
    def aim(self) -> str:
        """The targets in words."""
        wanted = [target.target for target in self.targets]
        params, tokens, batch_tokens = (
            _span(sizes)
            for sizes in zip(*((t.params, t.tokens, t.batch_tokens) for t in wanted), strict=True)
        )
        cells = "1 cell" if len(wanted) == 1 else f"{len(wanted)} cells"
        return f"{cells}: {params} parameters, {tokens} tokens, batches of {batch_tokens} tokens"

    @property
    def runs(self) -> int:
        """How many runs the full grid has."""
        return sum(len(cell.rates) for cell in self.cells)

    @property
    def flops(self) -> float:
        """What the full grid costs: 6·N·D for every rate in every cell."""
        return full_grid_flops(self.cells, 1)

    def answered(self, cell: int, learning_rate: float, seed: int = 0) -> KnownRun:
        """How a run ends that a strategy asks for."""
        loss = self.losses[_place(self.cells[cell]), learning_rate]
        return KnownRun(
            cell=cell,
            learning_rate=learning_rate,
            seed=seed,
            outcome=RunOutcome.DIVERGED if loss is None else RunOutcome.COMPLETED,
            loss=loss,
        )

    def law_of(self, runs: Sequence[KnownRun]) -> Law | None:
        """The law of these runs, or None where none can be fitted."""
        if not runs:
            return None
        places = np.array([_place(self.cells[run.cell]) for run in runs])
        observations = Observations(
            params=places[:, 0],
            tokens=places[:, 1],
            batch_tokens=places[:, 2],
            learning_rate=np.array([run.learning_rate for run in runs]),
            loss=np.array([math.nan if run.loss is None else run.loss for run in runs]),
        )
        try:
            return fit(observations, options=FAST)
        except Refused:
            return None

    def whole_law(self) -> Law | None:
        """The law of the full grid: the most that a strategy can know."""
        return self.law_of([self.answered(cell.number, rate) for cell in self.cells for rate in cell.rates])

    def answers(self, law: Law | None) -> tuple[float, ...]:
        """The learning rate at each target: the law's, or without a law the middle of the lattice."""
        if law is None:
            return tuple(target.middle for target in self.targets)
        places = np.array([(t.target.params, t.target.tokens, t.target.batch_tokens) for t in self.targets])
        return tuple(np.exp(law.optimum(*places.T)[0]).tolist())

    def excess_losses(self, rates: Sequence[float]) -> tuple[float, ...]:
        """What a rate at each target costs, in the order of the targets."""
        return tuple(target.excess_loss(rate) for target, rate in zip(self.targets, rates, strict=True))

    def replicate(self, number: int) -> RecordedWorld:
        """This world, from replicate 1 on without a random tenth of its cells and of the rates of the others.

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

    The targets are the cells of the largest size with a minimum inside the recorded rates; where the table has one
    size, those of the longest horizon. Runs that the machine ended say nothing of their rate and are left out.

    Args:
        table: runs of one recipe.

    Raises:
        Unsupported: one cell, no minimum, all minima at one size and horizon, or no law without the targets.
    """
    table = table.grouped()
    runs = table.observations().counting()
    if table.cells < 2:
        raise Unsupported(
            "The table has one cell. A comparison runs strategies in some cells and judges them at larger ones: it "
            "needs two sizes or two horizons."
        )
    law = fit(runs, options=FAST)
    out = _largest_part(runs, law)
    losses = _mean_losses(runs)
    unseen = set(_places(runs.where(out)))
    recorded = [
        replace(cell, rates=tuple(rate for rate in cell.rates if (_place(cell), rate) in losses))
        for cell in replayed_cells(recorded_rates(table))
    ]
    candidates = [cell for cell in recorded if cell.rates and _place(cell) not in unseen]
    return RecordedWorld(
        cells=Cells(replace(cell, number=number) for number, cell in enumerate(candidates)),
        losses=losses,
        targets=_targets([cell for cell in recorded if _place(cell) in unseen], law, losses),
    )


def _targets(cells: Sequence[Cell], law: Law, losses: Losses) -> tuple[RecordedTarget, ...]:
    """Those of the unseen cells that have a minimum, and two known rates to judge others by.

    Raises:
        Unsupported: there are none.
    """
    at, bowls = law.known_cells(*np.array([_place(cell) for cell in cells]).T)
    shown = [
        _target(cells[cell], losses)
        for cell, bowl in zip(at.tolist(), bowls.tolist(), strict=True)
        if law.bowls[bowl].status is BowlStatus.INTERIOR
    ]
    known = tuple(target for target in shown if sum(loss is not None for loss in target.losses) > 1)
    if not known:
        raise Unsupported(
            "There is no unseen cell to judge strategies at: none of the largest has a minimum and two learning rates "
            "that completed."
        )
    return known


def _largest_part(runs: Observations, law: Law) -> NDArray[np.bool_]:
    """Which runs no strategy may see; the others give a law."""
    reason = "All cells with a minimum have one size and one horizon."
    for out, words in largest_parts(runs, law.bowls):
        try:
            fit(runs.where(~out), options=FAST)
        except Refused as refusal:
            reason = f"Without {words} the other runs give no law: {refusal.detail}"
        else:
            return out
    raise Unsupported(f"There is no unseen cell to judge strategies at. {reason}")


def _target(cell: Cell, losses: Losses) -> RecordedTarget:
    place = _place(cell)
    return RecordedTarget(
        target=Point(params=cell.params, tokens=cell.tokens, batch_tokens=cell.batch_tokens),
        rates=cell.rates,
        losses=tuple(losses[place, rate] for rate in cell.rates),
    )


def _mean_losses(runs: Observations) -> dict[tuple[Place, float], float | None]:
    """The mean loss of the runs of each place and rate that completed."""
    found: dict[tuple[Place, float], list[float]] = {}
    for place, rate, loss in zip(_places(runs), runs.learning_rate.tolist(), runs.loss.tolist(), strict=True):
        found.setdefault((place, rate), []).extend([loss] if math.isfinite(loss) else [])
    return {at: fmean(losses) if losses else None for at, losses in found.items()}


def _places(runs: Observations) -> list[Place]:
    columns = (runs.params.tolist(), runs.tokens.tolist(), runs.batch_tokens.tolist())
    return list(zip(*columns, strict=True))


def _span(sizes: Sequence[float]) -> str:
    low, high = count(min(sizes)), count(max(sizes))
    return low if low == high else f"{low} … {high}"


def _place(cell: Cell) -> Place:
    return cell.params, cell.tokens, cell.batch_tokens
