"""The size of the Ray cluster and the room that it has for workers, known without Ray from the events of drivers."""

from __future__ import annotations

from orchestrator.allocation import Cluster, room_in
from orchestrator.documents.events import NodeSize, WorkersEvent
from orchestrator.law.notices import Notice
from orchestrator.spec import Resources, SweepSpec
from orchestrator.store import Store


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
