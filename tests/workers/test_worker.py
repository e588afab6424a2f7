"""The actor without Ray: which errors end a job, and which ask for another worker."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.settings import CorpusSource
from orchestrator.spec import Grid, ProxyTrainer, Scale
from tests.workers.training import setup_of
from workers.immediate import ImmediateJob
from workers.runner import Report
from workers.worker import Worker

JOB = ImmediateJob(runs=())
WAIT = {"job": None, "pause": 0.0}
WORK = {"job": JOB, "pause": 0.0}


class StandIn:
    """A runner that does what the test says."""

    machine_faults: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, *steps: tuple[Report, bool] | Exception, begins: Exception | None = None) -> None:
        self._steps, self._begins = list(steps), begins
        self.saved = self.aborted = 0

    @property
    def limits(self) -> Mapping[str, int]:
        return {"trunk": 4}

    def begin(self, job: Any) -> None:
        if self._begins is not None:
            raise self._begins

    def advance(self, seconds: float) -> tuple[Report, bool]:
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def abort(self) -> None:
        self.aborted += 1

    def save(self) -> None:
        self.saved += 1

    def open_runner(self) -> StandIn:
        """Its own setup."""
        return self


def actor(runner: StandIn, config: dict[str, Any]) -> Worker:
    """A worker around a runner, as Ray would make it in a process of its own."""
    made = Worker.__new__(Worker)
    made.setup(config, runner)
    return made


def test_a_worker_without_a_job_says_that_it_waits_and_what_it_can_stack():
    waiting = actor(StandIn(), WAIT)
    assert waiting.step() == {"report": Report(limits={"trunk": 4}), "done": False}


def test_a_worker_goes_from_waiting_to_a_job_in_the_same_process():
    report = Report(fault=None)
    working = actor(StandIn((report, False), (report, True)), WAIT)
    assert working.reset_config(WORK)
    assert [working.step()["done"], working.step()["done"]] == [False, True]
    assert working.config == {}, "a job does not travel back with every result"


def test_the_trainers_own_error_is_reported_and_ends_the_job():
    runner = StandIn(ValueError("loss of the wrong kind"))
    failing = actor(runner, WORK)
    assert failing.step() == {"report": Report(fault="ValueError: loss of the wrong kind"), "done": True}
    assert runner.aborted == 1


def test_a_job_that_cannot_begin_is_reported_and_the_next_one_is_not_blamed():
    failing = actor(StandIn(begins=ValueError("no such shape")), WORK)
    assert failing.step() == {"report": Report(fault="ValueError: no such shape"), "done": True}
    failing.reset_config(WAIT)
    assert failing.step()["report"].fault is None


def test_a_worker_without_the_modules_of_an_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    def missing() -> StandIn:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    runner = StandIn()
    monkeypatch.setattr(runner, "open_runner", missing)

    report = actor(runner, WORK).step()["report"]

    assert report.fault == f"On {socket.gethostname()}: This needs torch: pip install 'etalon[train]'."
    assert report.unfit


def test_the_machines_error_is_left_to_tune_to_retry():
    with pytest.raises(OSError, match="no space"):
        actor(StandIn(OSError("no space")), WORK).step()
    with pytest.raises(OSError, match="gone"):
        actor(StandIn(begins=OSError("gone")), WORK).step()


def test_what_is_under_way_is_saved_before_the_process_ends():
    live, idle = StandIn((Report(), False), (Report(), True)), StandIn()
    working = actor(live, WORK)
    working.cleanup()
    assert live.saved == 0, "the job has not begun"
    working.step()
    working.cleanup()
    assert live.saved == 1
    working.step()
    working.cleanup()
    assert live.saved == 1, "the job is done"
    actor(idle, WAIT).cleanup()
    assert idle.saved == 0


def test_a_worker_loads_and_saves_in_steps_where_a_hang_is_noticed():
    opened: list[StandIn] = []
    runner = StandIn((Report(), False), (Report(), False))
    runner.open_runner = lambda: opened.append(runner) or runner
    working = actor(runner, WORK)
    assert not opened, "nothing watches a constructor"
    working.step()
    working.reset_config(WAIT)
    assert runner.saved == 0, "nothing watches a change of the trial"
    working.step()
    working.step()
    working.cleanup()
    assert (len(opened), runner.saved) == (1, 1)


def test_an_interrupted_job_is_saved_even_if_its_process_ends_before_the_next_step():
    runner = StandIn((Report(), False))
    working = actor(runner, WORK)
    working.step()
    working.reset_config(WAIT)
    working.reset_config(WAIT)
    working.cleanup()
    assert runner.saved == 1


def test_a_missing_corpus_is_reported_with_every_job(tmp_path):
    trainer = ProxyTrainer(kind="proxy", corpus="gone")
    scale = Scale(width=16, depth=1)
    grid = Grid(scales=(scale,), tokens=(65_536,), batch_tokens=(256,), learning_rates=(0.001,))
    setup = setup_of(trainer, grid, tmp_path, corpus=CorpusSource(path=tmp_path / "gone.txt"))
    broken = Worker.__new__(Worker)
    broken.setup(WAIT, setup)
    assert "no such file" in broken.step()["report"].fault
    broken.reset_config(WORK)
    last = broken.step()
    assert last["done"]
    assert "no such file" in last["report"].fault
