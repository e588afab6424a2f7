"""Killed after any of its writes and started again, the orchestrator ends with the same record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.states import SWEEP_LIVE
from orchestrator.store import Store

WRITES = [
    ("sweeps", "move"),
    ("runs", "add_batch"),
    ("runs", "drop"),
    ("laws", "add"),
    ("events", "append"),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store on each of the databases."""
    with Store.open(request.getfixturevalue(f"{request.param}_url")) as opened:
        yield opened


class Killed(BaseException):
    """The process is gone: nothing after this line was done."""


@pytest.fixture
def killing(house: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the loop die right after each of its writes is committed."""

    def begin() -> None:
        for noun, verb in WRITES:
            part = getattr(house.store, noun)
            monkeypatch.setattr(part, verb, dying(getattr(part, verb)))
        monkeypatch.setattr(house.driver, "start", dying(house.driver.start))

    return begin


def dying(write: Callable[..., Any]) -> Callable[..., Any]:
    def write_and_die(*arguments: Any, **named: Any) -> None:
        write(*arguments, **named)
        raise Killed

    return write_and_die


def test_killed_after_every_single_write_nothing_is_lost_or_repeated(
    house: Any, killing: Callable[[], None]
) -> None:
    undisturbed = house.submit_replay()
    house.until_final(undisturbed.id)
    sweep = house.submit_replay()
    killing()
    deaths = 0
    while house.store.sweeps.get(sweep.id).state in SWEEP_LIVE:
        assert deaths < 200, house.store.sweeps.progress(sweep.id)
        try:
            house.loop.step()
        except Killed:
            deaths += 1
            house.lead()
        else:
            house.driver.finish(house.driver.claim(sweep.id))
    assert house.history(sweep.id) == house.history(undisturbed.id)
    assert kinds(house, sweep.id) == kinds(house, undisturbed.id)
    assert deaths > 2 * house.store.sweeps.get(sweep.id).batches


def kinds(house: Any, sweep_id: str) -> list[tuple[str, Any]]:
    """The events of a sweep, in order."""
    events = house.store.events.after(0, sweep_id=sweep_id)
    keys = ("state", "batch", "number", "cell", "learning_rate", "loss")
    return [(event.kind, tuple(event.data.get(key) for key in keys)) for event in events]


def test_a_driver_that_dies_with_every_run_loses_none(house: Any) -> None:
    undisturbed = house.submit_replay()
    house.until_final(undisturbed.id)
    sweep = house.submit_replay()
    house.loop.step()
    while house.store.sweeps.get(sweep.id).state in SWEEP_LIVE:
        claimed = house.driver.claim(sweep.id)
        house.driver.finish(claimed[:1])
        house.driver.die(sweep.id)
        house.loop.step()
    assert house.history(sweep.id) == house.history(undisturbed.id)
