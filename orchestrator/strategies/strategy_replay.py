"""A replay: one strategy asks for recorded runs and is judged after each share of the full grid's FLOPs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from orchestrator.law import Law
from orchestrator.planner.values import KnownRun, PlanRequest, RunHistory
from orchestrator.strategies.compared_strategies import ComparedStrategy
from orchestrator.strategies.recorded_world import RecordedWorld


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Result of a strategy at one share of the full grid's FLOPs.

    Attributes:
        share: of the full grid's FLOPs, that it might spend.
        spent: the share that it spent.
        runs: number of its runs.
        law: of those runs; None if they give none.
        rates: predicted at each target.
        excess_losses: of those rates (0.001 is 0.1 %).
    """

    share: float
    spent: float
    runs: int
    law: Law | None = field(compare=False)
    rates: tuple[float, ...]
    excess_losses: tuple[float, ...]

    @property
    def excess_loss(self) -> float:
        """The mean over the targets."""
        return fmean(self.excess_losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyReplay:
    """One strategy in one world, in the order of the shares."""

    contender: ComparedStrategy
    standings: tuple[Standing, ...]


def replays(
    contenders: Sequence[ComparedStrategy], worlds: Sequence[RecordedWorld], shares: Sequence[float]
) -> Iterator[StrategyReplay]:
    """Every strategy in every world, strategy by strategy; the index of a world is the seed of its replay.

    Raises:
        Refused: a strategy needs a library that is not installed.
    """
    for contender in contenders:
        for seed, world in enumerate(worlds):
            yield replay(contender, world, shares, seed)


def replay(
    contender: ComparedStrategy, world: RecordedWorld, shares: Sequence[float], seed: int
) -> StrategyReplay:
    """Replay one strategy, which knows the points of the targets and none of their losses.

    Args:
        contender: the strategy.
        world: the recorded runs.
        shares: of the full grid's FLOPs, ascending, at which it is judged.
        seed: of the strategy's own random choices.
    """
    planner = contender.planner()
    first, *more = (target.target for target in world.targets)
    runs: tuple[KnownRun, ...] = ()
    spent, standings = 0.0, []
    for share in shares:
        while True:
            request = PlanRequest(
                target=first,
                more_targets=tuple(more),
                flops_left=max(0.0, share * world.flops - spent),
                runs_per_batch=contender.runs_per_batch,
                seed=seed,
            )
            law = world.law_of(runs) if contender.uses_law else None
            batch = planner.plan(RunHistory(cells=world.cells, runs=runs), law, request).batch
            if not batch:
                break
            spent += sum(run.flops for run in batch)
            runs += tuple(world.answered(run.cell, run.learning_rate, run.seed) for run in batch)
        law = world.law_of(runs)
        rates = world.answers(law)
        standings.append(
            Standing(
                share=share,
                spent=spent / world.flops,
                runs=len(runs),
                law=law,
                rates=rates,
                excess_losses=world.excess_losses(rates),
            )
        )
    return StrategyReplay(contender=contender, standings=tuple(standings))
