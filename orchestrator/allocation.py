"""Fair shares of a cluster's workers: a pure function of what live sweeps ask for and of the cluster's nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import floor
from typing import Final

from orchestrator.documents.events import NodeSize
from orchestrator.spec import Resources

UNITS: Final = 10_000
"""Parts of a CPU or GPU that are counted, as Ray does: sums of fractions are exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The size of a Ray cluster, whether busy or not: its nodes by size, largest first."""

    nodes: tuple[NodeSize, ...]

    @classmethod
    def of(cls, sizes: Iterable[tuple[float, float]]) -> Cluster:
        """A cluster of nodes with these numbers of CPUs and GPUs."""
        counts = Counter(sizes)
        ordered = sorted(counts, key=lambda size: (-size[1], -size[0]))
        return cls(
            nodes=tuple(NodeSize(cpus=cpus, gpus=gpus, count=counts[cpus, gpus]) for cpus, gpus in ordered)
        )

    @property
    def cpus(self) -> float:
        """CPUs of all nodes."""
        return sum(node.cpus * node.count for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(node.gpus * node.count for node in self.nodes)


def room_in(cluster: Cluster, resources: Resources) -> int:
    """Number of workers of this size for which a cluster has room; each is on one node."""
    return sum(node.count * _room_on(node, resources) for node in cluster.nodes)


def _room_on(node: NodeSize, resources: Resources) -> int:
    """Number of workers for which a node has room. A fraction of a GPU is on one device."""
    rooms = [int(node.cpus / resources.cpus_per_run)]
    share = resources.gpus_per_run
    if share:
        rooms.append(int(node.gpus) * int(1 / share) if share < 1 else int(node.gpus / share))
    return min(rooms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a live sweep asks for, as its driver has recorded it.

    Attributes:
        sweep_id: the sweep; ids grow with time.
        cpus, gpus: of one worker, on one node.
        wants: workers that have something to do, those it holds included.
        holds: workers that it has.
        served_seconds: worker seconds so far. A sweep that begins to want workers counts as served as long as the least
            served one that does (``caught_up``), so that it has no right to the past.
    """

    sweep_id: str
    cpus: float
    gpus: float
    wants: int
    holds: int = 0
    served_seconds: float = 0.0

    def portion(self, cluster: Cluster) -> float:
        """The part of the cluster that one worker takes, of the resource of which it takes the largest."""
        parts = [self.cpus / cluster.cpus] if cluster.cpus else []
        return max([*parts, self.gpus / cluster.gpus] if cluster.gpus else parts, default=1.0)

    def service(self, cluster: Cluster) -> float:
        """The service so far, in seconds of the whole cluster."""
        return self.served_seconds * self.portion(cluster)


def allocate(demands: Collection[Demand], cluster: Cluster) -> dict[str, int]:
    """The number of workers that each sweep may hold.

    Workers are dealt one by one, each to the sweep that has the least part of the cluster so far (dominant resource
    fairness, Ghodsi et al., NSDI 2011, with equal weights), of equal ones to the least served, then to the oldest. What
    one does not want is left to the others. A worker is on one node, on the one that it fills best.

    Args:
        demands: of the live sweeps, in any order.
        cluster: its nodes.

    Returns:
        A number for each sweep. All of them fit on the cluster together, and where a sweep has less than it wants there
        is no room for one more of its workers.
    """
    free = _free(cluster)
    shares = {demand.sweep_id: 0 for demand in demands}
    hungry = {demand.sweep_id: demand for demand in demands if demand.wants > 0}
    portions = {demand.sweep_id: demand.portion(cluster) for demand in hungry.values()}
    services = {demand.sweep_id: demand.service(cluster) for demand in hungry.values()}
    while hungry:
        turn = min(hungry, key=lambda one: (shares[one] * portions[one], services[one], one))
        if not _placed(hungry[turn], free):
            del hungry[turn]
            continue
        shares[turn] += 1
        if shares[turn] == hungry[turn].wants:
            del hungry[turn]
    return shares


def caught_up(mine: Demand, others: Collection[Demand], cluster: Cluster) -> float:
    """The worker seconds that a sweep counts as served when it begins to want workers: at least those of the least served."""
    services = [other.service(cluster) for other in others if other.wants > 0]
    return max(mine.served_seconds, min(services, default=0.0) / mine.portion(cluster))


_Node = tuple[int, tuple[int, ...]]
"""Free CPUs of a node and free parts of each of its GPUs, ascending, in ``UNITS``."""


def _free(cluster: Cluster) -> Counter[_Node]:
    """The number of nodes by what is free on them, before anything is placed."""
    free: Counter[_Node] = Counter()
    for node in cluster.nodes:
        free[_units(node.cpus), (UNITS,) * floor(node.gpus)] += node.count
    return free


def _units(amount: float) -> int:
    return round(amount * UNITS)


def _placed(demand: Demand, free: Counter[_Node]) -> bool:
    """Place one worker on the node that has the least left afterwards; False if it fits on none."""
    after = [(left, node) for node in free if (left := _without(demand, node)) is not None]
    if not after:
        return False
    left, node = min(after, key=lambda pair: (sum(pair[0][1]), pair[0], pair[1]))
    free[node] -= 1
    if not free[node]:
        del free[node]
    free[left] += 1
    return True


def _without(demand: Demand, node: _Node) -> _Node | None:
    """What is left of a node beside one more worker; None if it does not fit."""
    cpus, devices = node[0] - max(1, _units(demand.cpus)), node[1]
    if cpus < 0:
        return None
    if not demand.gpus:
        return cpus, devices
    if demand.gpus < 1:
        part = max(1, _units(demand.gpus))
        fullest = next((at for at, left in enumerate(devices) if left >= part), None)
        if fullest is None:
            return None
        return cpus, tuple(sorted((*devices[:fullest], devices[fullest] - part, *devices[fullest + 1 :])))
    whole = -floor(-demand.gpus)
    if devices.count(UNITS) < whole:
        return None
    return cpus, tuple(sorted((*devices[: len(devices) - whole], *(0,) * whole)))
