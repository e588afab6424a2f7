"""The cluster's capacity: the number of workers it holds, and the message if it holds none."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.allocation import Cluster, room_in
from orchestrator.spec import Resources, parse_spec
from orchestrator.states import SweepState
from orchestrator.submission.capacity import capacity_notices, workers_event
from tests.orchestrator.conftest import FIELDS

TWO_GPUS = Cluster.of([(8, 2)])


@pytest.mark.parametrize(
    ("cpus", "gpus", "room"),
    [
        (1, 0, 8),
        (3, 0, 2),
        (9, 0, 0),
        (1, 1, 2),
        (1, 3, 0),
        (1, 0.5, 4),
        (1, 0.4, 4),
        (4, 0.1, 2),
        (0.01, 0, 800),
    ],
)
def test_a_cluster_has_room_for_so_many_workers(cpus: float, gpus: float, room: int) -> None:
    assert room_in(TWO_GPUS, Resources(cpus_per_run=cpus, gpus_per_run=gpus)) == room


def test_a_run_is_on_one_node() -> None:
    cluster = Cluster.of([(64, 8), (8, 0), (64, 8)])
    wide = Resources(cpus_per_run=4, gpus_per_run=16)
    assert [(node.cpus, node.gpus, node.count) for node in cluster.nodes] == [(64, 8, 2), (8, 0, 1)]
    assert (cluster.cpus, cluster.gpus) == (136, 16)
    assert room_in(cluster, Resources(cpus_per_run=4, gpus_per_run=8)) == 2
    assert room_in(cluster, wide) == 0
    assert workers_event(cluster, wide).reason == (
        "A run asks for 4 CPUs and 16 GPUs, and the Ray cluster has at most 64 CPUs and 8 GPUs or 8 CPUs and 0 GPUs on "
        "one node, and a run is on one node."
    )


def test_a_plan_is_warned_of_a_cluster_that_a_live_sweep_reported(house: Any) -> None:
    wanted = parse_spec({**FIELDS, "resources": {"gpus_per_run": 1}})
    assert capacity_notices(house.store, wanted) == [], "nothing is known yet"
    live = house.submit()
    event = workers_event(Cluster.of([(4, 0)]), live.spec.resources)
    house.store.events.append(live.id, event)
    (notice,) = capacity_notices(house.store, wanted)
    assert notice.code == "cluster_too_small"
    assert notice.message == (
        "A run asks for 1 CPU and 1 GPU, and the Ray cluster has 4 CPUs and 0 GPUs in all. "
        "Until it grows, or resources ask for less, no run of this sweep starts."
    )
    assert capacity_notices(house.store, parse_spec(FIELDS)) == []
    house.store.sweeps.move(live.id, SweepState.CANCELLED)
    assert capacity_notices(house.store, wanted) == [], "what an earlier sweep saw may be gone"
