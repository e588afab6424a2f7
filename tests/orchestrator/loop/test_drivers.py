"""Driver processes: started by name, rested after an early death, ended by their ids."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.loop.drivers import Drivers, workers_command
from orchestrator.processes import LONGEST_REST_SECONDS, NOT_NOW, YOUNG_SECONDS
from orchestrator.settings import Settings
from tests.clock import Clock
from tests.waiting import until

WORKS = "import threading; threading.Event().wait(60)"
DIES = "import sys; print('starting'); sys.exit('no space left on device')"
STUBBORN = "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); threading.Event().wait(60)"
FAMILY = """
import subprocess, threading
orphan = subprocess.check_output(["sh", "-c", "sleep 60 >&- & echo $!"])
child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60"])
keeper = subprocess.Popen(["sh", "-c", "trap 'echo kept; kill $!; exit' TERM; sleep 60 & wait"], start_new_session=True)
print("pids", int(orphan), child.pid, keeper.pid, flush=True)
threading.Event().wait(60)
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drivers_of(tmp_path: Path, clock: Clock) -> Iterator[Callable[[str], Drivers]]:
    """Make drivers that run a line of Python; whatever lives at the end is killed."""
    made: list[Drivers] = []

    def make(code: str) -> Drivers:
        made.append(
            Drivers(Settings(home=tmp_path), command=lambda _: [sys.executable, "-c", code], clock=clock)
        )
        return made[-1]

    yield make
    for drivers in made:
        drivers.end_all(seconds=0.0)


def started(drivers: Drivers, sweep_id: str) -> psutil.Process:
    """Start a driver; its process."""
    before = {child.pid for child in psutil.Process().children()}
    drivers.start(sweep_id)
    (child,) = (child for child in psutil.Process().children() if child.pid not in before)
    return child


def let_die(drivers: Drivers, times: int = 1) -> None:
    for _ in range(times):
        drivers.start("s")
        until(lambda: not drivers.alive("s"))


def test_the_command_names_the_workers_and_the_sweep() -> None:
    assert list(workers_command("abc"))[1:] == ["-m", "workers", "abc"]


def test_a_started_driver_lives(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(WORKS)
    assert not drivers.alive("s")
    drivers.start("s")
    assert drivers.alive("s")
    assert not drivers.alive("another")
    assert (drivers.deaths("s"), drivers.rests("s"), drivers.last_message_of("s")) == (0, False, None)


def test_the_last_words_of_a_dead_driver_are_kept(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(DIES)
    let_die(drivers)
    assert drivers.last_message_of("s") == "no space left on device"
    assert "starting" in drivers.log_of("s").read_text()


RECORD = (
    '{"time": "2026-01-01T00:00:00.000+00:00", "level": "ERROR", "message": "no GPU left", "sweep_id": "s"}'
)
LOGGED = '{"message": "driver failed", "exception": "Traceback …\\n  in work\\nValueError: 3 of 4"}'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (RECORD, "no GPU left"),
        (LOGGED, "driver failed: ValueError: 3 of 4"),
        ('{"message": 7}', '{"message": 7}'),
        ("[1]", "[1]"),
        ("{cut off", "{cut off"),
    ],
)
def test_of_a_log_record_only_the_message_is_repeated(
    drivers_of: Callable[[str], Drivers], line: str, words: str
) -> None:
    drivers = drivers_of(f"import sys; print({line!r}); sys.exit(1)")
    let_die(drivers)
    assert drivers.last_message_of("s") == words


def test_early_deaths_count_up_and_each_rest_is_longer(
    drivers_of: Callable[[str], Drivers], clock: Clock
) -> None:
    drivers, rests = drivers_of(DIES), []
    for deaths in (1, 2, 3):
        let_die(drivers)
        assert drivers.deaths("s") == deaths
        began = clock.seconds
        while drivers.rests("s"):
            clock.seconds += 0.25
        rests.append(clock.seconds - began)
    assert rests == [0.5, 1.0, 2.0]
    assert max(rests) < LONGEST_REST_SECONDS


def test_a_driver_that_had_worked_is_forgiven(drivers_of: Callable[[str], Drivers], clock: Clock) -> None:
    drivers = drivers_of(DIES)
    let_die(drivers, times=3)
    drivers.start("s")
    clock.seconds += YOUNG_SECONDS + 1
    until(lambda: not drivers.alive("s"))
    assert drivers.deaths("s") == 0
    assert drivers.rests("s")


def test_an_outage_is_rested_through_and_never_counted(
    drivers_of: Callable[[str], Drivers], clock: Clock
) -> None:
    drivers, rests = drivers_of(f"import sys; print('no Ray'); sys.exit({NOT_NOW})"), []
    for _ in range(8):
        let_die(drivers)
        began = clock.seconds
        while drivers.rests("s"):
            clock.seconds += 0.25
        rests.append(clock.seconds - began)
    assert rests == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_REST_SECONDS, LONGEST_REST_SECONDS]
    assert (drivers.deaths("s"), drivers.last_message_of("s")) == (0, "no Ray")


def test_a_driver_that_leaves_in_order_is_no_death(
    drivers_of: Callable[[str], Drivers], caplog: pytest.LogCaptureFixture
) -> None:
    drivers = drivers_of("pass")
    let_die(drivers, times=5)
    assert drivers.deaths("s") == 0
    assert not caplog.records


def test_all_are_ended_when_asked(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(WORKS)
    children = [started(drivers, "a"), started(drivers, "b")]
    drivers.end_all(seconds=30)
    assert not any(child.is_running() for child in children)
    assert not drivers.alive("a")


def test_one_that_will_not_leave_is_killed(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(STUBBORN)
    child = started(drivers, "s")
    until(lambda: "deaf" in drivers.log_of("s").read_text())
    drivers.end_all(seconds=0.2)
    assert not child.is_running()


def test_a_driver_that_left_a_final_sweep_is_no_death(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of("pass")
    child = started(drivers, "s")
    until(lambda: child.status() == psutil.STATUS_ZOMBIE)
    drivers.reap(live=set())
    assert not child.is_running()
    assert drivers.deaths("s") == 0


def test_drivers_of_live_sweeps_are_remembered(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(DIES)
    let_die(drivers)
    drivers.reap(live={"s"})
    assert drivers.deaths("s") == 1
    drivers.reap(live=set())
    assert drivers.deaths("s") == 0


def family_of(drivers: Drivers) -> list[psutil.Process]:
    """Start a driver with an orphan, a child, and a keeper in a session of its own; all of them, the driver first."""
    driver, log = started(drivers, "s"), drivers.log_of("s")
    until(lambda: "pids" in log.read_text())
    return [driver, *(psutil.Process(int(pid)) for pid in log.read_text().split()[1:])]


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stopped_driver_is_killed_with_all_that_it_started(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(FAMILY)
    family = family_of(drivers)
    assert drivers.pids() == {"s": family[0].pid}
    for process in family:
        process.suspend()
    drivers.kill("s")
    until(lambda: all(is_gone(process) for process in family), seconds=10)
    assert not drivers.alive("s")
    assert drivers.pids() == {}
    assert drivers.rests("s")
    assert "kept" in drivers.log_of("s").read_text(), "the keeper has ended in order"


def test_what_a_dead_driver_left_of_its_session_is_killed(drivers_of: Callable[[str], Drivers]) -> None:
    drivers = drivers_of(FAMILY)
    driver, orphan, child, keeper = family_of(drivers)
    orphan.suspend()
    driver.kill()
    until(lambda: not drivers.alive("s"))
    until(lambda: is_gone(orphan) and is_gone(child), seconds=10)
    assert not is_gone(keeper)
    keeper.terminate()
