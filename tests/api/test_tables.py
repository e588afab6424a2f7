"""Run tables over REST: kept byte for byte, diverged rows included."""

import math
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from orchestrator.store import Store
from orchestrator.tables.formats import read_table

CSV = {"content-type": "text/csv; charset=utf-8"}
TEXT = """params,tokens,batch_tokens,learning_rate,loss,optimizer,state
1e6,1e8,65536,0.001,3.2,adamw,completed
1e6,1e8,65536,0.01,,adamw,completed
1e6,1e8,65536,0.1,2.5,muon,crashed
"""


def test_an_uploaded_table_is_kept_as_it_was(client: TestClient, store: Store) -> None:
    answer = client.post("/v1/tables", content=TEXT, headers=CSV)
    assert answer.status_code == 201
    table = answer.json()
    assert (table["rows"], table["cells"]) == (3, 1)
    assert (table["diverged"], table["failed"]) == (1, 1)
    assert table["recipes"] == {"optimizer": ["adamw", "muon"]}
    assert store.tables.get(table["id"]).data == TEXT.encode()


def test_rows_of_runs_that_have_not_ended_are_counted(client: TestClient) -> None:
    text = TEXT + "1e6,1e8,65536,0.2,2.5,adamw,RUNNING\n1e6,1e8,65536,0.2,,adamw,pruned\n"
    table = client.post("/v1/tables", content=text, headers=CSV).json()
    assert (table["rows"], table["left_out"]) == (3, {"running": 1, "pruned": 1})

    sweep = {
        "name": "again",
        "trainer": {"kind": "replay", "table": table["id"], "where": {"optimizer": "adamw"}},
    }
    (notice,) = client.post("/v1/sweeps?validate_only=true", json=sweep).json()["notices"]
    assert notice["code"] == "rows_left_out"


def test_the_same_table_again_is_the_same_table(client: TestClient) -> None:
    first = client.post("/v1/tables", content=TEXT, headers=CSV).json()
    assert client.post("/v1/tables", content=TEXT, headers=CSV).json() == first
    assert client.post("/v1/tables", content=TEXT + "\n", headers=CSV).json()["id"] != first["id"]


def test_a_replay_of_a_mixed_table_asks_for_one_recipe(client: TestClient, store: Store) -> None:
    table = client.post("/v1/tables", content=TEXT, headers=CSV).json()
    sweep = {"name": "again", "trainer": {"kind": "replay", "table": table["id"]}}
    refused = client.post("/v1/sweeps", json=sweep)
    assert refused.status_code == 422
    assert "adamw, muon" in refused.json()["detail"]
    sweep["trainer"]["where"] = {"optimizer": "adamw"}  # type: ignore[index]
    assert client.post("/v1/sweeps", json=sweep).status_code == 201
    assert store.sweeps.page()[2] == 1


def test_where_takes_a_number_of_a_sweep_in_yaml(client: TestClient) -> None:
    header, *rows = TEXT.splitlines()
    seeded = "\n".join([header + ",seed", *(f"{row},{seed}" for seed, row in enumerate(rows))])
    table = client.post("/v1/tables", content=seeded, headers=CSV).json()
    sweep = (
        f"name: again\ntrainer: {{kind: replay, table: {table['id']}, where: {{seed: 1, optimizer: adamw}}}}"
    )

    answer = client.post("/v1/sweeps", content=sweep, headers={"content-type": "application/yaml"})

    assert answer.status_code == 201, answer.json()


def test_recorded_tables_are_imported_whole(client: TestClient, store: Store, recorded_runs: Path) -> None:
    data = (recorded_runs / "optimizer_sweep.csv").read_bytes()
    table = client.post("/v1/tables", content=data, headers=CSV).json()
    kept = read_table(store.tables.get(table["id"]).data)
    assert table["rows"] == len(kept) == len(data.splitlines()) - 1
    assert table["diverged"] == int(np.isnan(kept.loss).sum()) > 0
    assert len(table["recipes"]["optimizer"]) == 12
    assert not math.isnan(np.nanmin(kept.loss))
