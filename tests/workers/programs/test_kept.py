"""Whoever dies or hangs, the end is known and no process of the run is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import until
from tests.workers.programs.keeping import keep, losses, notices, order_for
from workers.programs.claim import claim
from workers.programs.descendants import KEEPER_MARKER, end_marked, find_marked
from workers.programs.journal import JOURNAL, Ended, JournalWriter, Started, read_journal
from workers.programs.kept import KeeperLost, KeptProgram
from workers.programs.order import MARKER, KeeperOrder
from workers.programs.run_folder import HEARTBEAT

HERE = Path(__file__).parent


def started(order: KeeperOrder, **limits: float) -> tuple[KeptProgram, psutil.Process]:
    """A program that has printed its first line, and its process."""
    kept = KeptProgram.start(order, **limits)
    until(lambda: losses(kept.poll()))
    (entry,) = [entry for entry in read_journal(order.folder / JOURNAL) if isinstance(entry, Started)][-1:]
    assert entry.pid is not None
    return kept, psutil.Process(entry.pid)


def processes(order: KeeperOrder) -> list[psutil.Process]:
    return find_marked(order.marker, (MARKER, KEEPER_MARKER))


def test_an_order_is_private_and_gone_once_it_is_read(tmp_path):
    order = order_for(tmp_path, "learns.py", 1)
    order.write(tmp_path / "other.json")
    assert (tmp_path / "other.json").stat().st_mode & 0o777 == 0o600
    assert KeeperOrder.read(tmp_path / "other.json") == order
    keep(order)
    assert not (tmp_path / "order.json").exists()


def test_no_keeper_is_left_not_even_as_a_zombie(tmp_path):
    kept = KeptProgram.start(order_for(tmp_path, "learns.py", 3))
    assert isinstance(kept.wait(30), Ended)
    assert not psutil.pid_exists(kept.keeper_pid)


def test_a_keeper_that_is_killed_leaves_nothing_behind(tmp_path):
    order = order_for(tmp_path, "ignores_sigterm.py")
    kept, _ = started(order)
    os.kill(kept.keeper_pid, signal.SIGKILL)
    lost = kept.wait(30)
    assert isinstance(lost, KeeperLost)
    assert lost.ended == 2
    assert "signal 9" in lost.reason
    assert processes(order) == []


def test_a_keeper_that_is_stopped_is_given_up(tmp_path):
    order = order_for(tmp_path, "hangs.py")
    kept, _ = started(order, heartbeat_seconds=1.5, confirm_seconds=0.3)
    os.kill(kept.keeper_pid, signal.SIGSTOP)
    lost = kept.wait(30)
    assert isinstance(lost, KeeperLost)
    assert "no sign of life" in lost.reason
    assert processes(order) == []


def test_a_program_that_is_stopped_ends_by_silence(tmp_path):
    order = order_for(tmp_path, "learns.py", 1000, 0.05, silence_seconds=0.5)
    kept, program = started(order)
    program.suspend()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.signal) == ("silence", signal.SIGTERM)
    assert processes(order) == []


def test_when_the_worker_is_killed_the_program_is_asked_to_stop(tmp_path):
    order = order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", stop_seconds=30)
    order.write(tmp_path / "for_worker.json")
    worker = subprocess.Popen([sys.executable, HERE / "worker_process.py", tmp_path / "for_worker.json"])
    until(lambda: losses(read_journal(tmp_path / JOURNAL)))
    worker.kill()
    worker.wait()
    until(lambda: isinstance(read_journal(tmp_path / JOURNAL)[-1], Ended))
    ended = read_journal(tmp_path / JOURNAL)[-1]
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.code) == ("abandoned", 0)
    until(lambda: not processes(order))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_keeper_ends_the_program_in_order(tmp_path, number):
    order = order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", stop_seconds=30)
    kept, _ = started(order)
    os.kill(kept.keeper_pid, number)
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.code) == ("abandoned", 0)


def test_a_stop_before_the_start_is_an_end_like_any_other(tmp_path):
    kept = KeptProgram.start(order_for(tmp_path, "learns.py", 1000, 0.05))
    kept.ask_to_stop()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.code, ended.cause, ended.matched) == (None, "stop", 0)
    assert [entry.pid for entry in kept.poll() if isinstance(entry, Started)] == [None]


def test_the_next_keeper_ends_what_a_killed_one_left(tmp_path):
    left, _ = started(order_for(tmp_path, "ignores_sigterm.py"))
    os.kill(left.keeper_pid, signal.SIGKILL)
    os.waitpid(left.keeper_pid, 0)
    ended, entries = keep(order_for(tmp_path, "learns.py", 3, attempt=2))
    assert "Processes of an earlier attempt that were still running and were ended: 2." in notices(entries)
    assert [entry.attempt for entry in entries if isinstance(entry, Started)] == [2]
    assert (ended.code, ended.matched) == (0, 3)
    left.wait(10)


def test_a_next_attempt_does_not_take_the_words_of_an_earlier_keeper(tmp_path):
    order = order_for(tmp_path, "ignores_sigterm.py", stop_seconds=60)
    left, _ = started(order)
    left.ask_to_stop()
    until((tmp_path / "stop").exists)
    ended, entries = keep(order_for(tmp_path, "learns.py", 3))
    assert (ended.code, ended.cause) == (0, "exit")
    assert [type(entry) for entry in entries].count(Ended) == 1
    assert isinstance(left.wait(10), KeeperLost)


def test_a_keeper_waits_until_one_on_another_node_has_ended(tmp_path):
    order = order_for(tmp_path, "learns.py", 3)
    other = JournalWriter(tmp_path / JOURNAL)
    assert other.lock()
    kept = KeptProgram.start(order)
    beats: set[float] = set()
    until((tmp_path / HEARTBEAT).exists)
    until(lambda: beats.add((tmp_path / HEARTBEAT).stat().st_mtime) or len(beats) > 1)
    assert kept.poll() == []
    assert find_marked(order.marker) == []
    other.close()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert ended.matched == 3


def test_a_keeper_whose_run_another_worker_takes_up_lets_its_program_save_and_ends(tmp_path):
    word = claim(tmp_path)
    kept, _ = started(
        order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", stop_seconds=30, claim=word)
    )
    claim(tmp_path)
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.code) == ("abandoned", 0)


def test_a_worker_that_lost_its_run_to_another_ends_no_process_of_that_one(tmp_path):
    order = order_for(tmp_path, "ignores_sigterm.py", claim=claim(tmp_path))
    kept, program = started(order)
    claim(tmp_path)
    os.kill(kept.keeper_pid, signal.SIGKILL)
    lost = kept.wait(30)
    assert isinstance(lost, KeeperLost)
    assert (lost.reason, lost.ended) == ("Another worker has taken up the run.", 0)
    assert program.is_running()
    end_marked(order.marker)


def test_removing_the_folder_ends_the_program_with_a_sentence(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    order = order_for(folder, "removes_folder.py", folder)
    kept = KeptProgram.start(order)
    lost = kept.wait(30)
    assert isinstance(lost, KeeperLost)
    assert "is gone" in lost.reason
    assert processes(order) == []


@pytest.mark.parametrize("name", [JOURNAL, HEARTBEAT, "reserve", "stop", "report.jsonl"])
def test_a_keeper_follows_no_link_out_of_the_runs_folder(tmp_path, name):
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.write_text("of the service\n")
    os.utime(outside, (1, 1))
    (run / name).symlink_to(outside)
    kept = KeptProgram.start(order_for(run, "learns.py", 3))
    assert kept.wait(30) is not None
    assert not notices(kept.poll())
    assert (outside.read_text(), outside.stat().st_mtime) == ("of the service\n", 1)


def test_a_source_that_cannot_be_used_is_told(tmp_path):
    kept = KeptProgram.start(
        order_for(tmp_path, "learns.py", 3, training={"jsonl": "losses", "step": "step"})
    )
    lost = kept.wait(30)
    assert isinstance(lost, KeeperLost)
    assert "lacks 'loss'" in lost.reason


@pytest.mark.parametrize(
    ("arguments", "end"), [(("1",), "io None"), (("30", "1.5"), "exit 0")], ids=["for good", "for a while"]
)
def test_a_disk_that_stays_full_ends_the_program(tmp_path, arguments, end):
    command = f"{sys.executable} {HERE / 'full_disk.py'} {tmp_path} {' '.join(arguments)}"
    script = f"mount -t tmpfs -o size=400k none {tmp_path} && exec {command}"
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip("no small disk can be mounted here")
    words = rf"{end} \d{{2,}} The run's folder cannot be written: No space left on device\.\n"
    assert re.fullmatch(words, result.stdout), (result.stdout, result.stderr)
