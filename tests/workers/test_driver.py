"""Drivers as real processes on a real Ray: sweeps finish through kills of any process."""

from __future__ import annotations

import signal
import socket
import stat
import time
from collections.abc import Iterable

import psutil
import pytest
import torch

from orchestrator.answers.waiting import waits_because
from orchestrator.loop.driver_watch import REASON
from orchestrator.processes import NOT_NOW
from orchestrator.states import RunState, SweepState
from orchestrator.store import LEADER, driver_lease
from tests.workers.training import alone
from trainer import Schedule, Shape
from workers.checkpoints import Checkpoints

pytestmark = pytest.mark.ray

LONG = 262_144
"""Tokens of a run that takes a few seconds: long enough to be interrupted."""

RATES = (0.002, 0.004, 0.008)

IMPATIENT = """
import sys
from workers.__main__ import main
from workers.proxy import ProxyJobFactory
ProxyJobFactory.silence_seconds = 3.0
sys.exit(main())
"""
"""A driver that gives a worker up after three seconds of silence."""

STOPS_AT_ITS_START = """
import os, pathlib, signal, sys
from workers.__main__ import main
from workers.proxy import ProxyJobFactory
class Stopping:
    def __init__(self, setup):
        self.setup = setup
    def open_runner(self):
        marks = pathlib.Path(MARKS)
        if len(list(marks.iterdir())) < 2:
            (marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.setup.open_runner()
began = ProxyJobFactory.__init__
def begin(self, *given):
    began(self, *given)
    self.setup = Stopping(self.setup)
ProxyJobFactory.__init__, ProxyJobFactory.silence_seconds = begin, 3.0
sys.exit(main())
"""
"""The same; its first two workers stop while they load."""


@pytest.fixture(scope="module")
def undisturbed() -> dict[float, float]:
    """Losses of the long runs by learning rate, trained by the trainer alone in this process."""
    torch.set_num_threads(1)
    schedule = Schedule(warmup_tokens=2_048, decay_fraction=0.2, shape="linear")
    losses = alone(Shape(width=16, depth=1), LONG, rates=RATES, schedule=schedule)
    return dict(zip(RATES, losses, strict=True))


def trainables(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The worker processes of drivers among these."""
    found = []
    for process in processes:
        try:
            if any("Trainable" in part for part in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def on_cluster() -> list[psutil.Process]:
    return trainables(psutil.Process().children(recursive=True))


def one_worker(stage, driver) -> psutil.Process:
    """The only worker of all drivers, as soon as there is only one; its title changes between tasks."""
    found: list[psutil.Process] = []

    def is_one() -> bool:
        found[:] = on_cluster()
        return len(found) == 1

    stage.until(is_one, driver)
    return found[0]


def finished_once(stage, sweep_id) -> bool:
    """Whether every run ended, with exactly one event of its end."""
    return sorted(stage.ends(sweep_id)) == sorted(run.id for run in stage.runs(sweep_id))


def test_a_replay_needs_no_cluster_and_finishes_where_the_one_that_is_named_is_missing(stage):
    sweep_id = stage.replay(gpus_per_run=8, cpus_per_run=64, max_parallel=5)
    stage.ask_all(sweep_id)
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS="127.0.0.1:9")
    stage.ended(sweep_id, driver)
    for seed in (1, 2):
        stage.ask(sweep_id, (0, 0.002, seed))
        stage.ended(sweep_id, driver)

    assert stage.losses(sweep_id) == {
        (0, 0.001, 0): 3.5,
        (0, 0.002, 0): 3.25,
        (0, 0.002, 1): 3.3,
        (0, 0.002, 2): None,
        (0, 0.004, 0): None,
        (1, 0.001, 0): 3.0,
        (1, 0.002, 0): 2.9,
    }
    states = {(run.cell, run.learning_rate, run.seed): run.state for run in stage.runs(sweep_id)}
    assert states[0, 0.004, 0] is RunState.DIVERGED
    assert states[0, 0.002, 2] is RunState.FAILED
    assert finished_once(stage, sweep_id)
    assert not on_cluster()

    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert driver.wait(timeout=30) == 0
    assert stage.store.leases.current(driver_lease(sweep_id)) is None


def test_a_sweep_whose_runs_the_cluster_can_never_hold_says_so(stage, ray_address):
    sweep_id = stage.proxy(gpus_per_run=2)
    stage.ask_all(sweep_id)
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)

    def why() -> str | None:
        return waits_because(stage.store, stage.store.sweeps.get(sweep_id))

    stage.until(why, driver)
    assert why() == (
        "A run asks for 1 CPU and 2 GPUs, and the Ray cluster has 2 CPUs and 1 GPU in all. Runs wait until it grows."
    )
    assert stage.states(sweep_id) == {RunState.PENDING}
    stage.store.sweeps.move(sweep_id, SweepState.CANCELLED)
    assert driver.wait(timeout=30) == 0


def test_a_missing_cluster_is_distinct_from_a_failure(stage):
    sweep_id = stage.proxy()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=address)
    assert driver.wait(timeout=60) == NOT_NOW
    assert stage.store.leases.current(driver_lease(sweep_id)) is None


def test_points_stream_and_a_killed_worker_changes_no_loss(stage, ray_address, undisturbed):
    sweep_id = stage.proxy(tokens=(LONG, 2 * LONG), rates=RATES)
    checkpoints = Checkpoints(stage.settings.checkpoints, sweep_id)
    stage.ask(sweep_id, *((0, rate, 0) for rate in RATES))
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: any(stage.points(sweep_id).values()), driver)
    assert stage.states(sweep_id) == {RunState.RUNNING}, "points are there before any run has ended"
    stage.until(checkpoints.unfinished_jobs, driver)

    one_worker(stage, driver).kill()
    stage.ended(sweep_id, driver)

    assert stage.states(sweep_id) == {RunState.COMPLETED}
    assert {run.learning_rate: run.loss for run in stage.runs(sweep_id)} == undisturbed
    assert finished_once(stage, sweep_id)
    assert {run.attempt for run in stage.runs(sweep_id)} == {1}
    for curve in stage.points(sweep_id).values():
        assert [point.step for point in curve] == list(range(16, LONG // 128 + 1, 16))

    stage.ask(sweep_id, (1, 0.004, 0))
    stage.ended(sweep_id, driver)
    (extension,) = (run for run in stage.runs(sweep_id) if run.cell == 1)
    whole = stage.store.sweeps.cells(sweep_id)[1].flops
    assert extension.flops == pytest.approx(0.6 * whole, rel=0.01)
    assert not checkpoints.unfinished_jobs()
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert driver.wait(timeout=30) == 0


def test_killed_and_stopped_drivers_lose_nothing_and_leave_no_process(
    stage, ray_address, undisturbed, short_tmp, open_to_others
):
    sweep_id = stage.proxy(tokens=(LONG,), rates=RATES)
    checkpoints = Checkpoints(stage.settings.checkpoints, sweep_id)
    stage.ask_all(sweep_id)

    killed = stage.start(sweep_id, TMPDIR=str(short_tmp))
    stage.until(checkpoints.unfinished_jobs, killed)
    (left,) = short_tmp.glob("etalon-ray-*")
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert not open_to_others(stage.settings.home)
    family = psutil.Process(killed.pid).children(recursive=True)
    # Ray's two agents look for the control store for a minute before they end, whatever one sets.
    at_work = [process for process in family if not process.name().endswith("Agent")]
    assert any("gcs_server" in process.name() for process in at_work)
    killed.kill()
    killed.wait(timeout=30)
    _, alive = psutil.wait_procs(at_work, timeout=30)
    assert alive == []
    assert stage.states(sweep_id) == {RunState.RUNNING}

    stopped = stage.start(sweep_id, TMPDIR=str(short_tmp))
    stage.until(lambda: {run.attempt for run in stage.runs(sweep_id)} == {2}, stopped)
    assert not left.exists()
    family = psutil.Process(stopped.pid).children(recursive=True)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=30) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert stage.states(sweep_id) == {RunState.PENDING}
    assert stage.store.leases.current(driver_lease(sweep_id)) is None
    assert checkpoints.unfinished_jobs()
    assert not list(short_tmp.glob("etalon-ray-*"))

    last = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ended(sweep_id, last)
    assert {run.learning_rate: run.loss for run in stage.runs(sweep_id)} == undisturbed
    assert finished_once(stage, sweep_id)
    for curve in stage.points(sweep_id).values():
        assert [point.step for point in curve] == list(range(16, LONG // 128 + 1, 16))
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert last.wait(timeout=30) == 0


def test_a_stopped_worker_is_replaced_whether_it_works_or_waits(stage, ray_address, undisturbed):
    sweep_id = stage.proxy(tokens=(LONG,), rates=RATES)
    checkpoints = Checkpoints(stage.settings.checkpoints, sweep_id)
    driver = stage.run("-c", IMPATIENT, sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ask(sweep_id, *((0, rate, 0) for rate in RATES))
    stage.until(checkpoints.unfinished_jobs, driver)
    working = one_worker(stage, driver)
    working.suspend()
    stage.ended(sweep_id, driver)
    assert not working.is_running()
    assert {run.learning_rate: run.loss for run in stage.runs(sweep_id)} == undisturbed

    waiting = one_worker(stage, driver)
    waiting.suspend()
    stage.ask(sweep_id, (0, RATES[0], 1))
    stage.ended(sweep_id, driver)
    assert stage.states(sweep_id) == {RunState.COMPLETED}
    assert finished_once(stage, sweep_id)
    assert {run.attempt for run in stage.runs(sweep_id)} == {1}
    stage.until(lambda: not waiting.is_running(), driver)
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert driver.wait(timeout=30) == 0


def test_a_worker_that_is_stopped_while_it_loads_is_replaced(stage, ray_address, tmp_path):
    sweep_id = stage.proxy(tokens=(8_192,), rates=RATES)
    marks = tmp_path / "stopped"
    marks.mkdir()
    script = STOPS_AT_ITS_START.replace("MARKS", repr(str(marks)))
    driver = stage.run("-c", script, sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.ask(sweep_id, *((0, rate, 0) for rate in RATES))
    stage.ended(sweep_id, driver)
    assert stage.states(sweep_id) == {RunState.COMPLETED}
    stopped = [int(mark.name) for mark in marks.iterdir()]
    assert len(stopped) == 2
    stage.until(lambda: not any(psutil.pid_exists(pid) for pid in stopped), driver)
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert driver.wait(timeout=30) == 0


def test_a_driver_that_wakes_up_after_its_successor_began_leaves_without_harm(
    stage, ray_address, undisturbed
):
    sweep_id = stage.proxy(tokens=(LONG,), rates=RATES)
    checkpoints = Checkpoints(stage.settings.checkpoints, sweep_id)
    stage.ask_all(sweep_id)
    slow = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(checkpoints.unfinished_jobs, slow)
    old = one_worker(stage, slow)
    slow.send_signal(signal.SIGSTOP)
    stage.until(lambda: stage.store.leases.current(driver_lease(sweep_id)) is None)

    successor = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: {run.attempt for run in stage.runs(sweep_id)} == {2}, successor)
    slow.send_signal(signal.SIGCONT)
    assert slow.wait(timeout=60) == 0
    stage.until(lambda: not old.is_running(), successor)
    stage.ended(sweep_id, successor)

    assert {run.learning_rate: run.loss for run in stage.runs(sweep_id)} == undisturbed
    assert finished_once(stage, sweep_id)
    assert {run.attempt for run in stage.runs(sweep_id)} == {2}
    stage.store.sweeps.move(sweep_id, SweepState.COMPLETED)
    assert successor.wait(timeout=30) == 0


@pytest.mark.parametrize("ray", ["its own", "the operator's"])
def test_a_stopped_driver_is_replaced_with_all_its_processes(stage, ray_address, undisturbed, short_tmp, ray):
    sweep_id = stage.proxy(tokens=(LONG,), rates=RATES, cpus_per_run=2)
    checkpoints = Checkpoints(stage.settings.checkpoints, sweep_id)
    stage.ask_all(sweep_id)
    stage.store.leases.release(stage.store.leases.current(LEADER))
    environment = {"TMPDIR": str(short_tmp)} if ray == "its own" else {"ETALON_RAY_ADDRESS": ray_address}
    orchestrator = stage.run("-m", "orchestrator", ETALON_LEASE_SECONDS="1", **environment)
    stage.until(checkpoints.unfinished_jobs, orchestrator)
    (driver,) = psutil.Process(orchestrator.pid).children()
    family = [driver, *driver.children(recursive=True), one_worker(stage, orchestrator)]
    driver.suspend()

    stage.until(lambda: {run.reason for run in stage.runs(sweep_id)} == {REASON}, orchestrator)
    # Both ask for all CPUs: the successor finds them free.
    stage.until(lambda: {run.attempt for run in stage.runs(sweep_id)} == {2}, orchestrator)
    assert not [process for process in family if process.is_running()]
    stage.ended(sweep_id, orchestrator)
    assert {run.learning_rate: run.loss for run in stage.runs(sweep_id)} == undisturbed
    assert finished_once(stage, sweep_id)

    family = psutil.Process(orchestrator.pid).children(recursive=True)
    orchestrator.terminate()
    assert orchestrator.wait(timeout=60) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert not list(short_tmp.glob("etalon-ray-*"))


def test_pause_stops_claims_and_cancel_kills_at_once(stage, ray_address):
    sweep_id = stage.proxy(tokens=(LONG,), rates=(0.004,))
    stage.ask(sweep_id, (0, 0.004, 0), (0, 0.004, 1))
    driver = stage.start(sweep_id, ETALON_RAY_ADDRESS=ray_address)
    stage.until(lambda: RunState.RUNNING in stage.states(sweep_id), driver)
    stage.store.sweeps.move(sweep_id, SweepState.PAUSED)
    stage.until(lambda: RunState.COMPLETED in stage.states(sweep_id), driver)
    lease = stage.store.leases.current(driver_lease(sweep_id))
    assert lease is not None

    def renewed_since() -> bool:
        now = stage.store.leases.current(driver_lease(sweep_id))
        return now is not None and (now.expires_at - lease.expires_at).total_seconds() > 1.0

    stage.until(renewed_since, driver)  # the driver has looked at the database many times since
    assert stage.states(sweep_id) == {RunState.COMPLETED, RunState.PENDING}

    stage.store.sweeps.move(sweep_id, SweepState.RUNNING)
    (second,) = (run for run in stage.runs(sweep_id) if run.state is RunState.PENDING)
    stage.until(lambda: stage.points(sweep_id)[second.id], driver)
    stage.store.sweeps.move(sweep_id, SweepState.CANCELLED)
    asked = time.monotonic()
    stage.until(lambda: not on_cluster())
    assert time.monotonic() - asked < 10.0
    assert driver.wait(timeout=30) == 0
    assert stage.store.runs.get(second.id).state is RunState.CANCELLED
    assert second.id not in stage.ends(sweep_id)
    assert not Checkpoints(stage.settings.checkpoints, sweep_id).folder.exists()
