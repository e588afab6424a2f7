"""The size of the Ray cluster and the room that it has for workers, known without Ray from the events of drivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.documents.events import NodeSize, WorkersEvent
from orchestrator.law.notices import Notice
from orchestrator.spec import Resources, SweepSpec
from orchestrator.store import Store


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


def workers_event(cluster: Cluster, resources: Resources) -> WorkersEvent:
    """The event in which a driver reports the size of its cluster."""
    room = room_in(cluster, resources)
    reason = None if room else shortage(cluster, resources)
    return WorkersEvent(cpus=cluster.cpus, gpus=cluster.gpus, nodes=cluster.nodes, room=room, reason=reason)


def shortage(cluster: Cluster, resources: Resources) -> str:
    """The sentence that no run can start, with what it needs and what the cluster has."""
    asked = f"A run asks for {described(resources)}, and the Ray cluster has"
    if resources.cpus_per_run > cluster.cpus or resources.gpus_per_run > cluster.gpus or not cluster.nodes:
        return f"{asked} {_size(cluster.cpus, cluster.gpus)} in all."
    largest = " or ".join(_size(node.cpus, node.gpus) for node in cluster.nodes[:2])
    return f"{asked} at most {largest} on one node, and a run is on one node."


def described(resources: Resources) -> str:
    """The resources of one run in words."""
    return _size(resources.cpus_per_run, resources.gpus_per_run)


def measured_cluster(store: Store) -> Cluster | None:
    """The cluster as live sweeps have last measured it; None if none has."""
    measured = store.events.newest([sweep.id for sweep in store.sweeps.live()], WorkersEvent)
    if measured is None:
        return None
    return Cluster(nodes=measured.nodes or (NodeSize(cpus=measured.cpus, gpus=measured.gpus),))


def capacity_notices(store: Store, spec: SweepSpec) -> list[Notice]:
    """Says that a run of the sweep does not fit on the cluster, as far as live sweeps have measured it."""
    if spec.trainer is None:
        return []
    cluster, needs = measured_cluster(store), spec.needs
    if cluster is None or room_in(cluster, needs):
        return []
    message = (
        f"{shortage(cluster, needs)} Until it grows, or resources ask for less, no run of this sweep starts."
    )
    return [Notice(code="cluster_too_small", message=message)]


def _size(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
