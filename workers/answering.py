"""Answers runs that take no time in the driver's own process: no cluster is needed, and nothing waits for one."""

from __future__ import annotations

import time
from itertools import count

from workers.dispatcher import Dispatcher
from workers.runner import Job, Report, Runner


def answer_runs(dispatcher: Dispatcher, runner: Runner, tick_seconds: float) -> None:
    """Be the dispatcher's only worker until it leaves.

    Args:
        dispatcher: hands out jobs.
        runner: answers them.
        tick_seconds: pause between two looks for a job.
    """
    for number in count():
        task = dispatcher.next_task(str(number))
        if dispatcher.ending is not None:
            return
        if isinstance(task, bool):
            if task:
                _wait(dispatcher, str(number), tick_seconds)
            else:
                time.sleep(tick_seconds)
        else:
            _answer(dispatcher, runner, str(number), task)


def _wait(dispatcher: Dispatcher, trial_id: str, tick_seconds: float) -> None:
    """Be ready until there is a job, or the dispatcher has no need of a worker."""
    dispatcher.start(trial_id)
    dispatcher.take_in(trial_id, Report())
    while dispatcher.ending is None and not dispatcher.is_wanted_back(trial_id):
        time.sleep(tick_seconds)
        dispatcher.tick()
        dispatcher.take_in(trial_id, Report())
    dispatcher.end(trial_id)


def _answer(dispatcher: Dispatcher, runner: Runner, trial_id: str, job: Job) -> None:
    """Carry out a job that ends at once."""
    dispatcher.start(trial_id)
    runner.begin(job)
    report, _ = runner.advance(0.0)
    dispatcher.take_in(trial_id, report)
    dispatcher.end(trial_id)
