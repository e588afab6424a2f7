"""The callback without Ray: which actors it kills, and what it says of a trial that is given up."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from workers.runner import Report
from workers.tune_plugins import HUNG, ReportCallback


@dataclass
class Listener:
    """A dispatcher that finds what the test says hung."""

    hangs: frozenset[str] = frozenset()
    lost: list[str] = field(default_factory=list)

    def tick(self) -> None:
        pass

    def hung(self) -> frozenset[str]:
        return self.hangs

    def take_in(self, trial_id: str, report: Report) -> None:
        pass

    def lose(self, trial_id: str, reason: str) -> None:
        self.lost.append(reason)


def trial(name: str, actor: str | None) -> Any:
    return SimpleNamespace(
        trial_id=name,
        temporary_state=SimpleNamespace(ray_actor=actor),
        run_metadata=SimpleNamespace(num_failures=4),
        get_pickled_error=lambda: "The actor died.\nkilled by `ray.kill`",
    )


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    actors: list[str] = []
    monkeypatch.setattr(ray, "kill", actors.append)
    return actors


def test_only_the_workers_that_hang_are_killed(killed: list[str]) -> None:
    listener = Listener()
    callback = ReportCallback(listener)
    trials = [trial("a", "actor a"), trial("b", "actor b"), trial("c", None)]
    callback.on_step_begin(iteration=1, trials=trials)
    assert killed == []
    listener.hangs = frozenset({"b", "c"})
    callback.on_step_begin(iteration=2, trials=trials)
    assert killed == ["actor b"]


@pytest.mark.parametrize(("reports", "last"), [(False, HUNG), (True, "killed by `ray.kill`")])
def test_a_trial_that_is_given_up_says_whether_its_last_worker_hung(
    killed: list[str], reports: bool, last: str
) -> None:
    listener, given_up = Listener(frozenset({"a"})), trial("a", "actor a")
    callback = ReportCallback(listener)
    callback.on_step_begin(iteration=1, trials=[given_up])
    if reports:
        callback.on_trial_result(iteration=2, trials=[given_up], trial=given_up, result={"report": Report()})
    callback.on_trial_error(iteration=3, trials=[given_up], trial=given_up)
    assert listener.lost == [f"Its worker was lost 4 times, the last time by: {last}"]
