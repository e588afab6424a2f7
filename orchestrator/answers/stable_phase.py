"""The law before the decay beside the law after it: what undecayed trunks say, and by how much their optima differ.

The optimum of an undecayed trunk is typically lower, with another exponent of D (arXiv 2608.28308), so the two are never
mixed: every law that is recorded, and every prediction, is of annealed losses. The stable law is for comparison alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from orchestrator import amounts
from orchestrator.errors import Unsupported
from orchestrator.knowledge import Knowledge
from orchestrator.law import Bowl, BowlStatus, Coefficient, FitOptions, Law, fit
from orchestrator.law.bowl import Z95
from orchestrator.planner.values import Cell, Cells
from orchestrator.spec import ProxyTrainer, SweepSpec
from orchestrator.states import RunState
from orchestrator.store.records import Run


class Phase(StrEnum):
    """Which losses of a sweep a law is of."""

    ANNEALED = "annealed"
    STABLE = "stable"


def has_stable_phase(spec: SweepSpec) -> bool:
    """Whether the sweep's runs measure a loss at a constant rate, before their decay."""
    return isinstance(spec.trainer, ProxyTrainer) and spec.trainer.schedule.has_stable_phase


def undecayed(knowledge: Knowledge) -> Knowledge:
    """What the sweep would know if every run had ended where its decay began.

    Args:
        knowledge: of the annealed runs.

    Returns:
        The same cells with the tokens of their forks, and the same runs with the losses of their trunks there; without
        prior runs and without completed runs of which no such loss was measured. A run that diverged did so here too.

    Raises:
        Unsupported: the sweep's runs have no stable phase, or none that is measured.
    """
    spec = knowledge.sweep.spec
    if not has_stable_phase(spec):
        raise Unsupported(f"There is no law of the stable phase of sweep {knowledge.sweep.id}: {_why(spec)}")
    return replace(
        knowledge,
        cells=Cells(replace(cell, tokens=cell.fork_tokens) for cell in knowledge.cells),
        runs=tuple(replace(run, loss=run.trunk_loss) for run in knowledge.runs if not _unmeasured(run)),
        prior=None,
    )


def _why(spec: SweepSpec) -> str:
    if isinstance(spec.trainer, ProxyTrainer):
        return (
            "its runs decay by a cosine from the end of the warmup on. Sweeps whose trainer.schedule.shape is linear or "
            "sqrt have one."
        )
    what = "it fits runs made before" if spec.trainer is None else f"its trainer is {spec.trainer.kind}"
    return f"{what}, and the loss before the decay is measured by the proxy trainer alone."


def _unmeasured(run: Run) -> bool:
    return run.state is RunState.COMPLETED and run.trunk_loss is None


def stable_law(before: Knowledge, annealed: Law) -> Law:
    """Fit the law of the stable phase with the terms of the annealed one, so that the two can be compared.

    Args:
        before: what is known before the decay (``undecayed``).
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
        ratio: stable η* over annealed η*, as the two laws know them.
        low, high: its 95 % interval; the same runs are behind both, so it is rather too wide than too narrow.
    """

    cell: Cell
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How the laws of the two phases differ.

    Attributes:
        shift: at the largest cell that has a minimum in both; None where no cell has.
        stable, annealed: the exponents of D.
    """

    shift: Shift | None
    stable: Coefficient
    annealed: Coefficient

    @property
    def sentence(self) -> str:
        """The difference in a line for people."""
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
    return f"{value} (a prior's)" if term.from_prior else value


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
    """The law's bowl in a cell at some tokens, if it has a minimum inside."""
    place = (np.array([value]) for value in (cell.params, tokens, cell.batch_tokens))
    bowls = [law.bowls[int(number)] for number in law.known_cells(*place)[1]]
    return next((bowl for bowl in bowls if bowl.status is BowlStatus.INTERIOR), None)


def _term(law: Law, name: str) -> Coefficient:
    return next(term for term in law.coefficients if term.name == name)
