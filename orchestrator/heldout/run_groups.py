"""Runs of the held-out scale in groups: one group for each role, learning rate and multipliers, with all its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from orchestrator.documents.comparisons import PlannedContender
from orchestrator.heldout.comparison_setup import ComparisonSetup
from orchestrator.heldout.module_rates import NO_MULTIPLIERS
from orchestrator.spec import CellRole
from orchestrator.states import RunState
from orchestrator.store.records import Run


class RunGroup(NamedTuple):
    """The key of a group; contenders with the same key share their runs."""

    role: CellRole
    learning_rate: float
    module_rates: str = NO_MULTIPLIERS

    @classmethod
    def of(cls, contender: PlannedContender) -> Self:
        """The group of a contender's runs."""
        return cls(contender.arm, contender.learning_rate, contender.module_rates)

    @property
    def is_in_bowl(self) -> bool:
        """Whether its runs are points of the reference bowl: standard parametrization, one rate for all modules."""
        return self.role is CellRole.STANDARD and not self.module_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """The results of a group.

    Attributes:
        losses: of the completed runs, by seed.
        diverged: seeds of the diverged runs, ascending.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, ...] = ()


GroupResults = Mapping[RunGroup, GroupResult]
"""The results by group; groups without an ended run are absent."""


def grouped(setup: ComparisonSetup, runs: Iterable[Run]) -> dict[RunGroup, list[Run]]:
    """The runs of the held-out scale by group, in their order."""
    roles = {setup.standard.number: CellRole.STANDARD, setup.transfer.number: CellRole.TRANSFER}
    found: dict[RunGroup, list[Run]] = {}
    for run in runs:
        if run.cell in roles:
            group = RunGroup(roles[run.cell], run.learning_rate, run.module_rates)
            found.setdefault(group, []).append(run)
    return found


def group_results(groups: Mapping[RunGroup, Sequence[Run]]) -> GroupResults:
    """The results of grouped runs."""
    found = {}
    for group, runs in groups.items():
        losses = {
            run.seed: run.loss for run in runs if run.state is RunState.COMPLETED and run.loss is not None
        }
        diverged = tuple(sorted(run.seed for run in runs if run.state is RunState.DIVERGED))
        if losses or diverged:
            found[group] = GroupResult(losses=losses, diverged=diverged)
    return found
