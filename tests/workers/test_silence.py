"""Workers that report nothing: noticed by time in which the driver itself was listening."""

from __future__ import annotations

import pytest

from tests.clock import Clock
from workers.proxy import ProxyJobFactory
from workers.runner import JobFactory
from workers.silence import LONGEST_GAP, SilenceWatch

BOUND = 10.0


class Listening:
    """A watch whose clock the test turns, one look per second."""

    def __init__(self) -> None:
        self.clock = Clock(100.0)
        self.watch = SilenceWatch(BOUND, self.clock)

    def look(self, seconds: int) -> list[str]:
        """The trials that were named, in order."""
        named: list[str] = []
        for _ in range(seconds):
            self.clock.seconds += 1.0
            named += sorted(self.watch.silent())
        return named


@pytest.fixture
def listening() -> Listening:
    return Listening()


def test_a_silent_worker_is_named_once_a_bound(listening: Listening) -> None:
    listening.watch.heard("a")
    assert listening.look(10) == []
    assert listening.look(1) == ["a"]
    assert listening.look(10) == []
    assert listening.look(1) == ["a"]


def test_only_the_silent_worker_is_named(listening: Listening) -> None:
    listening.watch.heard("a")
    listening.watch.heard("b")
    listening.watch.heard("lost")
    listening.look(8)
    listening.watch.heard("b")
    listening.watch.forget("lost")
    assert listening.look(5) == ["a"]


def test_a_trial_without_a_worker_is_never_named(listening: Listening) -> None:
    listening.watch.forget("a")
    assert listening.look(30) == []


def test_a_driver_that_slept_blames_no_worker(listening: Listening) -> None:
    listening.watch.heard("a")
    listening.clock.seconds += 86_400
    assert listening.watch.silent() == frozenset()
    assert listening.look(int(BOUND - LONGEST_GAP)) == []
    assert listening.look(1) == ["a"]


def test_proxies_may_compile_for_longer_than_others_may_be_silent() -> None:
    assert JobFactory.silence_seconds < ProxyJobFactory.silence_seconds
