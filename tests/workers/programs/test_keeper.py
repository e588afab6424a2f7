"""Keepers of wicked programs: each ends as it must, and leaves no process."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.waiting import until
from tests.workers.programs.keeping import keep, losses, notices, order_for
from workers.programs.descendants import find_marked
from workers.programs.journal import Diverged, Ended, Noticed, Saved, Started
from workers.programs.kept import KeptProgram
from workers.programs.output import tail

SECRET = 'sesame-"öffne"-dich'


def test_a_program_that_learns_is_kept_to_its_end(tmp_path):
    ended, entries = keep(order_for(tmp_path, "learns.py", 20))
    assert isinstance(entries[0], Started)
    assert losses(entries) == [(100 * step, round(1 + 2 / step, 4)) for step in range(1, 21)]
    assert (ended.code, ended.signal, ended.cause, ended.left) == (0, None, "exit", 0)
    assert (ended.matched, ended.decimals, ended.tokens, ended.interval) == (20, 4, 2000, 100)
    assert tail(tmp_path, 40).splitlines()[-1] == "step 20 loss 1.1000"


def test_nan_ends_the_program_at_once(tmp_path):
    ended, entries = keep(order_for(tmp_path, "nan_at_five.py"))
    assert [entry for entry in entries if isinstance(entry, Diverged)] == [
        Diverged(reason="loss is nan", tokens=500)
    ]
    assert losses(entries) == [(100 * step, 3.0) for step in range(1, 5)]
    assert (ended.cause, ended.signal) == ("diverged", signal.SIGTERM)
    assert ended.seconds < 1.5


def test_a_pattern_on_the_output_says_that_the_run_diverged(tmp_path):
    order = order_for(tmp_path, "learns.py", 1000, 0.02, diverged=(r"step 3\b",), secrets=("loss",))
    ended, entries = keep(order)
    assert Diverged(reason="the output says: step 3 ••• 1.6667", tokens=300) in entries
    assert ended.cause == "diverged"


def test_all_losses_of_a_dead_network_arrive(tmp_path):
    ended, entries = keep(order_for(tmp_path, "dead_network.py"))
    assert losses(entries) == [(100 * step, 5.5452) for step in range(1, 21)]
    assert ended.decimals == 6


def test_exit_0_too_early_shows_in_the_tokens(tmp_path):
    ended, _ = keep(order_for(tmp_path, "too_early.py"))
    assert (ended.code, ended.cause, ended.tokens, ended.decimals) == (0, "exit", 300, 2)


def test_a_program_that_hangs_ends_by_silence(tmp_path):
    ended, _ = keep(order_for(tmp_path, "hangs.py", silence_seconds=0.5))
    assert (ended.cause, ended.signal) == ("silence", signal.SIGTERM)


def test_a_program_that_never_says_anything_ends_by_the_limit_of_its_start(tmp_path):
    ended, _ = keep(order_for(tmp_path, "says_nothing.py", start_seconds=0.4))
    assert ended.cause == "start"


def test_a_program_that_runs_too_long_is_asked_to_stop(tmp_path):
    order = order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", run_seconds=0.5, stop_seconds=30)
    ended, _ = keep(order)
    assert (ended.code, ended.cause) == (0, "run")


def test_a_program_that_ignores_sigterm_is_killed_with_its_child(tmp_path):
    kept = KeptProgram.start(order_for(tmp_path, "ignores_sigterm.py"))
    until(lambda: losses(kept.poll()))
    kept.ask_to_stop()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.signal) == ("stop", signal.SIGKILL)
    assert find_marked(str(tmp_path / "run.json")) == []


def test_a_program_that_is_asked_may_save_and_leave(tmp_path):
    kept = KeptProgram.start(order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", stop_seconds=30))
    until(lambda: losses(kept.poll()))
    kept.ask_to_stop()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.code) == ("stop", 0)
    assert "saved" in tail(tmp_path, 100)


def test_a_program_may_save_in_silence(tmp_path):
    stop, saving = tmp_path / "stop", "time.sleep(2); print('saved')"
    script = f"import os, time\nprint('step 1 loss 3.1234', flush=True)\nwhile not os.path.exists({str(stop)!r}): time.sleep(.01)\n"
    order = order_for(
        tmp_path, "", argv=(sys.executable, "-c", script + saving), stop_seconds=30, silence_seconds=0.8
    )
    kept = KeptProgram.start(order)
    until(lambda: losses(kept.poll()))
    kept.ask_to_stop()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.code) == ("stop", 0)


@pytest.mark.parametrize(
    "line",
    [
        f"oops {SECRET}",
        json.dumps({"loss": SECRET}),
        f"{'x' * 95} {SECRET}",
        json.dumps({"diverged": f"no login with {SECRET}"}),
        json.dumps({"diverged": f"{'x' * 490} {SECRET[:9]}"}),
    ],
)
def test_no_report_carries_a_secret_into_the_journal(tmp_path, line):
    report = tmp_path / "report.jsonl"
    script = f"open({str(report)!r}, 'w').write({line + chr(10)!r})"
    _, entries = keep(order_for(tmp_path, "", argv=(sys.executable, "-c", script), secrets=(SECRET,)))
    assert [entry for entry in entries if isinstance(entry, Diverged | Noticed)]
    assert SECRET[:4] not in (tmp_path / "journal.jsonl").read_text()


def test_what_a_program_writes_outside_its_folder_can_be_read_by_others(tmp_path):
    keep(order_for(tmp_path, "", argv=("touch", str(tmp_path / "written"))))
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o644


def test_a_stop_file_of_an_earlier_attempt_does_not_stop_the_next(tmp_path):
    (tmp_path / "stop").touch()
    ended, _ = keep(order_for(tmp_path, "saves_and_leaves.py", tmp_path / "stop", silence_seconds=0.3))
    assert ended.cause == "silence"


def test_kill_takes_no_time(tmp_path):
    kept = KeptProgram.start(order_for(tmp_path, "ignores_sigterm.py", stop_seconds=60))
    until(lambda: losses(kept.poll()))
    kept.kill()
    ended = kept.wait(5)
    assert isinstance(ended, Ended)
    assert ended.signal == signal.SIGKILL


def test_a_grandchild_with_its_own_session_does_not_outlive_the_program(tmp_path):
    ended, _ = keep(order_for(tmp_path, "forks_and_leaves.py"))
    assert (ended.code, ended.left) == (0, 1)


def test_a_million_lines_are_2000_entries(tmp_path):
    order = order_for(tmp_path, "million_lines.py", tokens=100_000_000, log_bytes=3 << 20)
    ended, entries = keep(order)
    found = losses(entries)
    assert ended.matched == 1_000_000
    assert 1900 < len(found) <= 2001
    assert found[0] == (100, 3.0)
    assert found[-1][0] == 100_000_000
    assert sum(path.stat().st_size for path in tmp_path.glob("output*.log")) <= 3 << 20
    assert tail(tmp_path, 30) == "step 1000000 loss 2.000001\n"


def test_half_a_line_waits_for_its_other_half(tmp_path):
    ended, entries = keep(order_for(tmp_path, "half_a_line.py"))
    assert losses(entries) == [(100, 3.25), (200, 3.125)]
    assert ended.decimals == 2


def test_nan_as_a_word_in_a_report_is_divergence(tmp_path):
    report = tmp_path / "report.jsonl"
    ended, entries = keep(order_for(tmp_path, "nan_as_a_word.py", report, training=None))
    assert losses(entries) == [(100, 3.5)]
    assert Diverged(reason="loss is nan", tokens=200) in entries
    assert ended.cause == "diverged"
    assert any("'loss is fine'" in text for text in notices(entries))


def test_every_refresh_of_a_progress_bar_is_read(tmp_path):
    _, entries = keep(order_for(tmp_path, "progress_bar.py"))
    assert losses(entries) == [(100 * step, round(2 + 1 / step, 4)) for step in range(1, 21)]
    assert "\x1b" not in tail(tmp_path, 10_000)
    assert tail(tmp_path, 100).endswith("ready\n")


def test_a_program_that_fills_its_disk_share_is_ended(tmp_path):
    ended, entries = keep(order_for(tmp_path, "fills_disk.py", tmp_path, disk_bytes=1 << 20))
    assert ended.cause == "disk"
    assert any("1,048,576 allowed" in text for text in notices(entries))


def test_a_program_may_close_its_output_and_go_on(tmp_path):
    report = tmp_path / "report.jsonl"
    ended, entries = keep(order_for(tmp_path, "closes_stdout.py", report))
    assert (ended.code, ended.cause) == (0, "exit")
    assert [tokens for tokens, _ in losses(entries)] == [100, 200, 300, 400, 500]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [(("/no/such/program",), 127, "No such file"), (("/etc/passwd",), 126, "Permission denied")],
)
def test_a_program_that_cannot_be_started_says_so(tmp_path, argv, code, words):
    ended, entries = keep(order_for(tmp_path, "", argv=argv))
    assert (ended.code, ended.cause) == (code, "exit")
    assert isinstance(entries[0], Started)
    assert entries[0].pid is None
    assert words in notices(entries)[0]
    assert words in tail(tmp_path, 1000)


def test_the_stop_command_runs_with_sigterm_and_also_before_everything_is_killed(tmp_path):
    command = ("sh", "-c", f"sleep 0.2; echo stopped >> {tmp_path / 'stopped'}")
    order = order_for(tmp_path, "ignores_sigterm.py", stop_command=command)
    for end in (KeptProgram.ask_to_stop, KeptProgram.kill):
        kept = KeptProgram.start(order)
        until(lambda kept=kept: losses(kept.poll()))
        end(kept)
        assert isinstance(kept.wait(30), Ended)
    assert (tmp_path / "stopped").read_text() == "stopped\n" * 2


def test_the_stop_command_follows_a_client_that_was_killed(tmp_path):
    command = ("touch", str(tmp_path / "stopped"))
    kept = KeptProgram.start(order_for(tmp_path, "hangs.py", stop_command=command))
    until(lambda: losses(kept.poll()))
    (program,) = find_marked(str(tmp_path / "run.json"))
    program.kill()
    ended = kept.wait(30)
    assert isinstance(ended, Ended)
    assert (ended.signal, ended.cause) == (signal.SIGKILL, "exit")
    assert (tmp_path / "stopped").exists()


def test_checkpoints_that_an_earlier_attempt_reported_are_told_again_and_its_losses_are_not(tmp_path):
    lines = '{"step": 9, "loss": 1}\n{"saved": "/x", "step": 9}\n'
    (tmp_path / "report.jsonl").write_text(lines)
    _, entries = keep(order_for(tmp_path, "learns.py", 2))
    assert isinstance(entries[0], Started)
    assert entries[1] == Saved(path="/x", tokens=900)
    assert losses(entries) == [(100, 3.0), (200, 2.0)]


def test_the_program_gets_its_environment_and_nothing_else(tmp_path):
    order = order_for(tmp_path, "", argv=("/usr/bin/env",))
    keep(order)
    assert sorted(tail(tmp_path, 10_000).splitlines()) == sorted(
        f"{name}={value}" for name, value in order.environment.items()
    )
