"""A real server process: live events, a shutdown that nothing holds up, bodies that are too large."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from orchestrator.states import SweepState
from orchestrator.store import Store

SECONDS = 30.0


class Stream:
    """An open event stream, read as it comes."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()

    def message(self) -> dict[str, Any]:
        """The next message; empty when the stream has ended."""
        fields: dict[str, Any] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return fields | {"data": json.loads(fields["data"])}
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        return {}

    def rest(self) -> list[dict[str, Any]]:
        """Everything until the stream ends."""
        return list(iter(self.message, {}))


@pytest.fixture
def watch() -> Iterator[Callable[..., Any]]:
    with httpx2.Client(timeout=SECONDS) as client:

        def follow(url: str, **headers: str) -> Any:
            return client.stream("GET", url, headers=headers)

        yield follow


def test_events_arrive_live_and_are_replayed_after_a_break(
    served: tuple[Any, Store], submit_to: Callable[..., Any], watch: Callable[..., Any]
) -> None:
    server, store = served
    recorded = submit_to(store)
    url = f"{server.url}/v1/sweeps/{recorded.sweep.id}/events"
    with watch(url) as response:
        stream = Stream(response)
        assert stream.message()["data"]["state"] == "queued"
        recorded.move(SweepState.RUNNING)
        live = stream.message()
        assert live["data"]["state"] == "running"
    recorded.ask(recorded.sweep.id, (0, 0.002), (1, 0.002))
    recorded.train()
    recorded.move(SweepState.COMPLETED)
    with watch(url, **{"Last-Event-ID": live["id"]}) as response:
        missed = Stream(response).rest()
    assert [m["event"] for m in missed] == ["batch", "progress", "run", "run", "sweep", "end"]


def test_a_live_stream_ends_soon_after_its_sweep(
    served: tuple[Any, Store], submit_to: Callable[..., Any], watch: Callable[..., Any]
) -> None:
    server, store = served
    recorded = submit_to(store)
    with watch(f"{server.url}/v1/sweeps/{recorded.sweep.id}/events") as response:
        stream = Stream(response)
        stream.message()
        recorded.move(SweepState.CANCELLED)
        assert [m["event"] for m in stream.rest()] == ["sweep", "end"]


def test_open_streams_do_not_hold_up_a_shutdown(
    serve: Callable[[], Any], submitted: Callable[..., Any], watch: Callable[..., Any]
) -> None:
    server = serve()
    with watch(f"{server.url}/v1/sweeps/{submitted().sweep.id}/events") as response:
        stream = Stream(response)
        stream.message()
        begun = time.monotonic()
        ending = threading.Thread(target=stream.rest)
        ending.start()
        _, log = server.stop()
        ending.join(SECONDS)
    assert time.monotonic() - begun < 5
    assert "Traceback" not in log


def test_the_log_of_a_server_is_json(serve: Callable[[], Any]) -> None:
    server = serve()
    httpx2.get(f"{server.url}/healthz", timeout=SECONDS)
    _, log = server.stop()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["route"] for line in lines if line["logger"] == "api.access"] == ["/healthz"]


def test_two_hundred_megabytes_are_refused_before_they_are_read(served: tuple[Any, Store]) -> None:
    place = urlsplit(served[0].url)
    connection = http.client.HTTPConnection(place.netloc, timeout=SECONDS)
    connection.putrequest("POST", "/v1/tables")
    connection.putheader("Content-Type", "text/csv")
    connection.putheader("Content-Length", "200000000")
    connection.endheaders(b"params,tokens")
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.load(answer)["title"] == "The body is too large"
    connection.close()


def test_a_client_that_sends_two_hundred_megabytes_gets_its_answer(
    served: tuple[Any, Store], tmp_path: Path
) -> None:
    server, _ = served
    big = tmp_path / "big.csv"
    with big.open("wb") as file:
        file.truncate(200_000_000)
    headers = {"content-type": "text/csv"}
    for content in (big.read_bytes(), (b"\0" * 2**20 for _ in range(200))):
        begun = time.monotonic()
        answer = httpx2.post(f"{server.url}/v1/tables", content=content, headers=headers, timeout=SECONDS)
        assert answer.status_code == 413
        assert time.monotonic() - begun < 5
    assert httpx2.get(f"{server.url}/healthz", timeout=SECONDS).status_code == 200
