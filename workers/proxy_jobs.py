"""Forms stacks of pending proxy runs, such that all workers finish at about the same time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from orchestrator.cells import Cell, Cells
from orchestrator.planner.trunk_groups import rate_flops
from orchestrator.store.records import Run

LEVEL = 1.1
"""Workers count as finishing together when the last ends within this factor of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The decay branch of one run, which ends at ``tokens`` tokens; ``retries`` as in ``Run``."""

    run_id: str
    tokens: int
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyMember:
    """One learning rate of a stack, with its runs, shortest horizon first.

    ``module_rates`` are its multipliers by module, as text (``orchestrator.heldout.module_rates``); empty for none.
    """

    learning_rate: float
    trunk_id: str
    branches: tuple[Branch, ...]
    module_rates: str = ""

    @property
    def horizons(self) -> tuple[int, ...]:
        """The different horizons, ascending, in tokens."""
        return tuple(sorted({branch.tokens for branch in self.branches}))

    def run_ids(self, horizons: Iterable[int]) -> tuple[str, ...]:
        """The runs that end at any of these horizons."""
        wanted = set(horizons)
        return tuple(branch.run_id for branch in self.branches if branch.tokens in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyJob:
    """A stack: learning rates of one recipe, batch and seed whose trunks are saved at one position.

    Attributes:
        trunk: name of the shape, batch and, in a comparison, the role.
        seed: of all members.
        start_tokens: position of the members' saved trunks; 0 begins at the first token.
        members: the learning rates.
        flops: expected cost, 6·N per token of trunk and branches, N the active parameters.
    """

    trunk: str
    seed: int
    start_tokens: int
    members: tuple[ProxyMember, ...]
    flops: float

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        return tuple(branch.run_id for member in self.members for branch in member.branches)

    @property
    def name(self) -> str:
        """Equal for equal work, so that a later process finds this job's checkpoint."""
        text = repr((self.trunk, self.seed, self.start_tokens, self.members))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


ByHorizon = Mapping[tuple[str, int], Cell]
"""Cells by the name of their trunk and their horizon in tokens."""


def proxy_jobs(
    runs: Sequence[Run],
    cells: Cells,
    *,
    positions: Mapping[str, Sequence[int]],
    limits: Mapping[str, int],
    workers: int,
) -> tuple[ProxyJob, ...]:
    """Form stacks of pending proxy runs, the longest first.

    Args:
        runs: pending runs; all of them have a trunk.
        cells: the sweep's cells.
        positions: where each trunk (by id) has been saved, in tokens.
        limits: the most members of one stack, by the trunk's name.
        workers: how many jobs run at once, at least 1.

    Returns:
        Jobs that hold every run exactly once.
    """
    stacks: dict[tuple[str, int, int], list[ProxyMember]] = {}
    for (trunk, seed, *_), member_runs in _by_member(runs, cells).items():
        member = _member(member_runs, cells)
        shortest = min((cells[run.cell] for run in member_runs), key=attrgetter("tokens"))
        start = _start(shortest, positions.get(member.trunk_id, ()))
        stacks.setdefault((trunk, seed, start), []).append(member)
    by_horizon = {(str(cell.trunk), int(cell.tokens)): cell for cell in cells}
    jobs = [
        _priced(
            ProxyJob(trunk=trunk, seed=seed, start_tokens=start, members=tuple(some), flops=0.0), by_horizon
        )
        for (trunk, seed, start), members in stacks.items()
        for some in _split(members, -(-len(members) // limits[trunk]))
    ]
    return _levelled(jobs, by_horizon, workers)


def _by_member(runs: Sequence[Run], cells: Cells) -> dict[tuple[str, int, float, str], list[Run]]:
    """Runs by the trunk that they branch off: by shape, seed, rate and rates by module."""
    members: dict[tuple[str, int, float, str], list[Run]] = {}
    for run in runs:
        key = (str(cells[run.cell].trunk), run.seed, run.learning_rate, run.module_rates)
        members.setdefault(key, []).append(run)
    return members


def _member(runs: Sequence[Run], cells: Cells) -> ProxyMember:
    branches = [
        Branch(run_id=run.id, tokens=int(cells[run.cell].tokens), retries=run.retries) for run in runs
    ]
    return ProxyMember(
        learning_rate=runs[0].learning_rate,
        trunk_id=str(runs[0].trunk_id),
        branches=tuple(sorted(branches, key=lambda branch: (branch.tokens, branch.run_id))),
        module_rates=runs[0].module_rates,
    )


def _start(shortest: Cell, saved: Sequence[int]) -> int:
    """The last saved position before the fork of a member's shortest horizon; 0 if there is none.

    A fork is at a whole step, at most half a step from (1 − f)·D.
    """
    first_fork = shortest.fork_tokens + shortest.batch_tokens / 2
    return max((tokens for tokens in saved if tokens <= first_fork), default=0)


def _priced(job: ProxyJob, by_horizon: ByHorizon) -> ProxyJob:
    groups = (tuple(by_horizon[job.trunk, tokens] for tokens in member.horizons) for member in job.members)
    return replace(job, flops=math.fsum(rate_flops(group, job.start_tokens) for group in groups))


def _split(members: Sequence[ProxyMember], parts: int) -> list[list[ProxyMember]]:
    """Deal members, longest first, to parts of about equal length whose sizes differ by at most one."""
    ordered = sorted(
        members, key=lambda member: (-sum(member.horizons), member.learning_rate, member.module_rates)
    )
    return [ordered[part::parts] for part in range(parts)]


def _levelled(jobs: list[ProxyJob], by_horizon: ByHorizon, workers: int) -> tuple[ProxyJob, ...]:
    """Halve the largest jobs until no worker waits long for the last one."""
    ordered = sorted(jobs, key=_longest_first)
    for _ in range(4 * workers):
        largest = next((job for job in ordered if len(job.members) > 1), None)
        if largest is None or _is_level(ordered, workers):
            break
        halves = [
            _priced(replace(largest, members=tuple(part)), by_horizon) for part in _split(largest.members, 2)
        ]
        ordered = sorted([job for job in ordered if job is not largest] + halves, key=_longest_first)
    return tuple(ordered)


def _is_level(ordered: Sequence[ProxyJob], workers: int) -> bool:
    """Whether the busiest worker ends near the mean, or within one member of it: a member is not divisible."""
    mean = sum(job.flops for job in ordered) / workers
    one_member = max(job.flops / len(job.members) for job in ordered)
    return _end(ordered, workers) <= max(LEVEL * mean, mean + one_member)


def _longest_first(job: ProxyJob) -> tuple[float, str]:
    return (-job.flops, job.run_ids[0])


def _end(ordered: Sequence[ProxyJob], workers: int) -> float:
    """FLOPs of the busiest worker if each takes the next job when it becomes free."""
    loads = [0.0] * workers
    for job in ordered:
        loads[loads.index(min(loads))] += job.flops
    return max(loads)
