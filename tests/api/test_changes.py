"""Changes of a sweep and of its runs over HTTP: merge patches, preconditions, clones, and the verbs of runs."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.states import RunState, SweepState
from orchestrator.store.records import RunResult

TOKENS = [200_000, 400_000]


def paths(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["path"] for error in answer.json()["errors"]]


def test_a_patch_changes_the_sweep_and_shows_its_revision(client: TestClient, submitted: Any) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}"
    first = client.get(url)
    assert (first.json()["revision"], first.headers["etag"]) == (1, '"1"')
    patch = {"name": "larger", "search": {"budget": {"runs": 400}}, "target": {"params": "2B"}}
    answer = client.patch(url, json=patch, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    sweep = answer.json()
    assert (sweep["revision"], sweep["name"]) == (2, "larger")
    assert sweep["spec"]["search"]["budget"]["runs"] == 400
    assert sweep["spec"]["target"] == {"params": 2e9, "tokens": 8e5, "batch_tokens": 2048}
    assert client.get(url).json() == sweep


def test_merge_patches_have_a_media_type_of_their_own(client: TestClient, submitted: Any) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}"
    merge = {"Content-Type": "application/merge-patch+json"}
    assert client.patch(url, content='{"target": null}', headers=merge).json()["target"] is None
    assert client.patch(url, content="a: b", headers={"Content-Type": "text/yaml"}).status_code == 415
    assert client.patch(url, content="[]").status_code == 422
    assert client.patch(url, content='{"name": "a\\u0000b"}').status_code == 422


@pytest.mark.parametrize("tag", ['"1"', '"7"', 'W/"2"', '"two"', '"1", "3"'])
def test_a_stale_patch_is_refused_and_changes_nothing(client: TestClient, submitted: Any, tag: str) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}"
    client.patch(url, json={"name": "second"})
    answer = client.patch(url, json={"name": "third"}, headers={"If-Match": tag})
    assert answer.status_code == 412
    assert answer.json()["type"] == "urn:etalon:problem:stale"
    assert (client.get(url).json()["name"], client.get(url).json()["revision"]) == ("second", 2)


@pytest.mark.parametrize("tag", ['"2"', "*", '"1", "2"'])
def test_a_patch_from_the_present_revision_is_taken(client: TestClient, submitted: Any, tag: str) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}"
    client.patch(url, json={"name": "second"})
    assert client.patch(url, json={"name": "third"}, headers={"If-Match": tag}).json()["revision"] == 3
    assert client.patch(url, json={"name": "x"}, headers={"If-Match": "3"}).status_code == 422


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"trainer": {"corpus": "other"}}, "trainer.corpus"),
        ({"search": {"strategy": "grid"}}, "search.strategy"),
        ({"grid": {"tokens": [400_000]}}, "grid.tokens"),
        ({"grid": {"learning_rates": {"min": 2e-3}}}, "grid.learning_rates"),
        ({"grid": {"tokens": [*TOKENS, 0]}}, "grid.tokens.2"),
        ({"budget": {"runs": 3}}, "budget"),
        ({"search": {"budget": {"runs": -3}}}, "search.budget.runs"),
    ],
)
def test_what_cannot_change_is_named_and_nothing_changes(
    client: TestClient, submitted: Any, patch: Any, path: str
) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}"
    before = client.get(url).json()
    assert paths(client.patch(url, json=patch)) == [path]
    assert client.get(url).json() == before


@pytest.mark.parametrize("state", [SweepState.COMPLETED, SweepState.STOPPED])
def test_an_ended_sweep_is_queued_again(client: TestClient, submitted: Any, state: SweepState) -> None:
    recorded = submitted()
    recorded.move(*([SweepState.RUNNING] if state is SweepState.COMPLETED else []), state)
    answer = client.patch(f"/v1/sweeps/{recorded.sweep.id}", json={"grid": {"tokens": [*TOKENS, "800k"]}})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.json()["progress"]["grid_rates"] == 9 * 6


@pytest.mark.parametrize("state", [SweepState.CANCELLED, SweepState.FAILED])
def test_a_cancelled_or_failed_sweep_is_refused(
    client: TestClient, submitted: Any, state: SweepState
) -> None:
    recorded = submitted()
    recorded.move(state)
    answer = client.patch(f"/v1/sweeps/{recorded.sweep.id}", json={"name": "late"})
    assert answer.status_code == 409
    assert "clone" in answer.json()["detail"]


def test_each_revision_is_an_event_with_who_and_what(reach: Any, store: Any, submitted: Any) -> None:
    _, secret = store.tokens.create("ann", frozenset({"submit"}))
    ann = reach(Authorization=f"Bearer {secret}")
    sweep = submitted().sweep
    ann.patch(f"/v1/sweeps/{sweep.id}", json={"target": {"tokens": "900k"}})
    (event,) = [event for event in store.events.after(0, sweep_id=sweep.id) if event.kind == "revision"]
    assert event.data == {"revision": 2, "changes": {"target": {"tokens": "900k"}}, "actor": "ann"}


def test_a_reader_changes_nothing(reach: Any, store: Any, trained: Any) -> None:
    _, secret = store.tokens.create("eve", frozenset({"read"}))
    eve = reach(Authorization=f"Bearer {secret}")
    sweep = f"/v1/sweeps/{trained.sweep.id}"
    run = f"/v1/runs/{store.runs.of_sweep(trained.sweep.id)[0].id}"
    assert eve.patch(sweep, json={"name": "mine"}).status_code == 403
    assert eve.post(f"{sweep}/clone", json={}).status_code == 403
    for verb in ("retry", "exclude", "include"):
        assert eve.post(f"{run}/{verb}", json={"reason": "so"}).status_code == 403


def test_a_clone_is_a_new_sweep_of_the_changed_specification(client: TestClient, submitted: Any) -> None:
    sweep = submitted().sweep
    key = {"Idempotency-Key": "a copy"}
    patch = {"name": "copy", "grid": {"tokens": [200_000]}, "search": {"strategy": "grid"}}
    answer = client.post(f"/v1/sweeps/{sweep.id}/clone", json=patch, headers=key)
    copy = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/sweeps/{copy['id']}")
    assert (copy["name"], copy["revision"], copy["state"]) == ("copy", 1, "queued")
    assert copy["spec"]["grid"]["tokens"] == [200_000]
    again = client.post(f"/v1/sweeps/{sweep.id}/clone", json=patch, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, copy["id"])
    whole = client.post(f"/v1/sweeps/{sweep.id}/clone")
    assert whole.status_code == 201
    assert whole.json()["spec"] == client.get(f"/v1/sweeps/{sweep.id}").json()["spec"]
    assert paths(client.post(f"/v1/sweeps/{sweep.id}/clone", json={"grid": {"tokens": []}})) == [
        "grid.tokens"
    ]


def test_a_run_is_excluded_with_a_reason_and_included_again(client: TestClient, trained: Any) -> None:
    run = next(run for run in trained.store.runs.of_sweep(trained.sweep.id) if run.loss is not None)
    url = f"/v1/runs/{run.id}"
    before = client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv").text
    answer = client.post(f"{url}/exclude", json={"reason": " a bad node "})
    assert (answer.status_code, answer.json()["excluded"]) == (200, "a bad node")
    assert answer.json()["loss"] == run.loss
    listed = client.get(f"/v1/sweeps/{trained.sweep.id}/runs").json()["items"]
    assert [item["id"] for item in listed if item["excluded"] is not None] == [run.id]
    exported = client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv").text
    assert len(exported.splitlines()) == len(before.splitlines()) - 1

    assert client.post(f"{url}/include").json()["excluded"] is None
    assert client.post(f"{url}/include").status_code == 409
    assert client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv").text == before


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 1001}, {"reason": "a\0b"}]
)
def test_an_exclusion_needs_a_reason(client: TestClient, trained: Any, body: Any) -> None:
    run = next(run for run in trained.store.runs.of_sweep(trained.sweep.id) if run.loss is not None)
    assert paths(client.post(f"/v1/runs/{run.id}/exclude", json=body)) == ["reason"]


def test_a_failed_run_is_retried(client: TestClient, trained: Any) -> None:
    store, sweep = trained.store, trained.sweep
    trained.ask(sweep.id, (0, 0.001))
    fence = trained.drive(sweep.id)
    (run,) = store.runs.claim(sweep.id, fence=fence)
    store.runs.finish([RunResult(run_id=run.id, state=RunState.FAILED, reason="no disk")], fence=fence)
    trained.move(SweepState.COMPLETED)
    assert client.post(f"/v1/runs/{run.id}/exclude", json={"reason": "so"}).status_code == 409
    answer = client.post(f"/v1/runs/{run.id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert client.get(f"/v1/sweeps/{sweep.id}").json()["state"] == "queued"
    completed = next(run for run in store.runs.of_sweep(sweep.id) if run.loss is not None)
    assert client.post(f"/v1/runs/{completed.id}/retry").status_code == 409
