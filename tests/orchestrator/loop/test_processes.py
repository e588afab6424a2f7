"""Real processes, killed with signal 9 in mid-sweep and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.processes import service_folder
from orchestrator.states import RUN_FINAL, SweepState
from orchestrator.store import LEADER, Store, driver_lease
from tests.waiting import until

STAND_IN = Path(__file__).with_name("stand_in")
LEASE_SECONDS = 1.0


class Service:
    """Orchestrator processes on one store, and everything they start."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store, self.folder = Store.open(url), folder
        self.environment = {
            **os.environ,
            "ETALON_HOME": str(folder),
            "ETALON_DATABASE_URL": url,
            "ETALON_LEASE_SECONDS": str(LEASE_SECONDS),
            "ETALON_TICK_SECONDS": "0.02",
            "PYTHONPATH": os.pathsep.join([str(STAND_IN), str(service_folder())]),
        }
        self.started: list[psutil.Process] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start an orchestrator; it writes its log to ``orchestrator.log``."""
        with (self.folder / "orchestrator.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator"], cwd=self.folder, env=self.environment, stderr=log
            )
        self.started.append(psutil.Process(process.pid))
        return process

    def kill(self, process: subprocess.Popen[bytes], *, with_driver: bool = False) -> None:
        """Kill with signal 9, and with its driver if asked to."""
        children = psutil.Process(process.pid).children()
        self.started += children
        process.kill()
        process.wait()
        if with_driver:
            for child in children:
                child.kill()

    def until(self, what: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until something is so in the store."""
        log = self.folder / "orchestrator.log"
        until(what, seconds=seconds, otherwise=lambda: log.read_text()[-4000:])

    def close(self) -> None:
        """End whatever is left, by its id."""
        for process in self.started:
            for victim in [*_children(process), process]:
                if victim.is_running():
                    victim.kill()
        psutil.wait_procs(self.started, timeout=10)
        self.store.close()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def service(sqlite_url: str, tmp_path: Path) -> Iterator[Service]:
    """Processes with the stand-in for drivers."""
    service = Service(sqlite_url, tmp_path)
    yield service
    service.close()


def test_killed_in_mid_sweep_and_started_again_the_record_is_the_same(service: Service, house: Any) -> None:
    store, undisturbed = service.store, house.submit_replay("grid")
    house.until_final(undisturbed.id)
    house.rest()
    sweep = house.submit_replay("grid")

    first = service.start()
    service.until(lambda: store.sweeps.get(sweep.id).batches >= 2)
    service.kill(first)
    second = service.start()
    service.until(lambda: store.sweeps.get(sweep.id).batches >= 4)
    service.kill(second, with_driver=True)
    third = service.start()
    service.until(lambda: store.sweeps.get(sweep.id).state is SweepState.COMPLETED)
    third.terminate()
    assert third.wait(timeout=30) == 0

    assert house.history(sweep.id) == house.history(undisturbed.id)
    recorded = [event.data for event in store.events.after(0, sweep_id=sweep.id) if event.kind == "run"]
    ended = [data["run_id"] for data in recorded if data["state"] in RUN_FINAL]
    assert len(ended) == len(set(ended)) == 24


def test_a_stopped_driver_is_replaced_and_the_record_is_the_same(service: Service, house: Any) -> None:
    store, undisturbed = service.store, house.submit_replay("grid")
    house.until_final(undisturbed.id)
    house.rest()
    sweep = house.submit_replay("grid")
    process = service.start()
    service.until(lambda: store.sweeps.get(sweep.id).batches >= 2)
    (driver,) = psutil.Process(process.pid).children()
    driver.suspend()
    service.until(lambda: store.sweeps.get(sweep.id).state is SweepState.COMPLETED)
    assert not driver.is_running()
    process.terminate()
    assert process.wait(timeout=30) == 0

    assert house.history(sweep.id) == house.history(undisturbed.id)
    lines = [json.loads(line) for line in (service.folder / "orchestrator.log").read_text().splitlines()]
    (hung,) = (line for line in lines if line["message"] == "a driver hangs and is killed")
    assert (hung["sweep_id"], hung["pid"]) == (sweep.id, driver.pid)


def test_asked_to_leave_it_ends_its_drivers_and_gives_the_lead_back(service: Service, house: Any) -> None:
    house.rest()
    sweep = house.submit_replay("grid")
    process = service.start()
    service.until(lambda: service.store.leases.current(driver_lease(sweep.id)) is not None)
    (driver,) = psutil.Process(process.pid).children()
    service.started.append(driver)
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert not driver.is_running()
    assert service.store.leases.current(LEADER) is None
    lines = [json.loads(line) for line in (service.folder / "orchestrator.log").read_text().splitlines()]
    assert lines[-1]["message"] == "stopped"
    assert {"time", "level", "logger", "message"} <= set(lines[0])


def test_a_second_orchestrator_waits_and_takes_over_when_the_first_dies(service: Service, house: Any) -> None:
    house.rest()
    first = service.start()
    service.until(lambda: service.store.leases.current(LEADER) is not None)
    leading = service.store.leases.current(LEADER)
    second = service.start()
    sweep = house.submit_replay("grid")
    service.until(lambda: service.store.sweeps.get(sweep.id).batches >= 1)
    assert service.store.leases.current(LEADER).fence == leading.fence
    service.kill(first)
    service.until(lambda: service.store.sweeps.get(sweep.id).state is SweepState.COMPLETED)
    assert service.store.leases.current(LEADER).fence == leading.fence + 1
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=30) == 0


def test_with_a_database_of_another_version_it_ends_with_a_sentence(
    url_of_another_version: str, tmp_path: Path
) -> None:
    environment = os.environ | {"ETALON_HOME": str(tmp_path), "ETALON_DATABASE_URL": url_of_another_version}
    command = [sys.executable, "-m", "orchestrator"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "revision '0002'" in json.loads(ended.stderr.splitlines()[-1])["message"]
