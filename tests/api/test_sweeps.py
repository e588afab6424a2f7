"""Sweeps over REST: submitted once, listed in pages, moved from state to state."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from orchestrator.allocation import Cluster
from orchestrator.states import SweepState
from orchestrator.store import Store
from orchestrator.submission.capacity import workers_event


def test_a_submitted_sweep_is_queued_and_has_an_address(client: TestClient, fields: dict[str, Any]) -> None:
    answer = client.post("/v1/sweeps", json=fields)
    assert answer.status_code == 201
    sweep = answer.json()
    assert answer.headers["location"] == f"/v1/sweeps/{sweep['id']}"
    assert client.get(answer.headers["location"]).json() == sweep
    assert sweep["state"] == "queued"
    assert sweep["progress"] == {
        "runs_total_known": 0,
        "runs_by_state": dict.fromkeys(
            ("pending", "running", "completed", "diverged", "pruned", "failed", "cancelled"), 0
        ),
        "under_way": 0,
        "batches": 0,
        "grid_rates": 36,
        "comparison_runs": 0,
    }
    assert sweep["cost"]["spent_flops"] == 0
    assert sweep["cost"]["full_grid_flops"] > 0
    assert (sweep["law"], sweep["prediction"]) == (None, None)
    assert sweep["prediction_refused"] == "No law has been fitted yet."
    assert sweep["created_at"].endswith("Z")


def test_yaml_submits_the_same_sweep_as_json(client: TestClient, fields: dict[str, Any]) -> None:
    text = yaml.safe_dump(fields)
    by_yaml = client.post("/v1/sweeps", content=text, headers={"content-type": "application/yaml"})
    by_json = client.post("/v1/sweeps", json=fields)
    assert by_yaml.status_code == by_json.status_code == 201
    assert by_yaml.json()["spec"] == by_json.json()["spec"]
    assert by_yaml.json()["id"] != by_json.json()["id"]


def test_the_same_key_and_body_give_the_sweep_of_the_first_time(
    client: TestClient, store: Store, fields: dict[str, Any]
) -> None:
    first = client.post("/v1/sweeps", json=fields, headers={"idempotency-key": "k1"})
    again = client.post("/v1/sweeps", json=fields, headers={"idempotency-key": "k1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert store.sweeps.page()[2] == 1


def test_the_same_key_with_another_body_is_refused(client: TestClient, fields: dict[str, Any]) -> None:
    client.post("/v1/sweeps", json=fields, headers={"idempotency-key": "k1"})
    other = client.post("/v1/sweeps", json=fields | {"name": "other"}, headers={"idempotency-key": "k1"})
    assert other.status_code == 409
    assert "k1" in other.json()["detail"]


def test_validate_only_prices_the_grid_and_writes_nothing(
    client: TestClient, store: Store, fields: dict[str, Any]
) -> None:
    answer = client.post("/v1/sweeps?validate_only=true", json=fields | {"search": {"strategy": "grid"}})
    assert answer.status_code == 200
    plan = answer.json()
    assert len(plan["cells"]) == 6
    assert plan["full_grid"]["runs"] == sum(len(cell["learning_rates"]) for cell in plan["cells"]) == 36
    flops = sum(cell["flops_per_run"] * len(cell["learning_rates"]) for cell in plan["cells"])
    assert plan["full_grid"]["flops"] == pytest.approx(flops)
    assert plan["expected"]["runs"] == 36
    assert store.sweeps.page()[2] == 0


def test_a_trained_sweep_shows_cost_law_and_prediction(client: TestClient, trained: Any) -> None:
    sweep = client.get(f"/v1/sweeps/{trained.sweep.id}").json()
    cost = sweep["cost"]
    assert sweep["progress"]["runs_by_state"] == {
        **dict.fromkeys(("pending", "running", "failed", "cancelled"), 0),
        "completed": 29,
        "diverged": 6,
        "pruned": 1,
    }
    assert sweep["progress"]["runs_total_known"] == 36
    assert cost["saved_fraction"] == pytest.approx(1 - cost["spent_flops"] / cost["full_grid_flops"])
    assert 0.4 < cost["saved_fraction"] < 0.6
    assert cost["seconds"] == pytest.approx(35 * 0.5)
    assert sweep["law"]["number"] == sweep["prediction"]["law_number"] == 1
    interval = sweep["prediction"]["interval"]
    assert interval["low"] < sweep["prediction"]["learning_rate"] < interval["high"]
    assert sweep["prediction"]["sweep_id"] == sweep["id"]


def test_no_saving_is_reported_before_a_run_has_ended(
    client: TestClient, submitted: Callable[..., Any]
) -> None:
    recorded = submitted()
    recorded.move(SweepState.RUNNING)
    recorded.ask(recorded.sweep.id, (0, 1e-3), (0, 2e-3))
    cost = client.get(f"/v1/sweeps/{recorded.sweep.id}").json()["cost"]
    assert (cost["spent_flops"], cost["saved_fraction"], cost["seconds"]) == (0.0, None, None)


@pytest.mark.parametrize("state", [SweepState.CANCELLED, SweepState.FAILED])
def test_a_sweep_that_did_not_do_its_work_saved_nothing(
    client: TestClient, trained: Any, state: SweepState
) -> None:
    trained.move(state)
    cost = client.get(f"/v1/sweeps/{trained.sweep.id}").json()["cost"]
    assert cost["saved_fraction"] is None
    assert cost["spent_flops"] > 0


def test_a_list_shows_of_each_sweep_what_its_own_page_shows(
    client: TestClient, trained: Any, submitted: Callable[..., Any]
) -> None:
    submitted(name="untouched")
    listed = client.get("/v1/sweeps").json()["items"]
    assert len(listed) == 2
    for summary in listed:
        whole = client.get(f"/v1/sweeps/{summary['id']}").json()
        assert {name: whole[name] for name in summary} == summary


def test_pages_hold_every_sweep_once_newest_first(client: TestClient, submitted: Callable[..., Any]) -> None:
    made = [submitted(name=f"sweep {n}").sweep.id for n in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/sweeps", params=query).json()
        assert page["total"] == 5
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_the_list_is_filtered_by_state(client: TestClient, submitted: Callable[..., Any]) -> None:
    submitted()
    paused = submitted()
    paused.move(SweepState.PAUSED)
    page = client.get("/v1/sweeps", params={"state": "paused"}).json()
    assert [item["id"] for item in page["items"]] == [paused.sweep.id]
    assert page["total"] == 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "from 1 to 500"),
        ("limit=501", "from 1 to 500"),
        ("limit=ten", "integer"),
        ("state=dead", "'stopping'"),
        ("cursor=nonsense", "next_cursor"),
    ],
)
def test_a_query_out_of_range_is_refused_with_the_range(
    client: TestClient, query: str, sentence: str
) -> None:
    answer = client.get(f"/v1/sweeps?{query}")
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]
    assert answer.json()["errors"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize("sweep_id", ["0" * 32, "nonsense", "%00", "a" * 500])
@pytest.mark.parametrize("rest", ["", "/runs", "/runs.csv", "/laws", "/events", "/figures/law"])
def test_an_unknown_sweep_is_not_found(client: TestClient, sweep_id: str, rest: str) -> None:
    answer = client.get(f"/v1/sweeps/{sweep_id}{rest}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("before", "verb", "after"),
    [
        (("running",), "pause", "paused"),
        (("running",), "stop", "stopping"),
        (("running",), "cancel", "cancelled"),
        (("paused",), "resume", "queued"),
    ],
)
def test_a_verb_moves_a_sweep(
    client: TestClient, submitted: Callable[..., Any], before: tuple[str, ...], verb: str, after: str
) -> None:
    recorded = submitted()
    recorded.move(*map(SweepState, before))
    answer = client.post(f"/v1/sweeps/{recorded.sweep.id}/{verb}")
    assert answer.status_code == 200
    assert answer.json()["state"] == after
    assert recorded.store.sweeps.get(recorded.sweep.id).state == after


def test_a_sweep_that_has_begun_resumes_running(client: TestClient, trained: Any) -> None:
    trained.move(SweepState.PAUSED)
    assert client.post(f"/v1/sweeps/{trained.sweep.id}/resume").json()["state"] == "running"


@pytest.mark.parametrize(
    ("before", "verb"),
    [
        (("running", "completed"), "pause"),
        (("cancelled",), "cancel"),
        (("running",), "resume"),
        (("running", "stopping"), "stop"),
    ],
)
def test_a_verb_that_the_state_refuses_is_a_conflict(
    client: TestClient, submitted: Callable[..., Any], before: tuple[str, ...], verb: str
) -> None:
    recorded = submitted()
    recorded.move(*map(SweepState, before))
    state = recorded.store.sweeps.get(recorded.sweep.id).state
    answer = client.post(f"/v1/sweeps/{recorded.sweep.id}/{verb}")
    assert answer.status_code == 409
    assert str(state) in answer.json()["detail"]
    assert recorded.store.sweeps.get(recorded.sweep.id).state == state


def test_a_sweep_of_prior_runs_alone_is_accepted(client: TestClient) -> None:
    rows = [
        f"{n},{d},2048,{r},{3 + r}" for n in (1e5, 1e6) for d in (1e7, 1e8) for r in (0.001, 0.002, 0.004)
    ]
    text = "\n".join(["params,tokens,batch_tokens,learning_rate,loss", *rows])
    table = client.post("/v1/tables", content=text, headers={"content-type": "text/csv"}).json()
    answer = client.post("/v1/sweeps", json={"name": "fit", "prior_runs": {"table": table["id"]}})
    assert answer.status_code == 201
    assert answer.json()["cost"]["saved_fraction"] is None
    assert json.loads(answer.text)["spec"]["trainer"] is None


def test_a_sweep_whose_cluster_is_too_small_says_so_and_a_plan_is_warned(
    client: TestClient, submitted: Any, fields: dict[str, Any]
) -> None:
    recorded = submitted(resources={"gpus_per_run": 1})
    address = f"/v1/sweeps/{recorded.sweep.id}"
    assert client.get(address).json()["waits_because"] is None
    event = workers_event(Cluster.of([(2, 0)]), recorded.sweep.spec.resources)
    recorded.store.events.append(recorded.sweep.id, event)
    assert client.get(address).json()["waits_because"].startswith("A run asks for 1 CPU and 1 GPU")
    assert "Runs wait until it grows." in client.get(f"/sweeps/{recorded.sweep.id}").text

    plan = client.post(
        "/v1/sweeps?validate_only=true", json=fields | {"resources": {"gpus_per_run": 1}}
    ).json()
    assert plan["valid"]
    assert "0 GPUs" in plan["warnings"][0]
    assert client.post("/v1/sweeps?validate_only=true", json=fields).json()["warnings"] == []


def test_a_submission_names_a_setting_that_its_table_pools(client: TestClient) -> None:
    lines = ["params,tokens,batch_tokens,learning_rate,loss,weight_decay"]
    lines += [f"1e6,1e8,1024,{rate},{3 + rate},{decay}" for rate in (1e-3, 2e-3, 4e-3) for decay in (0, 0.1)]
    uploaded = client.post("/v1/tables", content="\n".join(lines), headers={"content-type": "text/csv"})
    trainer = {"kind": "replay", "table": uploaded.json()["id"]}

    mixed = client.post("/v1/sweeps", json={"name": "mixed", "trainer": trainer}).json()
    picked = client.post(
        "/v1/sweeps", json={"name": "picked", "trainer": trainer | {"where": {"weight_decay": "0.1"}}}
    ).json()

    (warning,) = mixed["warnings"]
    assert warning.startswith("weight_decay takes 2 values (0, 0.1)")
    assert "pick one with trainer.where" in warning
    assert mixed["notices"] == [{"code": "pooled_column", "message": warning}]
    assert picked["warnings"] == []
