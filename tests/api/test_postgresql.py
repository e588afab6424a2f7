"""The same answers on PostgreSQL, which is stricter about what it stores than SQLite is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.settings import Settings
from orchestrator.states import SweepState
from orchestrator.store import Store
from orchestrator.tables.formats import read_table


def test_a_sweep_from_submission_to_export(
    postgresql_url: str, tmp_path: Path, fields: dict[str, Any], train_all: Callable[..., Any]
) -> None:
    with Store.open(postgresql_url) as store:
        app = create_app(settings=Settings(home=tmp_path), store=store)
        with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
            sweep = client.post("/v1/sweeps", json=fields, headers={"idempotency-key": "k"}).json()
            train_all(store, store.sweeps.get(sweep["id"])).move(SweepState.COMPLETED)
            url = f"/v1/sweeps/{sweep['id']}"
            assert client.post("/v1/sweeps", json=fields, headers={"idempotency-key": "k"}).status_code == 200
            assert client.get(url).json()["prediction"]["learning_rate"] > 0
            assert client.get(f"{url}/runs", params={"limit": "1"}).json()["total"] == 36
            assert len(read_table(client.get(f"{url}/runs.csv").content)) == 35
            assert client.get(f"{url}/events").text.count("event: run") == 35
            assert client.get("/v1/sweeps/%00").status_code == 404
            assert client.get("/v1/sweeps?cursor=%00").status_code == 422
            assert client.post("/v1/sweeps", json=fields | {"name": "a\x00"}).status_code == 422
            assert 'etalon_sweeps{state="completed"} 1.0' in client.get("/metrics").text
