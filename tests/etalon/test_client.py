"""The client against a service of another version: unknown fields are kept, unreadable documents are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from etalon import event_stream
from etalon.client import Client, SweepLaws, SweepRuns
from etalon.event_stream import EventStream
from etalon.operations import PREDICTION
from etalon.service_address import ServiceAddress, ServiceError, UnreadableAnswer
from orchestrator.answers.sweeps import sweep_document, sweep_summaries
from orchestrator.errors import BadInput, Conflict, EtalonError, NotFound, Refused, Unavailable
from orchestrator.states import SweepState
from orchestrator.store import Store
from orchestrator.store.records import Sweep


def problem_of(kind: str) -> dict[str, Any]:
    """Problem details with one field at fault."""
    errors = [{"path": "target", "message": "far"}]
    type_ = f"urn:etalon:problem:{kind}"
    return {"type": type_, "title": "Refused", "detail": "Refused, for a reason.", "errors": errors}


REFUSALS = {False: (404, problem_of("not-found")), True: (409, problem_of("unsupported"))}


class FakeService:
    """Answers each path with fixed JSON, or with ``refusal``: by default 404, or 409 for a prediction.

    Each status of ``gateway`` is the answer of one request before; ``sent`` is that of any other, as it is.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.gateway: list[int] = []
        self.sent: tuple[dict[str, str], bytes] | None = None
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = service.answers.get(self.path.partition("?")[0])
                status, problem = service.refusal or REFUSALS["/prediction" in self.path]
                status = status if answer is None and service.sent is None else 200
                self.send_response(service.gateway.pop() if service.gateway else status)
                headers, body = service.sent or (
                    {},
                    json.dumps(problem if answer is None else answer).encode(),
                )
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[FakeService]:
    service = FakeService()
    yield service
    service.close()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.url, token="") as client:
        yield client


def of_a_newer_version(answer: Any) -> Any:
    """The same answer with a further field in every object that is not a map from names to numbers."""
    if isinstance(answer, list):
        return [of_a_newer_version(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    more = {} if all(isinstance(value, int | float) for value in answer.values()) else {"novel": {"a": [1]}}
    return {name: of_a_newer_version(value) for name, value in answer.items()} | more


def test_fields_that_this_version_does_not_know_are_ignored_and_kept_for_programs(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    document = sweep_document(*compared)
    sent = of_a_newer_version(document.to_json())
    service.answers[f"/v1/sweeps/{document.id}"] = sent

    read = client.sweeps.get(document.id).document

    assert read.model_dump() == document.model_dump()
    assert read.to_json() == sent
    assert sent["spec"]["novel"]


def test_a_list_holds_documents_with_their_own_json(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    (summary,) = sweep_summaries(compared[0], [compared[1]])
    sent = of_a_newer_version(summary.to_json())
    service.answers["/v1/sweeps"] = {"items": [sent], "next_cursor": None, "total": 1}

    (read,) = client.sweeps.list()

    assert read.id == summary.id
    assert read.to_json() == sent


def test_a_document_of_another_shape_is_refused_with_the_field(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    document = sweep_document(*compared)
    service.answers[f"/v1/sweeps/{document.id}"] = document.to_json() | {"state": "dreaming"}

    with pytest.raises(UnreadableAnswer, match=r"state: .*Use the version of Etalon that the service runs"):
        client.sweeps.get(document.id)


def test_following_ends_with_the_final_state(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    document = sweep_document(*compared).model_copy(update={"state": SweepState.COMPLETED})
    service.answers[f"/v1/sweeps/{document.id}"] = document.to_json()

    sweep = client.sweeps.get(document.id)

    assert [state.state for state in sweep.follow()] == [SweepState.COMPLETED]
    assert sweep.wait(timeout=0).state is SweepState.COMPLETED


def test_a_refusal_is_the_error_of_its_kind_with_the_fields_at_fault(client: Client) -> None:
    with pytest.raises(NotFound, match="Refused, for a reason") as missing:
        client.sweeps.get("0" * 32)
    with pytest.raises(Refused):
        client.ask(PREDICTION.call(sweep_id="0" * 32))

    assert [field.path for field in missing.value.fields] == ["target"]
    assert missing.value.problem is not None
    assert missing.value.problem["title"] == "Refused"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (409, {"type": "urn:etalon:problem:conflict"}, Conflict),
        (409, {"type": "urn:etalon:problem:unsupported"}, Refused),
        (503, {"type": "urn:etalon:problem:unavailable"}, Unavailable),
        (413, {"type": "urn:etalon:problem:too-large"}, BadInput),
        (404, {"type": "about:blank"}, NotFound),
        (401, {"type": "urn:etalon:problem:not-signed-in"}, ServiceError),
    ],
)
def test_the_type_of_a_problem_says_which_error_it_is_and_else_its_status(
    service: FakeService, client: Client, status: int, body: dict[str, str], kind: type[EtalonError]
) -> None:
    service.refusal = (status, {"title": "Refused", "detail": "Refused, for a reason.", **body})
    with pytest.raises(EtalonError, match="Refused, for a reason") as refused:
        client.ask(PREDICTION.call(sweep_id="0" * 32))
    assert type(refused.value) is kind


def test_an_answer_that_is_no_problem_is_an_error_of_its_status(service: FakeService, client: Client) -> None:
    service.refusal = (502, {"message": "bad gateway"})
    with pytest.raises(ServiceError, match="The service answered 502") as refused:
        client.sweeps.get("0" * 32)
    assert refused.value.problem is None


def test_a_harmless_request_is_sent_again_to_a_service_that_is_about_to_be_back(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    document = sweep_document(*compared)
    service.answers[f"/v1/sweeps/{document.id}"] = document.to_json()
    service.gateway = [502, 503, 504]

    assert client.sweeps.get(document.id).id == document.id
    assert service.gateway == []


def test_waiting_for_a_service_that_has_gone_ends_with_its_time(
    service: FakeService, client: Client, compared: tuple[Store, Sweep]
) -> None:
    document = sweep_document(*compared).model_copy(update={"state": SweepState.RUNNING})
    service.answers[f"/v1/sweeps/{document.id}"] = document.to_json()
    sweep = client.sweeps.get(document.id)
    service.close()

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        sweep.wait(timeout=0.3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("sent", [({}, b"no JSON"), ({"Content-Encoding": "gzip"}, b"no gzip")])
def test_an_answer_that_cannot_be_decoded_is_refused(
    service: FakeService, client: Client, sent: tuple[dict[str, str], bytes]
) -> None:
    service.sent = sent
    with pytest.raises(UnreadableAnswer, match="is not an Etalon service"):
        client.sweeps.get("0" * 32)


@pytest.mark.parametrize("data", ["{}", '{"at": "noon"}', "no JSON", "[]"])
def test_an_event_of_another_shape_is_refused(service: FakeService, client: Client, data: str) -> None:
    service.sent = ({"Content-Type": "text/event-stream"}, f"event: run\nid: 1\ndata: {data}\n\n".encode())
    with pytest.raises(UnreadableAnswer, match="is not an Etalon service"):
        list(client.events("0" * 32))


def test_a_stream_that_always_ends_without_a_byte_is_given_up(
    service: FakeService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(event_stream, "PAUSE_SECONDS", 0.05)
    service.sent = ({"Content-Type": "text/event-stream"}, b"")
    with pytest.raises(Unavailable, match="without a byte"):
        list(client.events("0" * 32))


def test_a_connection_that_brought_comments_alone_renews_the_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(event_stream, "time", clock)
    stream = EventStream(ServiceAddress(url="http://here", token=None), "0" * 32, 0)
    broken = httpx2.ReadError("broken")
    stream.broken(broken)
    comments = httpx2.Response(
        200, headers={"Content-Type": "text/event-stream"}, stream=httpx2.ByteStream(b": here\n\n")
    )
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: comments))
    with http, http.sse("http://here") as source:
        stream.check(source.response)
        assert list(source) == []

    clock.now = 300.0
    assert stream.broken(broken) == event_stream.PAUSE_SECONDS
    clock.now = 400.0
    with pytest.raises(Unavailable):
        stream.broken(broken)


@pytest.mark.parametrize("wrong", [float("inf"), {1, 2}, "\ud800"])
def test_fields_that_are_not_json_are_refused(client: Client, wrong: object) -> None:
    with pytest.raises(BadInput, match="must be JSON"):
        client.sweeps.submit({"name": wrong})


@pytest.mark.parametrize("token", ["tök", "a\nb"])
def test_a_token_that_no_header_can_hold_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETALON_TOKEN", token)
    with pytest.raises(BadInput, match="ETALON_TOKEN"):
        Client()


@pytest.mark.parametrize("part", [SweepRuns, SweepLaws])
def test_whether_a_sweep_has_runs_is_no_hidden_request(part: type[SweepRuns | SweepLaws]) -> None:
    with Client("http://127.0.0.1:9", token="") as client:
        assert part(client, "0" * 32)
