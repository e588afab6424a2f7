"""Strategy ``law``: optimal design. The next run is the one that narrows the target's interval most per FLOP."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.law import Law, Point
from orchestrator.law.bowl import Z95
from orchestrator.law.law import WIDEST
from orchestrator.planner.draft import Draft
from orchestrator.planner.greedy_search import Choice, GreedySearch, format_interval
from orchestrator.planner.information import Information
from orchestrator.planner.opening import FEWEST_RATES, open_cells
from orchestrator.planner.rate_windows import cover
from orchestrator.planner.reachability import cannot_tell, largest_cell, reachable
from orchestrator.planner.ruling_out import ruled_out
from orchestrator.planner.values import BatchPlan, PlanRequest, RunHistory, asked_flops, prior_flops

NEGLIGIBLE, FEW_RUNS = 0.05, 25
"""When no run is expected to take this share, over the runs known, off the target's sd, nothing is left to gain. Runs
that told all equally would take off a half of it over the runs known; fewer than so many runs count as so many."""
ELASTICITY = 0.1
"""Least share of the target's sd that a run is to take off per share of the FLOPs asked for so far, or in all. Runs that
told all equally would take off a half; below a tenth, doubling what was spent narrows ×/÷ 1.5 to ×/÷ 1.46. Only
where neither an interval nor a budget says how far to go: those are pursued as long as anything helps."""
NO_MINIMUM = (
    "No law can be fitted: every cell has been opened and none shows a minimum inside its lattice. "
    "Widen the learning rates."
)
TOO_FEW_RATES = (
    f"No law can be fitted: no cell has {FEWEST_RATES} learning rates, and a minimum shows only with one tried on each "
    "side of it. Add learning rates."
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

    def plan(self, history: RunHistory, law: Law | None, request: PlanRequest) -> BatchPlan:
        """The next batch, what the law rules out, or why to stop."""
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

    Targets that the cells cannot lead to are left aside; where none is left, the largest cell takes their place: what
    the proxies can tell is the optimum of their own kind.
    """

    def __init__(self, history: RunHistory, law: Law, request: PlanRequest) -> None:
        self.history, self.law, self.request = history, law, request
        self.targets = (request.target, *request.more_targets)
        self.information = Information(law, history, request)
        self.untold = ""
        if self._refused():
            self._aim_within_reach()
        self.draft = Draft(history, request, request.runs_per_batch)

    def plan(self) -> BatchPlan:
        lacking = self.request.rates_per_cell > 0 and cover(self.draft, self.information)
        if self.draft.batch or (lacking and self.draft.open_runs):
            if self.draft.batch and not self._narrow_enough(np.sqrt(self.information.variance())):
                self._narrow(LEAST_BATCH)
            return self._answer("")
        if self._narrow_enough(self._law_sd()):
            return self._answer(
                f"The 95 % interval {self._where} is within {format_interval(self._law_sd())}, "
                f"and ×/÷ {self.request.interval_factor:.3g} was asked for."
            )
        return self._answer(self._narrow(self._most()))

    def _aim_within_reach(self) -> None:
        """Leave aside the targets that no runs of these cells can tell."""
        within = reachable(self.information, self.targets)
        if within == self.targets:
            return
        self.untold = cannot_tell(self.information, self.targets)
        self.targets = within or (largest_cell(self.history.cells),)
        request = replace(self.request, target=self.targets[0], more_targets=self.targets[1:])
        self.information = Information(self.law, self.history, request)

    def _narrow(self, most: int) -> str:
        """Fill the batch with the runs that narrow the interval most per FLOP; why not, if none."""
        search = GreedySearch(self.draft, self.information, self._where)
        while not self.draft.full and self.draft.open_runs + len(self.draft.batch) < most:
            if self.draft.open_runs and self._narrow_enough(np.sqrt(self.information.variance())):
                return ""  # open runs are expected to be enough, and tell soon whether they are
            chosen = search.best(self._negligible)
            if chosen is None:
                return f"Every rate that could narrow the interval {self._where} has been tried."
            enough = self._why_enough(chosen)
            if enough:
                return enough
            search.take(chosen)
        return ""

    def _why_enough(self, chosen: Choice) -> str:
        """Why not to take the best choice, or nothing."""
        sd = self._law_sd()
        if chosen.largest_share < self._negligible:
            if chosen.priced_out is not None:
                return (
                    f"The budget of FLOPs is used up: the cheapest runs that would narrow the interval {self._where} "
                    f"cost {chosen.priced_out:.3g} FLOPs and {self.draft.flops_left:.3g} are left."
                )
            return (
                f"No run left is expected to narrow the 95 % interval {self._where}, {format_interval(sd)} now, "
                f"by more than {100 * max(chosen.largest_share, 0.0):.2g} % of its logarithm."
            )
        asked = asked_flops(self.history) + prior_flops(self.history)
        elasticity = max(chosen.share_per_flop * asked, chosen.largest_share)
        if not self._stops_by_cost or elasticity >= ELASTICITY:
            return ""
        return (
            f"Little is left to gain: twice the FLOPs spent so far are expected to narrow the 95 % interval "
            f"{self._where} from {format_interval(sd)} to no less than {format_interval(sd * 2**-elasticity)}."
        )

    @property
    def _where(self) -> str:
        return (
            "in the largest cell"
            if self.untold and self.targets[0] not in self._asked_for
            else "at the target"
        )

    @property
    def _asked_for(self) -> tuple[Point, ...]:
        return (self.request.target, *self.request.more_targets)

    @property
    def _negligible(self) -> float:
        return NEGLIGIBLE / max(self.law.runs, FEW_RUNS)

    @property
    def _stops_by_cost(self) -> bool:
        """Whether nothing else says how far to go: no interval, no budget, no refusal that runs may yet lift."""
        limits = (self.request.interval_factor, self.request.runs_left, self.request.flops_left)
        unlimited = all(limit is None for limit in limits)
        return not self._refused() and (unlimited or bool(self.untold))

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
        """The largest sd of ln η* that the law states at the targets: what a prediction there will show."""
        params, tokens, batch_tokens = np.array(
            [(t.params, t.tokens, t.batch_tokens) for t in self.targets]
        ).T
        return float(self.law.optimum(params, tokens, batch_tokens)[1].max())

    def _answer(self, otherwise: str) -> BatchPlan:
        kept = {(cell, rate) for cell, rate, _ in self.draft.asked}
        pruned = ruled_out(self.law, self.history.cells, self.information.belief, kept)
        return self.draft.plan(f"{self.untold} {otherwise}".strip(), pruned)
