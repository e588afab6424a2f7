"""The cluster's capacity: the number of workers it holds, and the message if it holds none."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.spec import Resources, parse_spec
from orchestrator.states import SweepState
from orchestrator.submission.capacity import Cluster, capacity_notices, room_in, workers_event
from tests.orchestrator.conftest import FIELDS

TWO_GPUS = Cluster(cpus=8, gpus=2)


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


def test_a_plan_is_warned_of_a_cluster_that_a_live_sweep_reported(house: Any) -> None:
    wanted = parse_spec({**FIELDS, "resources": {"gpus_per_run": 1}})
    assert capacity_notices(house.store, wanted) == [], "nothing is known yet"
    live = house.submit()
    event = workers_event(Cluster(cpus=4, gpus=0), live.spec.resources)
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
