"""Strategy ``law``: optimal design. Each run is the one that narrows the target's interval most per FLOP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.amounts import flops
from orchestrator.law import Law
from orchestrator.law.bowl import Z95
from orchestrator.law.law import WIDEST
from orchestrator.law.observations import point_array
from orchestrator.planner.draft import Draft
from orchestrator.planner.greedy_search import Choice, GreedySearch, format_interval
from orchestrator.planner.information import Information
from orchestrator.planner.opening import FEWEST_RATES, open_cells
from orchestrator.planner.rate_windows import cover
from orchestrator.planner.reachability import largest_cell, reachable
from orchestrator.planner.ruling_out import ruled_out
from orchestrator.planner.values import BatchPlan, PlanRequest, RunHistory, asked_flops, prior_flops

NEGLIGIBLE, FEW_RUNS = 0.05, 25
"""Nothing is left to gain when no run is expected to take this share, divided by the number of runs known (at least
`FEW_RUNS`), off the target's sd. Equally informative runs would each take off a half, divided by that number."""
ELASTICITY = 0.1
"""Least share of the target's sd that a run must take off per share of the FLOPs asked for so far, or in all. Equally
informative runs would take off a half; below a tenth, doubling the cost narrows ×/÷ 1.5 to ×/÷ 1.46. Applies only
without an interval or a budget to aim for: those are pursued as long as anything helps."""
NO_MINIMUM = (
    "No law can be fitted: every cell has runs and none shows a minimum inside its lattice. "
    "Widen the learning rates."
)
TOO_FEW_RATES = (
    f"No law can be fitted: no cell has {FEWEST_RATES} learning rates, and a minimum needs one on each side of it. "
    "Add learning rates."
)
LEAST_BATCH, MOST_BATCH = 6, 32
GROWTH = 8
"""A batch has one run per this many known runs, within these bounds: early results change the next choice much, late
ones little. A batch is larger only to keep workers busy."""


class LawPlanner:
    """Optimal design for the target, after an opening that needs no law.

    With ``rates_per_cell`` every cell first gets its window of rates, cheapest cells first; after that, FLOPs go to the
    runs that narrow the target's interval most.
    """

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:
        """The next batch, the rates that the law rules out, or the reason to stop."""
        if law is None:
            draft = Draft(history, request, request.runs_per_batch)
            open_cells(draft)
            return draft.plan(_why_no_law(history))
        return _Step(history, law, request).plan()


def _why_no_law(history: RunHistory) -> str:
    short = sum(len(cell.rates) < FEWEST_RATES for cell in history.cells)
    if history.prior is not None or not short:
        return NO_MINIMUM
    if short == len(history.cells):
        return TOO_FEW_RATES
    return f"{NO_MINIMUM} {short} of {len(history.cells)} cells have fewer than {FEWEST_RATES} and were left out."


class _Step:
    """One planning step with a law.

    Targets out of reach of the cells are left out. If none is left, the largest cell is the target: the proxies can
    predict at their own sizes only.
    """

    def __init__(self, history: RunHistory, law: Law, request: PlanRequest) -> None:
        self.history, self.law, self.request = history, law, request
        self.targets = (request.target, *request.more_targets)
        self.information = Information(law, history, request)
        self.unreachable, self.where = "", "at the target"
        if self._refused():
            self._drop_unreachable()
        self.draft = Draft(history, request, request.runs_per_batch)

    def plan(self) -> BatchPlan:
        lacking = self.request.rates_per_cell > 0 and cover(self.draft, self.information)
        if self.draft.batch or (lacking and self.draft.open_runs):
            if self.draft.batch and not self._narrow_enough(np.sqrt(self.information.variance())):
                self._narrow(LEAST_BATCH)
            return self._answer("")
        if self._narrow_enough(self._law_sd()):
            return self._answer(
                f"The 95 % interval {self.where} is within {format_interval(self._law_sd())}, "
                f"and ×/÷ {self.request.interval_factor:.3g} was asked for."
            )
        return self._answer(self._narrow(self._most()))

    def _drop_unreachable(self) -> None:
        """Leave out the targets that no runs in these cells can predict for."""
        within, self.unreachable = reachable(self.information, self.targets)
        if not self.unreachable:
            return
        asked_for, self.targets = self.targets, within or (largest_cell(self.history.cells),)
        if self.targets[0] not in asked_for:
            self.where = "in the largest cell"
        request = replace(self.request, target=self.targets[0], more_targets=self.targets[1:])
        self.information = Information(self.law, self.history, request)

    def _narrow(self, most: int) -> str:
        """Fill the batch with the runs that narrow the interval most per FLOP; the reason, if there is none."""
        search = GreedySearch(self.draft, self.information, self.where)
        while not self.draft.full and self.draft.open_runs + len(self.draft.batch) < most:
            if self.draft.open_runs and self._narrow_enough(np.sqrt(self.information.variance())):
                return ""  # open runs are expected to be enough; their results will show
            chosen = search.best(self._negligible)
            if chosen is None:
                return f"Every rate that could narrow the interval {self.where} has been tried."
            enough = self._why_enough(chosen)
            if enough:
                return enough
            search.take(chosen)
        return ""

    def _why_enough(self, chosen: Choice) -> str:
        """The reason not to take the best choice, or an empty string."""
        sd = self._law_sd()
        if chosen.largest_share < self._negligible:
            if chosen.priced_out is not None:
                return (
                    f"The budget of FLOPs is used up: the cheapest runs that would narrow the interval {self.where} "
                    f"cost {flops(chosen.priced_out)} and {flops(self.draft.flops_left)} are left."
                )
            return (
                f"No run left is expected to narrow the 95 % interval {self.where}, {format_interval(sd)} now, "
                f"by more than {100 * max(chosen.largest_share, 0.0):.2g} % of its logarithm.{self._missed}"
            )
        asked = asked_flops(self.history) + prior_flops(self.history)
        elasticity = max(chosen.share_per_flop * asked, chosen.largest_share)
        if not self._stops_by_cost or elasticity >= ELASTICITY:
            return ""
        return (
            f"Little is left to gain: twice the FLOPs spent so far are expected to narrow the 95 % interval "
            f"{self.where} from {format_interval(sd)} to no less than {format_interval(sd * 2**-elasticity)}.{self._missed}"
        )

    @property
    def _missed(self) -> str:
        """The interval that was asked for and is not reached, in a sentence."""
        factor = self.request.interval_factor
        if factor is None:
            return ""
        return f" ×/÷ {factor:.3g} was asked for: only other proxies would reach it."

    @property
    def _negligible(self) -> float:
        return NEGLIGIBLE / max(self.law.runs, FEW_RUNS)

    @property
    def _stops_by_cost(self) -> bool:
        """Whether there is no interval or budget to aim for, and no refusal that further runs may lift."""
        limits = (self.request.interval_factor, self.request.runs_left, self.request.flops_left)
        unlimited = all(limit is None for limit in limits)
        return not self._refused() and (unlimited or bool(self.unreachable))

    def _refused(self) -> bool:
        """Whether a prediction at a target would be refused."""
        return bool(Z95 * self._law_sd() > np.log(WIDEST))

    def _most(self) -> int:
        if self.request.runs_per_batch is not None:
            return self.request.runs_per_batch
        return max(LEAST_BATCH, self.request.max_parallel, min(MOST_BATCH, len(self.history.runs) // GROWTH))

    def _narrow_enough(self, sd: float) -> bool:
        wanted = self.request.interval_factor
        return wanted is not None and np.exp(Z95 * sd) <= wanted

    def _law_sd(self) -> float:
        """The largest sd of ln η* at the targets, as predictions there report it."""
        return float(self.law.optimum(point_array(self.targets))[1].max())

    def _answer(self, otherwise: str) -> BatchPlan:
        kept = {(cell, rate) for cell, rate, _ in self.draft.asked}
        pruned = ruled_out(self.law, self.history.cells, self.information.belief, kept)
        return self.draft.plan(f"{self.unreachable} {otherwise}".strip(), pruned)
