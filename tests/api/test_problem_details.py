"""Every error is problem details, and none shows internals."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.problem_details import KINDS, STATUSES
from orchestrator import errors
from orchestrator.store import Store


def test_every_error_of_the_house_has_a_status() -> None:
    classes = set(errors.EtalonError.__subclasses__())
    own = {kind for kind in classes if kind.__module__ in {"orchestrator.errors", "api.problem_details"}}
    assert own <= set(STATUSES)
    assert set(STATUSES) == set(KINDS)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/sweeps", 404),
        ("DELETE", "/v1/sweeps", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/tables", 405),
    ],
)
def test_addresses_that_are_not_there(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, follow_redirects=False)
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == path
    if status == 405:
        assert answer.headers["allow"]
        assert method in problem["detail"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/sweeps", {"GET", "POST"}),
        ("/v1/sweeps/x", {"GET", "PATCH"}),
        ("/v1/tables", {"POST"}),
        ("/openapi.json", {"GET", "HEAD"}),
        ("/login", {"GET", "POST"}),
    ],
)
def test_a_refused_method_names_all_that_are_taken(client: TestClient, path: str, allowed: set[str]) -> None:
    for headers in ({}, BROWSER):
        answer = client.request("DELETE", path, headers=headers)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == allowed


BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nosuch", 404), ("POST", "/submit", 405)])
def test_a_browser_gets_a_page_where_nothing_is(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, headers=BROWSER)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert path in answer.text
    assert 'href="/"' in answer.text
    assert ("allow" in answer.headers) == (status == 405)


def test_an_address_in_a_page_is_escaped(client: TestClient) -> None:
    answer = client.get("/<img src=x>", headers=BROWSER)
    assert answer.status_code == 404
    assert "<img src=x>" not in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/nosuch", {}), ("/nosuch", {"accept": "application/json"}), ("/v1/nosuch", BROWSER), ("/v1", BROWSER)],
)
def test_programs_and_the_api_get_problem_details(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_crash_reports_the_request_and_nothing_else(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    @app.get("/crash")
    def crash() -> None:
        raise RuntimeError("secret inside")

    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.get("/crash", headers={"x-request-id": "r-17"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "r-17"
    assert "secret inside" not in answer.text
    assert "secret inside" in caplog.text


def test_a_database_that_is_gone_is_unavailable(client: TestClient, store: Store, monkeypatch: Any) -> None:
    def gone(**_query: Any) -> None:
        raise errors.Unavailable("The database did not answer.")

    monkeypatch.setattr(store.sweeps, "page", gone)
    answer = client.get("/v1/sweeps")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:etalon:problem:unavailable"


def test_a_request_id_that_is_not_one_is_replaced(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"x-request-id": "a b<script>"})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


def test_every_answer_forbids_browsers_to_run_foreign_scripts(client: TestClient) -> None:
    for path in ("/healthz", "/docs", "/nowhere", "/v1/sweeps"):
        headers = client.get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


def test_no_other_site_may_read_answers(client: TestClient) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = client.options("/v1/sweeps", headers=asked)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def test_requests_are_logged_with_route_status_and_time(
    client: TestClient, submitted: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    sweep_id = submitted().sweep.id
    with caplog.at_level("INFO", logger="api.access"):
        client.get(f"/v1/sweeps/{sweep_id}", headers={"x-request-id": "r-18"})
    (record,) = (vars(entry) for entry in caplog.records if entry.name == "api.access")
    assert record["route"] == "/v1/sweeps/{sweep_id}"
    assert record["path"] == f"/v1/sweeps/{sweep_id}"
    assert (record["request_id"], record["status"], record["client"]) == ("r-18", 200, "127.0.0.1")
    assert record["seconds"] > 0
