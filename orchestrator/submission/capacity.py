"""What is known of the Ray cluster without Ray: what drivers tell of it, as events of their sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.documents.events import WorkersEvent
from orchestrator.law.notices import Notice
from orchestrator.spec import ReplayTrainer, Resources, SweepSpec
from orchestrator.store import Store

OF_A_REPLAY: Final = Resources(cpus_per_run=0.01, gpus_per_run=0, max_parallel=1)
"""A replay looks its answers up: one worker is enough, and it takes nobody's place (Ray knows no worker of nothing)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How large a Ray cluster is, busy or not."""

    cpus: float
    gpus: float


def needs_of(spec: SweepSpec) -> Resources:
    """What a worker of a sweep really takes, and how many there are at most."""
    return OF_A_REPLAY if isinstance(spec.trainer, ReplayTrainer) else spec.resources


def room_in(cluster: Cluster, resources: Resources) -> int:
    """How many workers of this size a cluster has room for; 0 if not one. A fraction of a GPU lies on one device."""
    rooms = [int(cluster.cpus / resources.cpus_per_run)]
    share = resources.gpus_per_run
    if share:
        rooms.append(int(cluster.gpus) * int(1 / share) if share < 1 else int(cluster.gpus / share))
    return min(rooms)


def event_of(cluster: Cluster, resources: Resources) -> WorkersEvent:
    """The event in which a driver reports the size of its cluster."""
    room = room_in(cluster, resources)
    reason = None if room else shortage(cluster, resources)
    return WorkersEvent(cpus=cluster.cpus, gpus=cluster.gpus, room=room, reason=reason)


def shortage(cluster: Cluster, resources: Resources) -> str:
    """Why no run can start, in a sentence."""
    return f"A run asks for {size(resources)}, and the Ray cluster has {_size(cluster.cpus, cluster.gpus)} in all."


def size(resources: Resources) -> str:
    """What one run asks for, in words."""
    return _size(resources.cpus_per_run, resources.gpus_per_run)


def capacity_notices(store: Store, spec: SweepSpec) -> list[Notice]:
    """Says that a run of the sweep does not fit on the cluster, as far as live sweeps have measured it."""
    if spec.trainer is None:
        return []
    measured = store.events.newest([sweep.id for sweep in store.sweeps.live()], WorkersEvent)
    if measured is None:
        return []
    cluster, needs = Cluster(cpus=measured.cpus, gpus=measured.gpus), needs_of(spec)
    if room_in(cluster, needs):
        return []
    message = (
        f"{shortage(cluster, needs)} Until it grows, or resources ask for less, no run of this sweep starts."
    )
    return [Notice(code="cluster_too_small", message=message)]


def _size(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {gpus:g} GPU{'' if gpus == 1 else 's'}"
