"""The actor of a sweep: a Ray Tune trainable that carries out one job per trial, or waits for one."""

from __future__ import annotations

import socket
import time
from typing import Any

from ray import tune

from orchestrator.errors import EtalonError
from orchestrator.extras import naming_extras
from orchestrator.private import restrict_umask
from workers.runner import Job, Report, Runner, WorkerSetup

STEP_SECONDS = 0.5
"""Time that a worker trains between two reports."""


class Worker(tune.Trainable):
    """A process that keeps its runner (and with it PyTorch and the corpus) from trial to trial.

    A trial whose config holds a job carries it out. One without a job keeps the process and reports every ``pause``
    seconds that it waits. All work is done in steps: Tune retries one that fails, and a worker that hangs in one is
    noticed.
    """

    _setup: WorkerSetup | None = None
    _runner: Runner | None = None
    _job: Job | None = None
    _begun: bool = False
    _left: bool = False
    _fault: str | None = None
    _pause: float = 0.0

    def setup(self, config: dict[str, Any], setup: WorkerSetup) -> None:  # type: ignore[override]
        """Keep what all jobs of the sweep need, for the first step; ``tune.with_parameters`` passes ``setup``."""
        restrict_umask()  # an operator's Ray has its own
        self._setup = setup
        self._take_up(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next trial in the same process; the next step first saves a job that was interrupted."""
        self._left = self._has_unsaved()
        self._take_up(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Work for about ``STEP_SECONDS``; returns the report, and whether the trial is done."""
        if self._left:
            self.cleanup()
        if self._setup is not None:
            self._open(self._setup)
        if self._job is None:
            time.sleep(self._pause)
            limits = self._runner.limits if self._runner else {}
            return {"report": Report(limits=limits, fault=self._fault), "done": False}
        if self._runner is None:
            return {"report": Report(fault=self._fault, unfit=True), "done": True}
        try:
            if not self._begun:
                self._runner.begin(self._job)
                self._begun = True
            report, done = self._runner.advance(STEP_SECONDS)
        except self._runner.machine_faults:
            raise
        except Exception as error:  # noqa: BLE001 - the trainer's own error: a retry would end the same way
            self._runner.abort()
            report, done = Report(fault=_sentence(error)), True
        if done:
            self._job = None
        return {"report": report, "done": done}

    def cleanup(self) -> None:
        """Save an unfinished job before the process ends."""
        unsaved, self._left = self._has_unsaved(), False
        if unsaved and self._runner is not None:
            self._runner.save()

    def _has_unsaved(self) -> bool:
        return self._left or (self._job is not None and self._begun)

    def _open(self, setup: WorkerSetup) -> None:
        """Load what all jobs need."""
        try:
            with naming_extras():
                self._runner = setup.open_runner()
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the user's corpus or shape: reported, not retried
            self._fault = f"On {socket.gethostname()}: {_sentence(error)}"
        self._setup = None

    def _take_up(self, config: dict[str, Any]) -> None:
        self._job = config["job"]
        self._pause = config["pause"]
        # Tune sends a trainable's config back with every result; a job is too large for that.
        self.config = {}
        self._begun = False


def _sentence(error: Exception) -> str:
    return error.detail if isinstance(error, EtalonError) else f"{type(error).__name__}: {error}"
