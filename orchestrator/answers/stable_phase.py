"""The law of the stable phase: fitted to the losses of undecayed trunks, and compared with the law after the decay.

The optimum of an undecayed trunk is typically lower, with another exponent of D (arXiv 2608.28308), so the two are never
mixed: every recorded law and every prediction uses annealed losses. The stable law is for comparison only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator import amounts
from orchestrator.cells import Cell, Cells
from orchestrator.errors import Refused
from orchestrator.knowledge import SweepKnowledge
from orchestrator.law import Bowl, BowlStatus, Coefficient, FitOptions, Law, fit
from orchestrator.law.bowl import Z95
from orchestrator.states import RunState
from orchestrator.store.records import Run


class Phase(StrEnum):
    """The losses that a law is fitted to: after the decay, or before it."""

    ANNEALED = "annealed"
    STABLE = "stable"


def undecayed(knowledge: SweepKnowledge) -> SweepKnowledge:
    """Replace every run by its undecayed trunk.

    Args:
        knowledge: of the annealed runs.

    Returns:
        The same cells with the tokens at their forks, and the same runs with the losses of their trunks there. Prior
        runs, and completed runs without such a loss, are dropped. Diverged runs stay diverged.

    Raises:
        Refused: the sweep's runs have no stable phase, or do not measure it.
    """
    reason = knowledge.sweep.spec.training.no_stable_phase
    if reason is not None:
        raise Refused(f"There is no law of the stable phase of sweep {knowledge.sweep.id}: {reason}")
    return replace(
        knowledge,
        cells=Cells(replace(cell, tokens=cell.fork_tokens) for cell in knowledge.cells),
        runs=tuple(replace(run, loss=run.trunk_loss) for run in knowledge.runs if not _unmeasured(run)),
        prior=None,
    )


def _unmeasured(run: Run) -> bool:
    return run.state is RunState.COMPLETED and run.trunk_loss is None


def stable_law(before: SweepKnowledge, annealed: Law) -> Law:
    """Fit the law of the stable phase with the terms of the annealed law, so that the two are comparable.

    Args:
        before: the runs before the decay (``undecayed``).
        annealed: the law of the same runs after it.

    Raises:
        Refused: too few runs, or no cell with an interior minimum.
    """
    return fit(before.observations, options=FitOptions(heldout=False, without=annealed.without))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The optimum of one cell before the decay over that after it.

    Attributes:
        cell: the cell, its horizon included.
        ratio: stable η* over annealed η*, by the two laws.
        low, high: its 95 % interval. Both laws use the same runs, so the interval errs on the wide side.
    """

    cell: Cell
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference between the laws of the two phases.

    Attributes:
        shift: at the largest cell with a minimum in both; None if no cell has one.
        stable, annealed: the exponents of D.
    """

    shift: Shift | None
    stable: Coefficient
    annealed: Coefficient

    @property
    def sentence(self) -> str:
        """The difference in one line."""
        exponents = f"Exponent of D: {_exponent(self.stable)} before, {_exponent(self.annealed)} after."
        if self.shift is None:
            return f"No cell shows a minimum both before and after the decay yet. {exponents}"
        shift, cell = self.shift, self.shift.cell
        return (
            f"Before the decay η* is {shift.ratio:.2f} times what it is after (95 %: {shift.low:.2f} – {shift.high:.2f}) "
            f"at N {amounts.count(cell.params)}, D {amounts.count(cell.tokens)}. {exponents}"
        )


def _exponent(term: Coefficient) -> str:
    value = f"{term.value:+.2f} ± {term.sd:.2f}".replace("-", "−")
    return f"{value} (from a prior)" if term.from_prior else value


def difference(annealed: Law, stable: Law, cells: Cells) -> Difference:
    """Compare the laws of a sweep's two phases.

    Args:
        annealed: its law.
        stable: the law of its trunks (``stable_law``).
        cells: its cells, with their horizons.
    """
    return Difference(
        shift=_largest_shift(annealed, stable, cells),
        stable=_term(stable, "ln D"),
        annealed=_term(annealed, "ln D"),
    )


def _largest_shift(annealed: Law, stable: Law, cells: Cells) -> Shift | None:
    for cell in sorted(cells, key=lambda cell: cell.flops, reverse=True):
        after, before = _bowl(annealed, cell, cell.tokens), _bowl(stable, cell, cell.fork_tokens)
        if after is None or before is None:
            continue
        ratio = before.law_learning_rate / after.law_learning_rate
        reach = math.exp(Z95 * math.hypot(before.law_sd, after.law_sd))
        return Shift(cell=cell, ratio=ratio, low=ratio / reach, high=ratio * reach)
    return None


def _bowl(law: Law, cell: Cell, tokens: float) -> Bowl | None:
    """The law's bowl in a cell at this number of tokens; None if it has no interior minimum."""
    bowl = law.bowl_at(replace(cell.point, tokens=tokens))
    return bowl if bowl is not None and bowl.status is BowlStatus.INTERIOR else None


def _term(law: Law, name: str) -> Coefficient:
    return next(term for term in law.coefficients if term.name == name)
