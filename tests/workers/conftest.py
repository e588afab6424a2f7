"""Small sweeps in a real store, the orchestrator's part of them, a Ray cluster, and drivers as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, replayed_cells
from orchestrator.states import RUN_FINAL, RunState
from orchestrator.store import Store
from orchestrator.store.records import LossPoint, Run
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates
from tests.bench import Bench
from tests.waiting import until
from workers.ray_folder import RayFolder

RECORDED = b"""params,tokens,batch_tokens,learning_rate,loss,gpu_seconds
1e6,1e8,4096,0.001,3.5,12.5
1e6,1e8,4096,0.002,3.25,12.5
1e6,1e8,4096,0.002,3.3,12.5
1e6,1e8,4096,0.004,,
2e6,1e8,4096,0.001,3.0,25
2e6,1e8,4096,0.002,2.9,25
"""

RATES = (0.002, 0.004, 0.008)
PATIENCE_SECONDS = 90.0


class Stage(Bench):
    """A store with sweeps in it, and drivers that work on them."""

    def __init__(self, store: Store, settings: Settings) -> None:
        super().__init__(store)
        self.settings = settings
        self.drivers: list[subprocess.Popen[bytes]] = []

    def replay(self, **resources: Any) -> str:
        table = self.store.tables.add(RECORDED, rows=6, cells=2)
        return self.create(
            SweepSpec.model_validate(
                {
                    "name": "replay",
                    "trainer": {"kind": "replay", "table": table.id},
                    "resources": {"max_parallel": 1, **resources},
                }
            ),
            replayed_cells(recorded_rates(read_table(RECORDED))),
        ).id

    def proxy(
        self,
        *,
        tokens: Iterable[int] = (16_384, 32_768),
        rates: Iterable[float] = RATES,
        width: int = 16,
        corpus: str = "stdlib",
        recipe: Mapping[str, Any] | None = None,
        **resources: Any,
    ) -> str:
        spec = SweepSpec.model_validate(
            {
                "name": "proxy",
                "trainer": {
                    "kind": "proxy",
                    "corpus": corpus,
                    "schedule": {"warmup_tokens": 2_048},
                    **(recipe or {}),
                },
                "grid": {
                    "scales": [{"width": width, "depth": 1}],
                    "tokens": list(tokens),
                    "batch_tokens": [128],
                    "learning_rates": list(rates),
                },
                "resources": {"max_parallel": 1, **resources},
            }
        )
        return self.create(spec, spec.proxies[0].cells(spec.grid)).id

    def ask_all(self, sweep_id: str) -> None:
        """Ask for every place of the grid."""
        cells = self.store.sweeps.cells(sweep_id)
        self.ask(sweep_id, *((cell.number, rate) for cell in cells for rate in cell.rates))

    def runs(self, sweep_id: str) -> list[Run]:
        return self.store.runs.of_sweep(sweep_id)

    def losses(self, sweep_id: str) -> dict[tuple[int, float, int], float | None]:
        return {(run.cell, run.learning_rate, run.seed): run.loss for run in self.runs(sweep_id)}

    def points(self, sweep_id: str) -> dict[str, list[LossPoint]]:
        return {run.id: self.store.losses.curve(run) for run in self.runs(sweep_id)}

    def ends(self, sweep_id: str) -> list[str]:
        """Run ids of the events of an end, in order."""
        events = self.store.events.after(0, sweep_id=sweep_id, limit=10_000)
        return [e.data["run_id"] for e in events if e.kind == "run" and e.data["state"] in RUN_FINAL]

    def start(self, sweep_id: str, **environment: str) -> subprocess.Popen[bytes]:
        """A driver as a process of its own."""
        return self.run("-m", "workers", sweep_id, **environment)

    def run(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A process of Etalon with these arguments of Python."""
        variables = {
            "ETALON_HOME": str(self.settings.home),
            "ETALON_DATABASE_URL": self.settings.database_url,
            "ETALON_LEASE_SECONDS": "2",
            "ETALON_TICK_SECONDS": "0.1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        driver = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **variables, **environment},
            umask=0,
        )
        self.drivers.append(driver)
        return driver

    def until(
        self,
        condition: Callable[[], object],
        driver: subprocess.Popen[bytes] | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Wait for what other processes bring about."""

        def is_so() -> object:
            found = condition()
            assert found or driver is None or driver.poll() is None, "the driver left early"
            return found

        until(is_so, seconds=seconds)

    def ended(self, sweep_id: str, driver: subprocess.Popen[bytes]) -> None:
        """Wait until every run has ended."""
        self.until(lambda: all(run.state in RUN_FINAL for run in self.runs(sweep_id)), driver)

    def states(self, sweep_id: str) -> set[RunState]:
        return {run.state for run in self.runs(sweep_id)}

    def close(self) -> None:
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
            driver.wait(timeout=30)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def stage(store: Store, sqlite_url: str, tmp_path: Path) -> Iterator[Stage]:
    prepared = Stage(store, Settings(home=tmp_path / "home", database_url=sqlite_url))
    yield prepared
    prepared.close()


@pytest.fixture(scope="package")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Ray for all tests that need no Ray of their own: two CPUs and one GPU that exists in name only."""
    log = (tmp_path_factory.mktemp("ray") / "log").open("wb")
    folder = RayFolder()
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--head", "--block", "--port=0", "--num-cpus=2", "--num-gpus=1"),
        *("--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"),
        f"--object-store-memory={100 * 2**20}",
        f"--temp-dir={folder.temp_dir}",
    ]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield _address_of(head)
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=30)
        _, alive = psutil.wait_procs(family, timeout=20)
        for process in alive:
            process.kill()
        log.close()
        folder.close()


def _address_of(head: subprocess.Popen[bytes]) -> str:
    """The address of the head's control store, which chose its port."""

    def ports() -> list[int]:
        assert head.poll() is None, "Ray did not start"
        stores = (p for p in psutil.Process(head.pid).children(recursive=True) if p.name() == "gcs_server")
        return [c.laddr.port for p in stores for c in p.net_connections("tcp") if c.status == "LISTEN"]

    until(ports)
    return f"127.0.0.1:{min(ports())}"
