"""From pending runs to jobs: what one worker trains in one go, formed so that all workers finish together."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from orchestrator.planner.trunks import rate_flops
from orchestrator.planner.values import Cell, Cells
from orchestrator.store.records import Run

LEVEL = 1.1
"""Workers count as finishing together when the last ends within this factor of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One run of a proxy: the decay branch that ends at ``tokens`` tokens."""

    run_id: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyMember:
    """One learning rate of a stack, with the runs wanted of it, shortest horizon first.

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
    """A stack: learning rates of one recipe, batch and seed whose trunks stand at one position.

    Attributes:
        trunk: name of the shape, batch and, in a comparison, the arm.
        seed: of all members.
        start_tokens: where the members' saved trunks stand; 0 begins at the first token.
        members: the learning rates.
        flops: what the job is expected to cost, 6·N per token of trunk and branches, N the active parameters.
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
        """The same for the same work, so that a later process finds this job's checkpoint."""
        text = repr((self.trunk, self.seed, self.start_tokens, self.members))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run of a replay: what to look up in the table."""

    run_id: str
    cell: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """Runs to look up together."""

    asked: tuple[Asked, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the job answers."""
        return tuple(one.run_id for one in self.asked)


Job = ProxyJob | ReplayJob

Place = tuple[str, int]
"""A trunk's name and a horizon in tokens: one cell of a sweep of proxies."""


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
    places = {(str(cell.trunk), int(cell.tokens)): cell for cell in cells}
    jobs = [
        _priced(ProxyJob(trunk=trunk, seed=seed, start_tokens=start, members=tuple(some), flops=0.0), places)
        for (trunk, seed, start), members in stacks.items()
        for some in _split(members, -(-len(members) // limits[trunk]))
    ]
    return _levelled(jobs, places, workers)


def replay_jobs(runs: Sequence[Run], *, limit: int, workers: int) -> tuple[ReplayJob, ...]:
    """Cut pending runs of a replay into as many equal jobs as there are workers, none longer than ``limit``."""
    size = max(1, min(limit, -(-len(runs) // workers)))
    asked = [
        Asked(run_id=run.id, cell=run.cell, learning_rate=run.learning_rate, seed=run.seed) for run in runs
    ]
    return tuple(ReplayJob(asked=tuple(asked[i : i + size])) for i in range(0, len(asked), size))


def _by_member(runs: Sequence[Run], cells: Cells) -> dict[tuple[str, int, float, str], list[Run]]:
    """Runs that are branches of one trunk: of one shape, seed, rate and rates by module."""
    members: dict[tuple[str, int, float, str], list[Run]] = {}
    for run in runs:
        key = (str(cells[run.cell].trunk), run.seed, run.learning_rate, run.module_rates)
        members.setdefault(key, []).append(run)
    return members


def _member(runs: Sequence[Run], cells: Cells) -> ProxyMember:
    branches = [Branch(run_id=run.id, tokens=int(cells[run.cell].tokens)) for run in runs]
    return ProxyMember(
        learning_rate=runs[0].learning_rate,
        trunk_id=str(runs[0].trunk_id),
        branches=tuple(sorted(branches, key=lambda branch: (branch.tokens, branch.run_id))),
        module_rates=runs[0].module_rates,
    )


def _start(shortest: Cell, saved: Sequence[int]) -> int:
    """The furthest saved position that the fork of a member's shortest horizon has not passed.

    A fork falls on a whole step, at most half a step from (1 − f)·D.
    """
    first_fork = shortest.fork_tokens + shortest.batch_tokens / 2
    return max((tokens for tokens in saved if tokens <= first_fork), default=0)


def _priced(job: ProxyJob, places: Mapping[Place, Cell]) -> ProxyJob:
    groups = (tuple(places[job.trunk, tokens] for tokens in member.horizons) for member in job.members)
    return replace(job, flops=math.fsum(rate_flops(group, job.start_tokens) for group in groups))


def _split(members: Sequence[ProxyMember], parts: int) -> list[list[ProxyMember]]:
    """Deal members, longest first, so that the parts take about as long and differ by one member at most."""
    ordered = sorted(
        members, key=lambda member: (-sum(member.horizons), member.learning_rate, member.module_rates)
    )
    return [ordered[part::parts] for part in range(parts)]


def _levelled(jobs: list[ProxyJob], places: Mapping[Place, Cell], workers: int) -> tuple[ProxyJob, ...]:
    """Halve the largest jobs until no worker has to wait long for the last one."""
    ordered = sorted(jobs, key=_longest_first)
    for _ in range(4 * workers):
        largest = next((job for job in ordered if len(job.members) > 1), None)
        if largest is None or _is_level(ordered, workers):
            break
        halves = [
            _priced(replace(largest, members=tuple(part)), places) for part in _split(largest.members, 2)
        ]
        ordered = sorted([job for job in ordered if job is not largest] + halves, key=_longest_first)
    return tuple(ordered)


def _is_level(ordered: Sequence[ProxyJob], workers: int) -> bool:
    """Whether the busiest worker ends near the mean, or within one member of it: a member cannot be shared."""
    mean = sum(job.flops for job in ordered) / workers
    one_member = max(job.flops / len(job.members) for job in ordered)
    return _end(ordered, workers) <= max(LEVEL * mean, mean + one_member)


def _longest_first(job: ProxyJob) -> tuple[float, str]:
    return (-job.flops, job.run_ids[0])


def _end(ordered: Sequence[ProxyJob], workers: int) -> float:
    """FLOPs of the busiest worker when each takes the next job as it becomes free."""
    loads = [0.0] * workers
    for job in ordered:
        loads[loads.index(min(loads))] += job.flops
    return max(loads)
