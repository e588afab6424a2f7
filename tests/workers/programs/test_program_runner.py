"""Jobs of programs: forks equal direct runs, crashes are tried again, and no death changes a loss."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psutil
import pytest

from orchestrator.errors import BadInput
from orchestrator.states import RunState
from tests.waiting import until
from tests.workers.programs.tiny import FIELDS, FORK, RESUME, by_run, carry_out, cells, job, registered, setup
from workers.programs.journal import Ended, Started, read_journal
from workers.programs.program_runner import BEGAN_ANEW
from workers.runner import Report


def marked(folder: Path) -> list[psutil.Process]:
    """The processes whose run lies in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            value = process.environ().get("ETALON_RUN", "")
        except psutil.Error:
            continue
        if value.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_a_run_is_answered_with_its_curve_its_cost_and_its_output(tmp_path: Path) -> None:
    worker = setup(registered(tmp_path / "mine"), cells(40), tmp_path / "sweep")
    report = carry_out(worker, job(0))
    result = by_run(report.results)["r0"]
    assert result.state is RunState.COMPLETED
    assert result.loss == report.points[-1].loss
    assert result.flops == 6 * 1e6 * 400
    assert [point.tokens for point in report.points] == [50 * at for at in range(1, 9)]
    assert {point.curve for point in report.points} == {"r0"}
    assert "step 40 loss" in report.logs["r0"].text
    assert not marked(tmp_path)


def test_forks_equal_direct_runs_and_cost_their_decay_alone(tmp_path: Path) -> None:
    direct = setup(registered(tmp_path / "direct"), cells(20, 40, 80), tmp_path / "a")
    apart = by_run(carry_out(direct, job(2, 1, 0)).results)
    forked = setup(registered(tmp_path / "forked", fork=FORK), cells(20, 40, 80, trunk="t"), tmp_path / "b")
    report = carry_out(forked, job(2, 1, 0, trunk_id="trunk"))
    together = by_run(report.results)
    assert {name: result.loss for name, result in together.items()} == {
        name: result.loss for name, result in apart.items()
    }
    assert {name: result.flops / 6e6 for name, result in together.items()} == {"r2": 800, "r1": 80, "r0": 40}
    trunk = [point.tokens for point in report.points if point.curve == "trunk"]
    assert all(earlier < later for earlier, later in pairwise(trunk))
    assert trunk[-1] <= 640
    assert {point.tokens for point in report.points if point.curve == "r0"} <= {*range(161, 201)}


def test_a_longer_horizon_goes_on_from_the_trunk_that_is_there(tmp_path: Path) -> None:
    registration = registered(tmp_path / "mine", fork=FORK)
    worker = setup(registration, cells(20, 40, 80, trunk="t"), tmp_path / "sweep")
    carry_out(worker, job(1, trunk_id="trunk"))
    later = by_run(carry_out(worker, job(2, 0, trunk_id="trunk")).results)
    direct = setup(registered(tmp_path / "direct"), cells(20, 40, 80), tmp_path / "direct-sweep")
    apart = by_run(carry_out(direct, job(2, 0)).results)
    assert {name: later[name].loss for name in later} == {name: apart[name].loss for name in apart}
    assert later["r2"].flops == 6e6 * (800 - 320)


def test_a_trunk_that_diverged_answers_all_horizons_that_leave_it_later(tmp_path: Path) -> None:
    worker = setup(registered(tmp_path / "mine", fork=FORK), cells(20, 40, trunk="t"), tmp_path / "sweep")
    results = by_run(carry_out(worker, job(1, 0, learning_rate=11.0, trunk_id="trunk")).results)
    assert {result.state for result in results.values()} == {RunState.DIVERGED}
    assert "trunk" in str(results["r0"].reason)
    assert results["r1"].diverged_tokens == 50


def test_a_crash_is_tried_again_from_the_last_checkpoint(tmp_path: Path) -> None:
    registration = registered(tmp_path / "mine", "--keep_every=10", "--break_at=25", resume=RESUME)
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    whole = setup(registered(tmp_path / "whole"), cells(40), tmp_path / "b")
    assert result.state is RunState.COMPLETED
    assert result.loss == by_run(carry_out(whole, job(0)).results)["r0"].loss
    starts = [
        one
        for one in read_journal(tmp_path / "a" / "runs" / "r0" / "journal.jsonl")
        if isinstance(one, Started)
    ]
    assert [start.attempt for start in starts] == [1, 2]
    assert "[Etalon: start 2 of this run" in (tmp_path / "a" / "runs" / "r0" / "output.log").read_text()


def test_a_program_that_always_ends_with_an_error_fails_with_its_last_lines(tmp_path: Path) -> None:
    registration = registered(tmp_path / "mine", "--no_such_option")
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    assert result.state is RunState.FAILED
    assert str(result.reason).startswith("It ended with exit code 2, 2 times. The last lines of its output:")
    assert "unrecognized arguments: --no_such_option" in str(result.reason)


def test_a_reason_repeats_long_lines_in_part(tmp_path: Path) -> None:
    command = ["python", "-c", "for at in range(30): print(at, 'x' * 3000)\nraise SystemExit(1)"]
    registration = registered(tmp_path / "mine", command=command, limits={"tries": 1})
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    first, *lines = str(result.reason).splitlines()
    assert first == "It ended with exit code 1. The last lines of its output:"
    assert [line[:4] for line in lines] == [f"{at} x" for at in range(10, 30)]
    assert {len(line) for line in lines} == {300}


def test_an_interrupted_run_saves_and_goes_on_in_another_worker(tmp_path: Path) -> None:
    registration = registered(tmp_path / "mine", "--keep_every=100", "--step_seconds=0.02", resume=RESUME)
    worker = setup(registration, cells(60), tmp_path / "a")
    first = worker.open_runner()
    first.begin(job(0))
    points = 0
    while points < 2:
        points += len(first.advance(0.2)[0].points)
    first.save()
    assert not marked(tmp_path)
    report = carry_out(worker, job(0))
    whole = setup(registered(tmp_path / "whole"), cells(60), tmp_path / "b")
    assert by_run(report.results)["r0"].loss == by_run(carry_out(whole, job(0)).results)["r0"].loss
    assert sorted({point.tokens for point in report.points}) == [50 * at for at in range(1, 13)]


@pytest.mark.parametrize(
    ("victim", "number"),
    [("keeper", signal.SIGKILL), ("keeper", signal.SIGSTOP), ("program", signal.SIGKILL)],
)
def test_a_lost_keeper_or_program_changes_no_loss(
    tmp_path: Path, victim: str, number: signal.Signals
) -> None:
    """A stopped keeper's program runs on to its end unheard, and is run again although its checkpoint is complete."""
    registration = registered(tmp_path / "mine", "--keep_every=5", "--step_seconds=0.02", resume=RESUME)
    worker = replace(setup(registration, cells(60), tmp_path / "a"), heartbeat_seconds=1.5)
    journal = tmp_path / "a" / "runs" / "r0" / "journal.jsonl"
    killed: list[int] = []

    def kill(report: Report) -> None:
        if report.points and not killed:
            started = next(one for one in read_journal(journal) if isinstance(one, Started))
            pid = started.keeper if victim == "keeper" else started.pid
            assert pid is not None
            os.kill(pid, number)
            killed.append(pid)

    report = carry_out(worker, job(0), between=kill)
    assert killed
    whole = setup(registered(tmp_path / "whole"), cells(60), tmp_path / "b")
    assert by_run(report.results)["r0"].loss == by_run(carry_out(whole, job(0)).results)["r0"].loss
    assert (BEGAN_ANEW in report.notices) == (number == signal.SIGSTOP)
    until(lambda: not marked(tmp_path), seconds=5)


def test_a_second_worker_goes_on_from_what_the_firsts_program_saves_and_the_first_gives_up(
    tmp_path: Path,
) -> None:
    """The first worker lives and knows of nothing; its program needs a second to see that it must save."""
    registration = registered(tmp_path / "mine", "--keep_every=1000", "--step_seconds=1", resume=RESUME)
    worker = setup(registration, cells(6), tmp_path / "a")
    first, faults = worker.open_runner(), list[str]()
    first.begin(job(0))

    def work_on() -> None:
        try:
            while not first.advance(0.1)[1]:
                pass
        except OSError as error:
            faults.append(str(error))

    journal = tmp_path / "a" / "runs" / "r0" / "journal.jsonl"
    thread = Thread(target=work_on, daemon=True)
    thread.start()
    until(lambda: (journal.parent / "output.log").exists() and read_journal(journal))
    report = carry_out(worker, job(0))
    thread.join(10)
    assert faults == ["Another worker has taken up the run."]
    entries = read_journal(journal)
    assert [(one.attempt, one.start_tokens) for one in entries if isinstance(one, Started)] == [
        (1, 0),
        (2, 0),
    ]
    assert [(one.cause, one.code) for one in entries if isinstance(one, Ended)] == [
        ("abandoned", 0),
        ("exit", 0),
    ]
    assert not report.notices
    whole = setup(registered(tmp_path / "whole"), cells(6), tmp_path / "b")
    assert by_run(report.results)["r0"].loss == by_run(carry_out(whole, job(0)).results)["r0"].loss
    assert (journal.parent / "own.json").exists()


def test_an_end_that_no_worker_told_is_told_by_the_next_without_another_start(tmp_path: Path) -> None:
    worker = setup(registered(tmp_path / "mine"), cells(40), tmp_path / "a")
    first = carry_out(worker, job(0))
    again = carry_out(worker, job(0))
    assert again.results == first.results
    assert {point.tokens for point in again.points} == {point.tokens for point in first.points}
    journal = read_journal(tmp_path / "a" / "runs" / "r0" / "journal.jsonl")
    assert len([entry for entry in journal if isinstance(entry, Started)]) == 1


@pytest.mark.parametrize("tries", [1, 2])
def test_a_new_worker_gives_a_run_no_further_tries(tmp_path: Path, tries: int) -> None:
    """The first worker dies after the first crash, whether it told it or not."""
    limits = {**FIELDS["limits"], "tries": tries}
    registration = registered(tmp_path / "mine", "--no_such_option", limits=limits)
    worker = setup(registration, cells(40), tmp_path / "a")
    journal = tmp_path / "a" / "runs" / "r0" / "journal.jsonl"
    first = worker.open_runner()
    first.begin(job(0))
    until(lambda: first.advance(0.0) and any(isinstance(one, Ended) for one in read_journal(journal)))
    first.abort()
    result = carry_out(worker, job(0)).results[0]
    assert result.state is RunState.FAILED
    times = ", 2 times" if tries == 2 else ""
    assert str(result.reason).startswith(f"It ended with exit code 2{times}. The last lines")
    starts = [one.attempt for one in read_journal(journal) if isinstance(one, Started)]
    assert starts == [*range(1, tries + 1)]


def test_a_model_of_another_size_is_stopped_at_once(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(
        "import etalon, time\netalon.model(params=2e6)\netalon.report(step=1, loss=5.0)\ntime.sleep(60)\n"
    )
    registration = registered(tmp_path / "mine", command=["python", str(script)], losses={}, model="reported")
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    assert result.state is RunState.FAILED
    assert "2000000" in str(result.reason)
    assert "1000000" in str(result.reason)


def test_a_model_of_another_size_is_told_by_the_next_worker_too(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(
        "import etalon\n"
        "for step in range(1, 41):\n    etalon.report(step=step, loss=5.0 - step / 100)\n"
        "etalon.model(params=2e6)\n"
    )
    registration = registered(tmp_path / "mine", command=["python", str(script)], losses={}, model="reported")
    worker = setup(registration, cells(40), tmp_path / "a")
    for _ in range(2):
        result = by_run(carry_out(worker, job(0)).results)["r0"]
        assert result.state is RunState.FAILED
        assert "2000000" in str(result.reason)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"folder": "nowhere"}, "must be on every node"), ({"python": "no-such-venv"}, "interpreter")],
)
def test_a_worker_without_the_program_says_so(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    worker = setup(registered(tmp_path / "mine", **fields), cells(40), tmp_path / "a")
    with pytest.raises(BadInput, match=message):
        worker.open_runner()


def test_a_function_of_the_operator_is_called_in_its_own_interpreter(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir(mode=0o700)
    (place / "training.py").write_text(
        "import etalon\n"
        "def train(run):\n"
        "    for step in range(1, run['steps'] + 1):\n"
        "        etalon.report(step=step, loss=5.0 - run['learning_rate'] * step)\n"
        "    return 4.0 + run['seed'] / 8\n"
    )
    registration = registered(place, command=[], entry="training:train", losses={}, limits={"stop": "4s"})
    report = carry_out(setup(registration, cells(40), tmp_path / "a"), job(0, seed=1))
    result = by_run(report.results)["r0"]
    assert result.loss == 4.125
    assert len(report.points) == 40


def test_a_program_that_trains_on_and_on_is_ended_soon_after_its_tokens(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(
        "import itertools, time\n"
        "for step in itertools.count():\n"
        "    print(f'step {step} loss {5 - step / 1000:.4f}', flush=True)\n"
        "    time.sleep(0.002)\n"
    )
    registration = registered(tmp_path / "mine", command=["python", str(script)])
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    assert result.state is RunState.FAILED
    assert "of 400 tokens, and was ended: its command must use {steps}" in str(result.reason)
    assert not marked(tmp_path)


def test_a_program_that_counts_from_0_has_trained_its_last_step(tmp_path: Path) -> None:
    script = tmp_path / "from_0.py"
    script.write_text("for step in range(40): print(f'step {step} loss {5 - step / 100:.4f}')\n")
    registration = registered(tmp_path / "mine", command=["python", str(script)])
    result = by_run(carry_out(setup(registration, cells(40), tmp_path / "a"), job(0)).results)["r0"]
    assert (result.state, result.flops) == (RunState.COMPLETED, 6e6 * 400)
