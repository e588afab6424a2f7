"""The payloads of events: their JSON is what was set, and another shape is an error."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.documents.events import (
    PAYLOADS,
    EventPayload,
    LawEvent,
    ProgressEvent,
    UnreadableEvent,
    payload_of,
)

STORED: dict[str, dict[str, Any]] = {
    "sweep": {"state": "running", "reason": None, "actor": "leader"},
    "revision": {"revision": 2, "changes": {"name": "longer"}, "actor": None},
    "run_change": {"run_id": "a", "change": "exclude", "reason": "a bad node", "actor": "ann"},
    "batch": {"batch": 2, "runs": 8, "pruned": 1, "ended": 6},
    "wait": {"ended": 6},
    "run": {"run_id": "a", "cell": 1, "learning_rate": 0.002, "seed": 0, "state": "diverged", "loss": None},
    "law": {"number": None, "refused": "no_interior_minimum", "detail": "No bowl has both sides.", "runs": 3},
    "progress": {"cancelled": 3, "reason": "the budget of 10 seconds is spent"},
    "workers": {"cpus": 2.0, "gpus": 0.0, "room": 0, "reason": "A run asks for more."},
    "notice": {"message": "Losses have 3 decimals."},
    "trainer": {"name": "mine", "digest": "0123456789abcdef", "checked": False},
    "comparison": {"stage": "not run", "search": "It is enough.", "reason": "there is no law"},
}


def test_every_kind_has_a_payload() -> None:
    assert PAYLOADS.keys() == STORED.keys()


@pytest.mark.parametrize("kind", STORED)
def test_a_stored_event_is_read_and_written_unchanged(kind: str) -> None:
    payload = payload_of(kind, STORED[kind])
    assert type(payload) is PAYLOADS[kind]
    assert isinstance(payload, EventPayload)
    assert payload.to_json() == STORED[kind]


def test_fields_that_were_not_set_are_not_written() -> None:
    assert ProgressEvent(claimed=4).to_json() == {"claimed": 4}
    assert LawEvent(number=1, runs=7, prediction={"learning_rate": 1e-3}).to_json() == {
        "number": 1,
        "runs": 7,
        "prediction": {"learning_rate": 1e-3},
    }


def test_fields_of_another_version_are_ignored() -> None:
    assert payload_of("progress", {"points": 2, "lenses": 5}) == ProgressEvent(points=2)


def test_an_unknown_kind_has_no_payload() -> None:
    assert payload_of("weather", {}) is None


@pytest.mark.parametrize(
    ("kind", "data", "field"), [("law", {"law": 3}, "number"), ("sweep", {"state": "archived"}, "state")]
)
def test_a_known_kind_of_another_shape_cannot_be_read(kind: str, data: dict[str, Any], field: str) -> None:
    with pytest.raises(UnreadableEvent, match=rf"kind {kind} .*\({field}: "):
        payload_of(kind, data)
