"""The operator's endpoints: health, readiness, metrics."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.health import KEPT_SECONDS, Check, RayPort
from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.states import SweepState
from orchestrator.store import LEADER, Store

Make = Callable[..., TestClient]


@pytest.fixture
def with_ray(store: Store, tmp_path: Path) -> Callable[[str | None], TestClient]:
    def make(address: str | None) -> TestClient:
        app = create_app(settings=Settings(home=tmp_path, ray_address=address), store=store)
        return TestClient(app, base_url="http://127.0.0.1")

    return make


def missing(answer: Any) -> list[str]:
    assert answer.status_code == 503
    return [error["path"] for error in answer.json()["errors"]]


def test_the_process_lives_whatever_else_does_not(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_without_a_leader_it_is_not_ready(client: TestClient) -> None:
    assert missing(client.get("/readyz")) == ["leader", "ray"]


def test_with_a_leader_and_its_own_ray_it_is_ready(client: TestClient, store: Store) -> None:
    store.leases.acquire(LEADER, "somebody", 60)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert set(answer.json()["checks"]) == {"database", "disk", "leader", "ray"}


def test_a_leader_whose_lease_ran_out_is_missing(client: TestClient, store: Store) -> None:
    lease = store.leases.acquire(LEADER, "somebody", 60)
    assert lease is not None
    store.leases.release(lease)
    assert "leader" in missing(client.get("/readyz"))


def test_a_database_without_tables_is_not_ready(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'empty.db'}") as empty:
        app = create_app(settings=Settings(home=tmp_path), store=empty)
        assert missing(TestClient(app, base_url="http://127.0.0.1").get("/readyz")) == ["database"]


def test_a_database_of_another_version_is_refused_at_the_start(url_of_another_version: str) -> None:
    with pytest.raises(BadInput, match="revision '0002'"):
        create_app(settings=Settings(database_url=url_of_another_version))


def test_ray_is_asked_at_its_address(store: Store, with_ray: Callable[[str | None], TestClient]) -> None:
    store.leases.acquire(LEADER, "somebody", 60)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert with_ray(address).get("/readyz").status_code == 200
    assert missing(with_ray(address).get("/readyz")) == ["ray"]
    assert missing(with_ray("auto").get("/readyz")) == ["ray"]


def test_ray_is_tried_once_however_many_ask() -> None:
    now = 0.0
    fine = Check(part="leader", ok=True, found="holds its lease")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ray = RayPort(f"127.0.0.1:{listening.getsockname()[1]}", clock=lambda: now)
        assert ray.check(fine).ok
    assert ray.check(fine).ok
    now = KEPT_SECONDS
    assert not ray.check(fine).ok


def test_metrics_count_sweeps_runs_and_requests(client: TestClient, trained: Any) -> None:
    client.get(f"/v1/sweeps/{trained.sweep.id}")
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'etalon_sweeps{state="running"} 1.0' in text
    assert 'etalon_live_runs{state="completed"} 29.0' in text
    route = 'method="GET",route="/v1/sweeps/{sweep_id}",status="200"'
    assert f"etalon_http_request_seconds_count{{{route}}} 1.0" in text
    assert 'route="unmatched",status="404"' in text


def test_methods_that_a_client_invents_are_counted_together(client: TestClient) -> None:
    for method in ("BREW", "WHEN"):
        assert client.request(method, "/healthz").status_code == 405
    text = client.get("/metrics").text
    assert 'method="other",route="/healthz",status="405"} 2.0' in text
    assert "BREW" not in text


def test_counts_are_not_asked_for_at_every_scrape(
    client: TestClient, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/metrics")
    trained.move(SweepState.PAUSED)
    monkeypatch.delattr(trained.store.sweeps, "_database")
    assert 'etalon_sweeps{state="running"} 1.0' in client.get("/metrics").text
