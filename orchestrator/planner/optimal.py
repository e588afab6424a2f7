"""Strategy ``law``: optimal design. The next run is the one that narrows the target's interval most per FLOP."""

from __future__ import annotations

import numpy as np

from orchestrator.law import Law
from orchestrator.planner.coverage import cover
from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.opening import open_cells
from orchestrator.planner.ruling_out import Z95, ruled_out
from orchestrator.planner.search import Choice, Search
from orchestrator.planner.values import Plan, Question, Record, asked_flops

NEGLIGIBLE = 0.002
"""Share of the target's sd: when no run is expected to shrink it by more, there is nothing left to gain."""
ELASTICITY = 0.1
"""Least share of the target's sd that a run is to take off per share of the FLOPs asked for so far. Runs that told all
equally much would take off a half; below a tenth, doubling what was spent narrows ×/÷ 1.5 to ×/÷ 1.46. Only
where neither an interval nor a budget says how far to go: those are pursued as long as anything helps."""
NO_MINIMUM = (
    "No law can be fitted: every cell has been opened and none shows a minimum inside its lattice. "
    "Widen the learning rates."
)
LEAST_BATCH, MOST_BATCH = 6, 32
GROWTH = 8
"""A batch is one run in so many of those known, within these bounds: early results change much of what to ask next,
late ones little. More is asked for only where workers would idle."""


class LawPlanner:
    """Optimal design for the target, after an opening that needs no law.

    With ``rates_per_cell`` every cell first gets its window of rates, cheapest cells first; what is spent after
    that goes where the target's interval shrinks most per FLOP.
    """

    def plan(self, record: Record, law: Law | None, question: Question) -> Plan:
        """The next batch, what the law rules out, or why to stop."""
        if law is None:
            draft = Draft(record, question, question.runs_per_batch)
            open_cells(draft)
            return draft.plan(NO_MINIMUM)
        return _Step(record, law, question).plan()


class _Step:
    """One planning step with a law."""

    def __init__(self, record: Record, law: Law, question: Question) -> None:
        self.record, self.law, self.question = record, law, question
        self.information = Information(law, record, question)
        self.draft = Draft(record, question, question.runs_per_batch)

    def plan(self) -> Plan:
        lacking = self.question.rates_per_cell > 0 and cover(self.draft, self.information)
        if self.draft.batch or (lacking and self.draft.open_runs):
            return self._answer("")
        if self._narrow_enough():
            return self._answer(
                f"The 95 % interval at the target is within ×/÷ {np.exp(Z95 * self._law_sd()):.3g}, "
                f"and ×/÷ {self.question.interval_factor:.3g} was asked for."
            )
        self.draft = Draft(self.record, self.question, self._most())
        return self._answer(self._narrow())

    def _narrow(self) -> str:
        """Fill the batch with the runs that narrow the target's interval most per FLOP; why not, if none."""
        search, asked = Search(self.draft, self.information), asked_flops(self.record)
        while not self.draft.full and (chosen := search.best(NEGLIGIBLE)) is not None:
            elasticity = chosen.share_per_flop * asked
            if chosen.largest_share < NEGLIGIBLE or (self._unlimited and 0 < elasticity < ELASTICITY):
                return self._why_enough(chosen, elasticity)
            search.take(chosen)
        return "Every rate that could narrow the interval at the target has been tried."

    @property
    def _unlimited(self) -> bool:
        """Whether neither an interval nor a budget says how far to go."""
        limits = (self.question.interval_factor, self.question.runs_left, self.question.flops_left)
        return all(limit is None for limit in limits)

    def _why_enough(self, chosen: Choice, elasticity: float) -> str:
        now = self._factor()
        if chosen.priced_out is not None:
            return (
                f"The budget of FLOPs is used up: the cheapest runs that would narrow the interval at the target cost "
                f"{chosen.priced_out:.3g} FLOPs and {self.draft.flops_left:.3g} are left."
            )
        if chosen.largest_share < NEGLIGIBLE:
            return (
                f"No run left is expected to narrow the 95 % interval at the target, ×/÷ {now:.3g} now, "
                f"by more than {100 * chosen.largest_share:.2g} % of its logarithm."
            )
        return (
            f"Little is left to gain: twice the FLOPs spent so far are expected to narrow the 95 % interval at the "
            f"target from ×/÷ {now:.3g} to no less than ×/÷ {now**2**-elasticity:.3g}."
        )

    def _factor(self) -> float:
        """Half-width of the expected 95 % interval at the target, as a factor."""
        return float(np.exp(Z95 * np.sqrt(self.information.variance())))

    def _most(self) -> int:
        if self.question.runs_per_batch is not None:
            return self.question.runs_per_batch
        return max(LEAST_BATCH, self.question.max_parallel, min(MOST_BATCH, len(self.record.runs) // GROWTH))

    def _narrow_enough(self) -> bool:
        wanted = self.question.interval_factor
        return wanted is not None and np.exp(Z95 * self._law_sd()) <= wanted

    def _law_sd(self) -> float:
        """The largest sd of ln η* that the law states at the targets: what a prediction there will show."""
        targets = (self.question.target, *self.question.more_targets)
        params, tokens, batch_tokens = np.array([(t.params, t.tokens, t.batch_tokens) for t in targets]).T
        return float(self.law.optimum(params, tokens, batch_tokens)[1].max())

    def _answer(self, otherwise: str) -> Plan:
        kept = {(cell, rate) for cell, rate, _ in self.draft.asked}
        pruned = ruled_out(self.law, self.record.cells, self.information.belief, kept)
        return self.draft.plan(otherwise, pruned)
