"""The event stream, as far as it can be seen without a server: what is replayed, and when it ends."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.documents.events import EventPayload
from orchestrator.states import SweepState


def messages(text: str) -> list[dict[str, Any]]:
    """The messages of a stream that has ended: event, id and data of each."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(fields | {"data": json.loads(fields["data"])})
    return found


@pytest.fixture
def finished(trained: Any) -> Any:
    trained.move(SweepState.COMPLETED)
    return trained


def test_a_finished_sweep_is_replayed_whole_and_ends(client: TestClient, finished: Any) -> None:
    answer = client.get(f"/v1/sweeps/{finished.sweep.id}/events", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in answer.headers  # compressed, an event would wait for the next ones
    received = messages(answer.text)
    recorded = finished.store.events.after(0, sweep_id=finished.sweep.id)
    assert [(m["event"], int(m["id"])) for m in received[:-1]] == [(e.kind, e.id) for e in recorded]
    assert {"sweep", "batch", "progress", "run", "law"} == {m["event"] for m in received[:-1]}
    assert all(m["data"]["sweep_id"] == finished.sweep.id for m in received)
    assert (received[-1]["event"], received[-1]["data"]["state"]) == ("end", "completed")


class FutureSweepEvent(EventPayload):
    """A state that this version does not know."""

    KIND = "sweep"

    state: str


def test_an_event_of_another_shape_is_sent_as_it_is_stored(client: TestClient, finished: Any) -> None:
    finished.store.events.append(finished.sweep.id, FutureSweepEvent(state="archived"))
    sent = messages(client.get(f"/v1/sweeps/{finished.sweep.id}/events").text)
    assert (sent[-2]["event"], sent[-2]["data"]["state"]) == ("sweep", "archived")
    assert (sent[-1]["event"], sent[-1]["data"]["state"]) == ("end", "completed")


@pytest.mark.parametrize("how", ["header", "query"])
def test_what_the_client_has_is_not_sent_again(client: TestClient, finished: Any, how: str) -> None:
    recorded = finished.store.events.after(0, sweep_id=finished.sweep.id)
    last = str(recorded[-3].id)
    headers, params = ({"last-event-id": last}, {}) if how == "header" else ({}, {"after": last})
    answer = client.get(f"/v1/sweeps/{finished.sweep.id}/events", headers=headers, params=params)
    assert [m.get("id") for m in messages(answer.text)] == [str(e.id) for e in recorded[-2:]] + [None]


def test_other_sweeps_events_are_left_out(client: TestClient, finished: Any, submitted: Any) -> None:
    submitted(name="another")
    answer = client.get(f"/v1/sweeps/{finished.sweep.id}/events")
    assert {m["data"]["sweep_id"] for m in messages(answer.text)} == {finished.sweep.id}


@pytest.mark.parametrize("last", ["-1", "first", "9" * 30])
def test_an_event_number_that_cannot_be_is_refused(client: TestClient, finished: Any, last: str) -> None:
    answer = client.get(f"/v1/sweeps/{finished.sweep.id}/events", headers={"last-event-id": last})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "last-event-id"
