"""Access: scopes, cookies, and loopback where no token was ever made."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.access import COOKIE, WATCH_SECONDS, Caller, TokenWatch
from orchestrator.store import Store

READS = [
    "/v1/sweeps",
    "/v1/sweeps/{sweep}",
    "/v1/sweeps/{sweep}/runs",
    "/v1/sweeps/{sweep}/runs.csv",
    "/v1/sweeps/{sweep}/laws",
    "/v1/sweeps/{sweep}/laws/1",
    "/v1/sweeps/{sweep}/prediction?params=1e6&tokens=8e5",
    "/v1/sweeps/{sweep}/events",
    "/v1/sweeps/{sweep}/figures/law",
    "/v1/runs/{run}",
    "/v1/runs/{run}/losses",
    "/v1/runs/{run}/lenses",
    "/metrics",
]
CHANGES = [
    ("POST", "/v1/tables"),
    ("POST", "/v1/sweeps"),
    ("POST", "/v1/sweeps?validate_only=true"),
    ("POST", "/v1/sweeps/{sweep}/pause"),
    ("POST", "/v1/sweeps/{sweep}/resume"),
    ("POST", "/v1/sweeps/{sweep}/stop"),
    ("POST", "/v1/sweeps/{sweep}/cancel"),
    ("PATCH", "/v1/sweeps/{sweep}"),
    ("POST", "/v1/runs/{run}/retry"),
    ("POST", "/v1/runs/{run}/exclude"),
]
OPEN = ["/healthz", "/docs", "/docs/start.js", "/openapi.json"]
Reach = Callable[..., TestClient]


@pytest.fixture
def place(trained: Any) -> Callable[[str], str]:
    """Fill a path with a finished sweep and one of its runs."""
    trained.store.sweeps.move(trained.sweep.id, "completed")
    run = trained.store.runs.of_sweep(trained.sweep.id)[3].id
    return lambda path: path.format(sweep=trained.sweep.id, run=run)


@pytest.fixture
def token(store: Store) -> Callable[[str], str]:
    """Make a token with a scope; the service is no longer open then."""
    return lambda scope: store.tokens.create(f"a {scope} token", [scope])[1]


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_reading_needs_a_token_of_any_scope(
    reach: Reach, token: Callable[[str], str], place: Callable[[str], str]
) -> None:
    client = reach(address="203.0.113.7", host="etalon.example")
    secrets = [token(scope) for scope in ("read", "submit", "admin")]
    for path in READS:
        missing = client.get(place(path))
        assert missing.status_code == 401, path
        assert missing.headers["www-authenticate"].startswith("Bearer")
        assert missing.json()["type"] == "urn:etalon:problem:not-signed-in"
        for secret in secrets:
            assert client.get(place(path), headers=bearer(secret)).status_code == 200, path


def test_who_is_not_let_in_learns_nothing_of_the_queries_that_there_are(
    reach: Reach, token: Callable[[str], str], place: Callable[[str], str]
) -> None:
    secret = token("submit")
    client = reach(address="203.0.113.7", host="etalon.example")
    asked = [("GET", path) for path in READS if path.startswith("/v1")] + CHANGES
    for method, path in asked:
        misspelt = f"{place(path)}{'&' if '?' in path else '?'}verbos=1"
        assert client.request(method, misspelt).status_code == 401, path
        assert client.request(method, misspelt, headers=bearer(secret)).status_code == 422, path


@pytest.mark.parametrize("shown", ["Bearer {}x", "Bearer ", "Basic {}", "{}"])
def test_a_wrong_token_is_refused(reach: Reach, token: Callable[[str], str], shown: str) -> None:
    answer = reach().get("/v1/sweeps", headers={"authorization": shown.format(token("admin"))})
    assert answer.status_code == 401


def test_changing_needs_the_submit_scope(
    reach: Reach, token: Callable[[str], str], place: Callable[[str], str]
) -> None:
    client = reach(address="203.0.113.7", host="etalon.example")
    reader, submitter, admin = (token(scope) for scope in ("read", "submit", "admin"))
    for method, path in CHANGES:
        assert client.request(method, place(path)).status_code == 401, path
        refused = client.request(method, place(path), headers=bearer(reader))
        assert refused.status_code == 403, path
        assert "submit" in refused.json()["detail"]
        for secret in (submitter, admin):
            answer = client.request(method, place(path), headers=bearer(secret))
            assert answer.status_code not in {401, 403}, path


@pytest.mark.parametrize("path", OPEN)
def test_the_description_and_the_heartbeat_are_open(
    reach: Reach, token: Callable[[str], str], path: str
) -> None:
    token("read")
    assert reach(address="203.0.113.7", host="etalon.example").get(path).status_code == 200


def test_a_token_without_a_scope_may_nothing(reach: Reach, store: Store) -> None:
    _, secret = store.tokens.create("nobody", [])
    answer = reach().get("/v1/sweeps", headers=bearer(secret))
    assert answer.status_code == 403


def test_revoking_the_last_token_does_not_open_the_service(reach: Reach, store: Store) -> None:
    made, secret = store.tokens.create("gone", ["admin"])
    store.tokens.revoke(made.id)
    client = reach()
    assert client.get("/v1/sweeps").status_code == 401
    assert client.get("/v1/sweeps", headers=bearer(secret)).status_code == 401


def test_the_submitter_and_the_actor_are_recorded(
    reach: Reach, store: Store, token: Callable[[str], str], fields: dict[str, Any]
) -> None:
    client = reach(authorization=f"Bearer {token('submit')}")
    sweep = client.post("/v1/sweeps", json=fields).json()
    client.post(f"/v1/sweeps/{sweep['id']}/cancel")
    assert sweep["submitted_by"] == "a submit token"
    assert [event.data["actor"] for event in store.events.after(0)] == ["a submit token"] * 2


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8765", "[::1]:8765"])
def test_without_tokens_this_machine_is_served(reach: Reach, address: str, host: str) -> None:
    assert reach(address, host).get("/v1/sweeps").status_code == 200


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.1", "testclient", "::2", ""])
def test_without_tokens_no_other_machine_is_served(reach: Reach, address: str) -> None:
    answer = reach(address).get("/v1/sweeps")
    assert answer.status_code == 403
    assert "etalon token create" in answer.json()["detail"]


def test_without_tokens_a_foreign_name_for_this_machine_is_refused(reach: Reach) -> None:
    assert reach(host="rebound.example").get("/v1/sweeps").status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_without_tokens_a_page_of_another_site_changes_nothing(
    reach: Reach, store: Store, fields: dict[str, Any], origin: str
) -> None:
    client = reach()
    assert client.post("/v1/sweeps", json=fields, headers={"origin": origin}).status_code == 403
    assert store.sweeps.page()[2] == 0
    own = client.post("/v1/sweeps", json=fields, headers={"origin": "http://127.0.0.1"})
    assert own.status_code == 201


OTHER_PAGES = [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]


@pytest.mark.parametrize("headers", OTHER_PAGES)
def test_what_a_browser_says_of_another_site_is_believed(
    reach: Reach, store: Store, fields: dict[str, Any], headers: dict[str, str]
) -> None:
    client = reach()
    assert client.post("/v1/sweeps", json=fields, headers=headers).status_code == 403
    assert client.post("/login", data={"token": "x"}, headers=headers).status_code == 403
    assert client.get("/v1/sweeps", headers=headers | {"sec-fetch-mode": "no-cors"}).status_code == 403
    assert store.sweeps.page()[2] == 0
    link = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers=headers | link).status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_this_services_own_pages_are_served(reach: Reach, fields: dict[str, Any], site: str) -> None:
    answer = reach().post("/v1/sweeps", json=fields, headers={"sec-fetch-site": site})
    assert answer.status_code == 201


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
def test_without_tokens_nothing_is_served_through_a_proxy(reach: Reach, header: str) -> None:
    refused = reach().get("/v1/sweeps", headers={header: "127.0.0.1"})
    assert refused.status_code == 403
    assert "etalon token create" in refused.json()["detail"]


@pytest.mark.parametrize("header", ["host", "origin"])
@pytest.mark.parametrize("value", ["[", "http://[", "[::1", "a]b", "\xff", "re_bound.example"])
def test_names_that_are_none_are_refused(
    reach: Reach, fields: dict[str, Any], header: str, value: str
) -> None:
    refused = reach().post("/v1/sweeps", json=fields, headers={header: value.encode("latin-1")})
    assert refused.status_code == 403


def sign_in(client: TestClient, secret: str, **form: str) -> Any:
    return client.post("/login", data={"token": secret, **form}, follow_redirects=False)


def test_signing_in_sets_a_cookie_that_reads_and_submits(
    reach: Reach, token: Callable[[str], str], fields: dict[str, Any]
) -> None:
    client = reach(host="etalon.example", address="203.0.113.7")
    answer = sign_in(client, token("submit"), next="/sweeps/abc?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sweeps/abc?x=1")
    cookie = answer.headers["set-cookie"]
    for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert "Secure" not in cookie
    assert client.get("/v1/sweeps").status_code == 200
    own = client.post("/v1/sweeps", json=fields, headers={"origin": "http://etalon.example"})
    assert own.status_code == 201


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {}])
def test_a_cookie_changes_nothing_for_a_page_of_another_site(
    reach: Reach, store: Store, token: Callable[[str], str], fields: dict[str, Any], headers: dict[str, str]
) -> None:
    client = reach()
    sign_in(client, token("admin"))
    answer = client.post("/v1/sweeps", json=fields, headers=headers)
    assert answer.status_code == 403
    assert store.sweeps.page()[2] == 0


def test_the_cookie_is_secure_where_the_connection_is(app: Any, token: Callable[[str], str]) -> None:
    with TestClient(app, base_url="https://etalon.example") as client:
        assert "Secure" in sign_in(client, token("read")).headers["set-cookie"]


def test_a_wrong_token_leads_back_without_a_cookie(reach: Reach, token: Callable[[str], str]) -> None:
    token("read")
    answer = sign_in(reach(), "guess", next="/sweeps/abc")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?refused=1&next=%2Fsweeps%2Fabc"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nb", ""],
)
def test_signing_in_leads_nowhere_else(reach: Reach, token: Callable[[str], str], elsewhere: str) -> None:
    assert sign_in(reach(), token("read"), next=elsewhere).headers["location"] == "/"


def test_another_site_cannot_sign_a_browser_in_or_out(reach: Reach, token: Callable[[str], str]) -> None:
    client, evil = reach(), {"origin": "https://evil.example"}
    answer = client.post("/login", data={"token": token("read")}, headers=evil)
    assert answer.status_code == 403
    assert client.post("/logout", headers=evil).status_code == 403


def test_signing_out_forgets_the_cookie(reach: Reach, token: Callable[[str], str]) -> None:
    client = reach()
    sign_in(client, token("read"))
    assert client.get("/v1/sweeps").status_code == 200
    answer = client.post("/logout", headers={"origin": "http://127.0.0.1"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert client.get("/v1/sweeps").status_code == 401


def test_tokens_are_looked_up_once_a_second_however_many_listen(store: Store) -> None:
    now = 0.0
    watch = TokenWatch(store, clock=lambda: now)

    async def holds(token_id: str | None) -> bool:
        return await watch.holds(Caller(name=None, scopes=frozenset(), token_id=token_id))

    async def told() -> None:
        nonlocal now
        assert await holds(None)
        token, _ = store.tokens.create("new", ["read"])
        assert await holds(None)
        assert await holds(token.id)
        store.tokens.revoke(token.id)
        assert await holds(token.id)
        now += WATCH_SECONDS
        assert not await holds(token.id)
        assert not await holds(None)

    with ThreadPoolExecutor(1) as thread:  # a browser's tests leave a running loop in this one
        thread.submit(asyncio.run, told()).result()
