"""A real server and clients that leave, linger, or pretend: none costs the others anything."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from orchestrator.store import Store
from tests.api.servers import serving
from tests.waiting import until

SECONDS = 30.0
LIMIT = 0.5

Open = Callable[..., socket.socket]


@pytest.fixture
def connect() -> Iterator[Open]:
    """Open a raw connection to a server and send some bytes."""
    with ExitStack() as opened:

        def make(server: Any, sent: bytes = b"") -> socket.socket:
            place = urlsplit(server.url)
            made = socket.create_connection((place.hostname, place.port), timeout=SECONDS)
            opened.enter_context(closing(made))
            made.sendall(sent)
            return made

        yield make


@pytest.fixture(scope="module")
def impatient(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that waits ``LIMIT`` seconds for slow clients."""
    home = tmp_path_factory.mktemp("impatient")
    url = f"sqlite:///{shutil.copy(_sqlite_template, home / 'etalon.db')}"
    with serving(url, home, ETALON_CLIENT_SECONDS=str(LIMIT)) as server:
        yield server


def head(method: str, path: str, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def logged(server: Any, route: str) -> list[dict[str, Any]]:
    """The log's lines about requests to a route."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["logger"] == "api.access" and line["route"] == route]


def rest(connection: socket.socket) -> bytes:
    """Everything until the server closes; a reset counts as closed."""
    read = b""
    try:
        while part := connection.recv(2**16):
            read += part
    except ConnectionResetError:
        pass
    return read


def test_listeners_that_leave_while_events_wait_leave_no_traceback(
    serve: Callable[..., Any], submitted: Callable[..., Any], connect: Open, store: Store
) -> None:
    recorded = submitted()
    kept = store.events.after(0)[0].payload
    for _ in range(1_500):
        store.events.append(recorded.sweep.id, kept)
    server = serve()
    route = "/v1/sweeps/{sweep_id}/events"
    asked = head("GET", f"/v1/sweeps/{recorded.sweep.id}/events")
    listeners = [connect(server, asked) for _ in range(40)]
    for listener in listeners:
        assert listener.recv(12) == b"HTTP/1.1 200"
    for listener in listeners:
        listener.close()
    until(lambda: len(logged(server, route)) == 40)
    _, log = server.stop()
    assert "Traceback" not in log


def test_a_stream_ends_with_the_right_to_read(
    serve: Callable[..., Any], submitted: Callable[..., Any], store: Store
) -> None:
    recorded = submitted()
    url = f"{serve().url}/v1/sweeps/{recorded.sweep.id}/events"
    with httpx2.Client(timeout=SECONDS) as client, ExitStack() as streams:

        def listen(**headers: str) -> Iterator[str]:
            lines = streams.enter_context(client.stream("GET", url, headers=headers)).iter_lines()
            assert next(lines).startswith(":")
            return lines

        without = listen()
        gone, secret = store.tokens.create("gone", ["read"])
        _, other = store.tokens.create("kept", ["read"])
        assert not any("event: end" in line for line in without)
        ending, staying = (listen(authorization=f"Bearer {token}") for token in (secret, other))
        store.tokens.revoke(gone.id)
        assert not any("event: end" in line for line in ending)
        store.events.append(recorded.sweep.id, store.events.after(0)[0].payload)
        assert sum(line.startswith("event:") for line, _ in zip(staying, range(8), strict=False)) == 2


def test_a_client_that_leaves_an_upload_is_no_fault_of_the_server(
    serve: Callable[..., Any], connect: Open
) -> None:
    server = serve()
    asked = head("POST", "/v1/tables", Content_Type="text/csv", Content_Length="1000")
    connect(server, asked + b"params,").close()
    until(lambda: logged(server, "/v1/tables"))
    _, log = server.stop()
    assert [line["status"] for line in logged(server, "/v1/tables")] == [499]
    assert "Traceback" not in log


def test_a_connection_that_never_asks_is_closed(impatient: Any, connect: Open) -> None:
    silent = connect(impatient)
    half = connect(impatient, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    begun = time.monotonic()
    assert rest(silent) == rest(half) == b""
    assert time.monotonic() - begun < 10


def test_a_head_that_drips_is_not_waited_for(impatient: Any, connect: Open) -> None:
    slow = connect(impatient, b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    begun = time.monotonic()

    def refused() -> bool:
        try:
            slow.sendall(b"a")
        except OSError:
            return True
        return False

    until(refused)
    assert time.monotonic() - begun < 10


def test_a_body_that_drips_is_refused_with_the_reason(impatient: Any, connect: Open) -> None:
    asked = head("POST", "/v1/tables", Content_Type="text/csv", Content_Length="1000")
    answer = rest(connect(impatient, asked + b"params,")).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert "urn:etalon:problem:too-slow" in answer
    assert "7 bytes" in answer
    assert "Traceback" not in impatient.log.read_text()


def test_an_answer_that_is_not_read_is_given_up(impatient: Any, connect: Open) -> None:
    process = psutil.Process(impatient.process.pid)
    deaf = connect(impatient, 20 * head("GET", "/docs/assets/swagger-ui-bundle.js"))
    port = deaf.getsockname()[1]
    assert deaf.recv(12) == b"HTTP/1.1 200"
    until(lambda: port not in {found.raddr.port for found in process.net_connections() if found.raddr})


def test_a_patient_listener_is_not_taken_for_a_slow_client(
    impatient: Any, submit_to: Callable[..., Any]
) -> None:
    with Store.open(f"sqlite:///{impatient.log.parent / 'etalon.db'}") as store:
        url = f"{impatient.url}/v1/sweeps/{submit_to(store).sweep.id}/events"
        recorded = store.events.after(0)[-1]
        with httpx2.stream("GET", url, timeout=SECONDS) as stream:
            lines = stream.iter_lines()
            next(lines)
            begun = time.monotonic()
            until(lambda: time.monotonic() - begun > 3 * LIMIT)
            store.events.append(recorded.sweep_id, recorded.payload)
            assert sum(line.startswith("event:") for line, _ in zip(lines, range(8), strict=False)) == 2


def test_no_proxy_is_believed_unless_it_is_named(served: tuple[Any, Store]) -> None:
    server, _ = served
    for claimed in ("127.0.0.1", "203.0.113.7"):
        answer = httpx2.get(f"{server.url}/v1/sweeps", headers={"x-forwarded-for": claimed}, timeout=SECONDS)
        assert answer.status_code == 403
        assert "proxy" in answer.json()["detail"]
    assert {line["client"] for line in logged(server, "/v1/sweeps")} == {"127.0.0.1"}


def test_a_proxy_that_is_named_is_believed(serve: Callable[..., Any], store: Store) -> None:
    _, secret = store.tokens.create("me", ["read"])
    server = serve(ETALON_TRUSTED_PROXIES="127.0.0.1")
    claimed = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
    form = httpx2.post(f"{server.url}/login", data={"token": secret}, headers=claimed, timeout=SECONDS)
    assert "Secure" in form.headers["set-cookie"]
    assert [line["client"] for line in logged(server, "/login")] == ["203.0.113.7"]


IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def in_a_namespace(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may mount; skips where user namespaces are not allowed."""
    done = subprocess.run(
        [*IN_A_NAMESPACE, script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    return done


@pytest.mark.parametrize("command", ["-m api --port 0", "-m uvicorn api.app:create_app --factory --port 0"])
def test_a_home_that_is_read_only_is_told_in_one_sentence(tmp_path: Path, command: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = f"mount -t tmpfs -o ro,mode=755 none {home} && exec {shlex.quote(sys.executable)} {command}"
    done = in_a_namespace(script, ETALON_HOME=str(home))
    assert done.returncode == 1
    assert "ETALON_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_is_not_valid_is_told_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "--port", "0"],
        env=os.environ | {"ETALON_HOME": str(tmp_path), "ETALON_LEASE_SECONDS": "soon"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "lease_seconds" in done.stderr
    assert "Traceback" not in done.stderr


FULL = """
from pathlib import Path
from starlette.testclient import TestClient
from api.app import create_app
from orchestrator.settings import Settings
from orchestrator.store import LEADER, Store

home = Path({home!r})
with Store.open(f"sqlite:///{{home / 'etalon.db'}}") as store:
    store.migrate()
    store.leases.acquire(LEADER, "somebody", 600)
    for full in (False, True):
        if full:
            with (home / "ballast").open("wb", buffering=0) as ballast:
                try:
                    while ballast.write(b"0" * 4096):
                        pass
                except OSError:
                    pass
        client = TestClient(create_app(settings=Settings(home=home), store=store), base_url="http://127.0.0.1")
        answer = client.get("/readyz")
        print(answer.status_code, answer.json().get("detail", "ready"))
"""


def test_a_full_disk_is_not_ready(tmp_path: Path) -> None:
    program = tmp_path / "full.py"
    home = tmp_path / "home"
    home.mkdir()
    program.write_text(FULL.format(home=str(home)))
    script = f"mount -t tmpfs -o size=64m none {home} && exec {shlex.quote(sys.executable)} {program}"
    done = in_a_namespace(script, PYTHONPATH=str(Path(__file__).parents[2]))
    first, second = done.stdout.splitlines()
    assert first == "200 ready"
    assert re.match(r"503 .*disk of the database cannot be written \(No space left on device\)", second)
    assert str(home) not in second
