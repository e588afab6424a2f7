"""Ray Tune's side of a driver: thin adapters from its searcher, scheduler, stopper and callback to the dispatcher.

One experiment lasts as long as the driver. Tune ends an experiment whose searcher has finished, and when
nothing runs and the searcher has nothing, it sleeps a second at a time without handling events; it also keeps
only one idle actor. So idle workers hold a trial that waits: their processes, PyTorch and the corpus stay warm
between batches, the control loop keeps turning, and a new job starts by reusing an actor, in about 0.1 s.
"""

from __future__ import annotations

from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from workers.dispatcher import Dispatcher

LEAST_PAUSE_SECONDS = 0.2
"""Least pause of a waiting worker between two reports. Longer delays a new batch, shorter takes the driver's time."""

WAITING_PER_SECOND = 20.0
"""Most reports of waiting workers per second; each takes the driver about 3 ms."""

HUNG = "no report for too long, so that it was killed"


class _Adapter:
    """Pickles as empty: Tune saves a copy that is never read, and the dispatcher cannot be copied."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class JobSearcher(_Adapter, Searcher):
    """Suggests the dispatcher's next task. All its state is in the database."""

    def __init__(self, dispatcher: Dispatcher, workers: int) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._pause = max(LEAST_PAUSE_SECONDS, workers / WAITING_PER_SECOND)

    def suggest(self, trial_id: str) -> Any:
        """A trial's config, None while no worker is needed, FINISHED at the end."""
        task = self._dispatcher.next_task(trial_id)
        if self._dispatcher.ending is not None:
            return Searcher.FINISHED
        if task is False:
            return None
        return {"job": None if task is True else task, "pause": self._pause}

    def on_trial_complete(self, trial_id: str, *_result: Any, error: bool = False, **_info: Any) -> None:
        """A trial ended. The callback reports one that was given up, with the reason."""
        if not error:
            self._dispatcher.end(trial_id)

    def save(self, _checkpoint_path: str) -> None:
        """Nothing: a new driver reads the database."""

    def restore(self, _checkpoint_path: str) -> None:
        """Nothing, as in ``save``."""

    def get_state(self) -> dict[str, Any]:
        """Nothing, as in ``save``."""
        return {}


class JobsFirstScheduler(_Adapter, FIFOScheduler):
    """Gives a free worker to a job before a trial that would only wait, and to other sweeps if there is neither."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """A pending trial with a job, or else any pending one.

        Without one, the worker that Tune keeps for later is ended: it would hold its CPUs for as long as the driver lives.
        Tune has no public call for that.
        """
        pending = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        if not pending:
            tune_controller._cleanup_cached_actors(force_all=True)
        return min(pending, key=lambda trial: trial.config["job"] is None, default=None)


class RecallStopper(_Adapter, tune.Stopper):
    """Ends the wait of a worker that gets a job, and everything when the driver leaves."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, trial_id: str, *_result: Any) -> bool:
        """Whether this worker should stop waiting."""
        return self._dispatcher.is_wanted_back(trial_id)

    def stop_all(self) -> bool:
        """Whether the driver leaves."""
        return self._dispatcher.ending is not None


class ReportCallback(_Adapter, tune.Callback):
    """Passes reports to the dispatcher, in the thread that runs the experiment."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._hung: set[str] = set()

    def on_step_begin(self, *_: Any, **info: Any) -> None:
        """The control loop turned. A worker that hangs is killed, and Tune restarts its trial on another."""
        self._dispatcher.tick()
        hung = self._dispatcher.hung()
        self._hung |= hung
        for trial in info["trials"] if hung else ():
            actor = trial.temporary_state.ray_actor
            if trial.trial_id in hung and actor is not None:
                ray.kill(actor)  # of a stopped process too: Ray sends it signal 9 after five seconds

    def on_trial_start(self, *_: Any, **info: Any) -> None:
        """A trial has a worker."""
        self._dispatcher.start(info["trial"].trial_id)

    def on_trial_recover(self, *_: Any, **info: Any) -> None:
        """A trial's worker died and Tune restarts the trial on another."""
        self._dispatcher.restart(info["trial"].trial_id)

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        """A worker reported. The report is taken out of the result, so that Tune does not keep it."""
        self._hung.discard(info["trial"].trial_id)
        self._dispatcher.take_in(info["trial"].trial_id, info["result"].pop("report"))

    def on_trial_error(self, *_: Any, **info: Any) -> None:
        """A trial was given up after its last retry."""
        trial: Trial = info["trial"]
        last = HUNG if trial.trial_id in self._hung else _last_error(trial)
        failures = trial.run_metadata.num_failures
        self._dispatcher.lose(
            trial.trial_id, f"Its worker was lost {failures} times, the last time by: {last}"
        )


def _last_error(trial: Trial) -> str:
    lines = str(trial.get_pickled_error() or "no reason known").strip().splitlines()
    return lines[-1].strip()
