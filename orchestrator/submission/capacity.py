"""The size of the Ray cluster and the room that it has for workers, known without Ray from the events of drivers."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.documents.events import WorkersEvent
from orchestrator.law.notices import Notice
from orchestrator.spec import Resources, SweepSpec
from orchestrator.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The size of a Ray cluster, whether busy or not."""

    cpus: float
    gpus: float


def room_in(cluster: Cluster, resources: Resources) -> int:
    """Number of workers of this size for which a cluster has room. A fraction of a GPU is on one device."""
    rooms = [int(cluster.cpus / resources.cpus_per_run)]
    share = resources.gpus_per_run
    if share:
        rooms.append(int(cluster.gpus) * int(1 / share) if share < 1 else int(cluster.gpus / share))
    return min(rooms)


def workers_event(cluster: Cluster, resources: Resources) -> WorkersEvent:
    """The event in which a driver reports the size of its cluster."""
    room = room_in(cluster, resources)
    reason = None if room else shortage(cluster, resources)
    return WorkersEvent(cpus=cluster.cpus, gpus=cluster.gpus, room=room, reason=reason)


def shortage(cluster: Cluster, resources: Resources) -> str:
    """The sentence that no run can start, with what it needs and what the cluster has."""
    return f"A run asks for {described(resources)}, and the Ray cluster has {_size(cluster.cpus, cluster.gpus)} in all."


def described(resources: Resources) -> str:
    """The resources of one run in words."""
    return _size(resources.cpus_per_run, resources.gpus_per_run)


def capacity_notices(store: Store, spec: SweepSpec) -> list[Notice]:
    """Says that a run of the sweep does not fit on the cluster, as far as live sweeps have measured it."""
    if spec.trainer is None:
        return []
    measured = store.events.newest([sweep.id for sweep in store.sweeps.live()], WorkersEvent)
    if measured is None:
        return []
    cluster, needs = Cluster(cpus=measured.cpus, gpus=measured.gpus), spec.needs
    if room_in(cluster, needs):
        return []
    message = (
        f"{shortage(cluster, needs)} Until it grows, or resources ask for less, no run of this sweep starts."
    )
    return [Notice(code="cluster_too_small", message=message)]


def _size(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
