"""The Ray cluster of a driver: the operator's, or a local one on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray

from orchestrator.allocation import Cluster
from orchestrator.errors import Unavailable
from orchestrator.processes import probe
from workers import environment
from workers.ray_folder import RayFolder

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a local Ray; jobs and reports are small."""

CONNECT_SECONDS = 5.0
"""Seconds in which the operator's cluster must accept a connection; Ray itself would retry for many minutes."""

RUNTIME = {
    "env_vars": environment.WORKER,
    # On another node, the operator's `ray start` has set no path.
    "worker_process_setup_hook": "orchestrator.processes.find_service",
}
"""Runtime environment of every worker."""


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Attach to the operator's cluster, or start one and end it.

    A local Ray listens on every interface, whatever address it is given: its token keeps others out
    (``workers.environment``), and its files lie in a private folder.

    Args:
        address: of the operator's cluster; None for a local one.

    Raises:
        Unavailable: the operator's cluster cannot be reached.
    """
    with ExitStack() as ending:
        if address is None:
            _start(ending.enter_context(RayFolder()))
        else:
            _attach(address)
        ending.callback(ray.shutdown)
        yield


def _start(folder: RayFolder) -> None:
    ray.init(
        address="local",  # never a Ray that happens to run on this machine
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        runtime_env=RUNTIME,
        _temp_dir=str(folder.temp_dir),
    )


def _attach(address: str) -> None:
    try:
        with suppress(ValueError):  # Ray accepts other forms, such as "auto"
            probe(address, CONNECT_SECONDS)
        ray.init(address=address, log_to_driver=False, runtime_env=RUNTIME)
    except OSError as error:
        raise Unavailable(
            f"The Ray cluster at {address} (ETALON_RAY_ADDRESS) cannot be reached: {error}"
        ) from error


def cluster_size() -> Cluster:
    """The current size of the attached cluster, without the nodes that have died."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return Cluster.of((has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in alive)
