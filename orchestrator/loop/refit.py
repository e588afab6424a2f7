"""One refit and one plan: pure steps from the knowledge of a sweep to the rows to write next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from orchestrator.answers.param_counts import both_counts, vary_apart
from orchestrator.answers.prediction import prediction
from orchestrator.documents.laws import RuledOut, SizesDocument
from orchestrator.documents.predictions import RefusalDocument, TargetAnswer
from orchestrator.errors import Refused
from orchestrator.knowledge import SweepKnowledge, plan_request
from orchestrator.law import Law, fit
from orchestrator.planner import planner_of
from orchestrator.planner.values import BatchPlan, PlanRequest, Proposal, Pruned
from orchestrator.states import RUN_OPEN, RunState
from orchestrator.store.records import NewRun

RECENT: Final = 64
"""A law may choose the next runs while it lacks at most one in this many results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The next batch of runs.

    Attributes:
        runs: to ask for.
        pruned: rates that the law rules out and the store does not have yet.
        ruled_out: every rate that the law rules out.
        stop: why the search ends, in a sentence; None while it goes on.
    """

    runs: tuple[NewRun, ...] = ()
    pruned: tuple[NewRun, ...] = ()
    ruled_out: tuple[Pruned, ...] = ()
    stop: str | None = None

    @property
    def rulings(self) -> list[RuledOut]:
        """The rates that are ruled out, as a law records them."""
        return [RuledOut.of(item) for item in self.ruled_out]


def fitted(knowledge: SweepKnowledge) -> Law | Refused:
    """The law of all results, or the reason why there is none yet."""
    try:
        return fit(knowledge.observations)
    except Refused as refusal:
        return refusal


def in_both_counts(law: Law, knowledge: SweepKnowledge) -> tuple[Law, SizesDocument | None]:
    """The law, and for mixtures of experts the laws of both counts of parameters (``param_counts.both_counts``).

    The second is None if the sweep has one count, or prior runs, which have one count.
    """
    counts, used = knowledge.both_counts, knowledge.sweep.spec.training.counted
    if counts is None or knowledge.prior is not None or used not in counts:
        return law, None
    return both_counts(counts, law, used, so_far=vary_apart(knowledge.cells))


def is_recent(runs: int, known: int) -> bool:
    """Whether a law of ``runs`` results is recent enough to choose runs by, out of ``known`` results.

    A single result changes a law of many runs by little; ten thousand runs that end one by one leave some four hundred
    laws, not ten thousand.
    """
    return known - runs <= known // RECENT


def answer(law: Law, knowledge: SweepKnowledge) -> TargetAnswer:
    """The prediction at the sweep's target, or the refusal with its reason."""
    sweep, target = knowledge.sweep, knowledge.target(law)
    try:
        return prediction(
            law,
            target,
            sweep_id=sweep.id,
            runs=lambda: knowledge.observations,
            spec=sweep.spec,
            planned={cell.params for cell in knowledge.cells},
        )
    except Refused as refusal:
        return RefusalDocument.of(refusal, sweep_id=sweep.id, target=target, refused=refusal.code)


def next_batch(knowledge: SweepKnowledge, law: Law | None) -> Batch:
    """Ask the sweep's planner for runs, and keep those that the budget allows and that can still be made.

    Args:
        knowledge: of the sweep; open runs count as ended and paid for.
        law: the newest; None before the first.

    Returns:
        The batch; ``stop`` is set if no run is open and none is left to make.
    """
    spec, flops = knowledge.sweep.spec, knowledge.spent_flops + knowledge.promised_flops
    target = knowledge.target(law)
    request = plan_request(spec, target, runs=knowledge.asked, flops=flops, has_law=law is not None)
    plan = planner_of(spec.search.strategy).plan(knowledge.history, law, request)
    batch = Batch(pruned=_pruned_runs(plan, request, knowledge), ruled_out=plan.pruned)
    if plan.stop is not None:
        return replace(batch, stop=plan.stop)
    possible = _possible(plan, knowledge)
    affordable = _affordable(possible, request)
    if not affordable and knowledge.is_open:
        return batch
    if not affordable:
        return replace(batch, stop=_nothing_left(plan, possible))
    return replace(batch, runs=tuple(_new_run(item, knowledge) for item in affordable))


def _possible(plan: BatchPlan, knowledge: SweepKnowledge) -> tuple[Proposal, ...]:
    """Proposals that can become pending: the store repeats no run.

    A proposal whose trunk is in training waits for that trunk, instead of training it a second time.
    """
    cells = knowledge.cells
    made = {
        (run.cell, run.learning_rate, run.seed)
        for run in knowledge.runs
        if run.state not in {RunState.PRUNED, RunState.CANCELLED}
    }
    under_way = {
        (trunk, run.learning_rate, run.seed)
        for run in knowledge.runs
        if run.state in RUN_OPEN and (trunk := cells[run.cell].trunk) is not None
    }
    return tuple(
        item
        for item in plan.batch
        if (item.cell, item.learning_rate, item.seed) not in made
        and (cells[item.cell].trunk, item.learning_rate, item.seed) not in under_way
    )


def _affordable(proposals: tuple[Proposal, ...], request: PlanRequest) -> tuple[Proposal, ...]:
    """The first proposals that the budget allows: a hard stop for every strategy."""
    if request.runs_left is not None:
        proposals = proposals[: request.runs_left]
    if request.flops_left is None:
        return proposals
    kept, left = [], request.flops_left
    for proposal in proposals:
        left -= proposal.flops
        if left < 0:
            break
        kept.append(proposal)
    return tuple(kept)


def _nothing_left(plan: BatchPlan, possible: tuple[Proposal, ...]) -> str:
    if possible:
        return "The budget allows no further run."
    if plan.batch:
        return "Nothing is left to run: what the planner asks for has failed before."
    return "Nothing is left to run."


def _new_run(proposal: Proposal, knowledge: SweepKnowledge) -> NewRun:
    return NewRun(
        cell=proposal.cell,
        learning_rate=proposal.learning_rate,
        seed=proposal.seed,
        trunk=knowledge.cells[proposal.cell].trunk,
        reason=proposal.reason,
    )


def _pruned_runs(plan: BatchPlan, request: PlanRequest, knowledge: SweepKnowledge) -> tuple[NewRun, ...]:
    known = {(run.cell, run.learning_rate, run.seed) for run in knowledge.runs}
    return tuple(
        NewRun(
            cell=item.cell,
            learning_rate=item.learning_rate,
            seed=seed,
            trunk=knowledge.cells[item.cell].trunk,
            reason=item.reason,
        )
        for item in plan.pruned
        for seed in range(request.seeds)
        if (item.cell, item.learning_rate, seed) not in known
    )
