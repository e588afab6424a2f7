"""Unexpected errors: those of one sweep leave the others alone, and those of the machine fail no sweep."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.loop.loop import Loop
from orchestrator.states import SweepState
from orchestrator.store import LEADER
from tests.clock import Clock


def lead_by(house: Any, clock: Clock) -> None:
    """Let the loop go by ``clock``."""
    fence = house.store.leases.current(LEADER).fence
    house.loop = Loop(house.store, house.driver, fence=fence, clock=clock)


def test_a_fault_in_one_sweep_ends_that_sweep_and_no_other(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = house.submit(), house.submit()
    real = house.driver.start

    def start(sweep_id: str) -> None:
        if sweep_id == broken.id:
            tried.append(clock.seconds)
            raise error
        real(sweep_id)

    clock, tried, error = Clock(), [], ZeroDivisionError("by zero")
    lead_by(house, clock)
    monkeypatch.setattr(house.driver, "start", start)
    assert house.until_final(sound.id).state is SweepState.COMPLETED
    assert tried == [0.0], "a sweep with a fault rests"
    for clock.seconds in (0.5, 1.0, 2.0, 3.0):
        house.loop.step()
    assert tried == [0.0, 1.0, 3.0]
    final = house.store.sweeps.get(broken.id)
    assert final.state is SweepState.FAILED
    assert final.reason == "Internal error: ZeroDivisionError: by zero"


@pytest.mark.parametrize("error", [OSError("no more processes"), MemoryError()])
def test_a_fault_of_the_machine_fails_no_sweep(
    house: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def start(_sweep_id: str) -> None:
        tried.append(clock.seconds)
        raise error

    sweep, clock, tried = house.submit(), Clock(), []
    lead_by(house, clock)
    with monkeypatch.context() as trouble:
        trouble.setattr(house.driver, "start", start)
        for second in range(100):
            clock.seconds = second
            house.loop.step()
    assert tried == [0, 1, 3, 7, 15, 31, 61, 91]
    clock.seconds = 121
    assert house.until_final(sweep.id).state is SweepState.COMPLETED


def test_what_the_user_asked_wrongly_fails_the_sweep_in_their_words(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(strategy: str) -> None:
        raise BadInput(f"There is no strategy {strategy!r}.")

    monkeypatch.setattr("orchestrator.loop.refit.planner_of", unknown)
    final = house.until_final(house.submit().id)
    assert (final.state, final.reason) == (SweepState.FAILED, "There is no strategy 'law'.")


def test_a_law_of_an_earlier_version_is_fitted_again_and_the_sweep_goes_on(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = house.submit()
    while house.store.laws.latest(sweep.id) is None:
        house.loop.step()
        if sweep.id in house.driver.fences:
            house.driver.finish(house.driver.claim(sweep.id))
    monkeypatch.setattr("orchestrator.law.law.VERSION", 99)
    final = house.until_final(sweep.id)
    assert final.state is SweepState.COMPLETED
    assert house.store.laws.latest(sweep.id).document["version"] == 99
