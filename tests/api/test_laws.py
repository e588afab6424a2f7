"""Laws and predictions over REST."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from orchestrator.documents.events import LawEvent
from orchestrator.documents.predictions import RefusalDocument, TargetDocument
from orchestrator.law import Law, fit
from tests.known_law import RECORDED, grid, observations


def test_a_law_is_shown_whole(client: TestClient, trained: Any) -> None:
    law = client.get(f"/v1/sweeps/{trained.sweep.id}/laws/1").json()
    fitted = Law.from_document(trained.store.laws.get(trained.sweep.id, 1).document)
    assert [term["name"] for term in law["coefficients"]] == [term.name for term in fitted.coefficients]
    assert np.allclose(law["covariance"], fitted.covariance)
    assert len(law["bowls"]) == 6
    assert {bowl["status"] for bowl in law["bowls"]} == {"interior"}
    assert law["heldout"]["left_out"]
    assert law["ruled_out"] == [{"cell": 0, "learning_rate": 0.032, "reason": "too high"}]
    assert law["runs"] == 35
    assert law["prediction"]["law_number"] == 1


def test_laws_are_listed_in_pages(client: TestClient, trained: Any) -> None:
    record = trained.store.laws.get(trained.sweep.id, 1)
    for runs in (36, 37):
        trained.keep(Law.from_document(record.document), runs=runs)
    url = f"/v1/sweeps/{trained.sweep.id}/laws"
    first = client.get(url, params={"limit": "2"}).json()
    rest = client.get(url, params={"limit": "2", "cursor": first["next_cursor"]}).json()
    assert [law["number"] for law in first["items"] + rest["items"]] == [1, 2, 3]
    assert (first["total"], rest["next_cursor"]) == (3, None)
    assert client.get(f"/v1/sweeps/{trained.sweep.id}").json()["law"]["number"] == 3


@pytest.mark.parametrize(("number", "status"), [("2", 404), ("0", 422), ("newest", 422), ("9" * 30, 422)])
def test_a_law_that_is_not_there(
    client: TestClient, submitted: Callable[..., Any], number: str, status: int
) -> None:
    assert client.get(f"/v1/sweeps/{submitted().sweep.id}/laws/{number}").status_code == status


def test_a_refused_prediction_is_shown_with_the_law(client: TestClient, trained: Any) -> None:
    record = trained.store.laws.get(trained.sweep.id, 1)
    trained.store.laws.add(
        trained.sweep.id,
        document=record.document,
        prediction=RefusalDocument(
            target=TargetDocument(params=1e6, tokens=8e5, batch_tokens=2048), detail="The horizon is too far."
        ),
        ruled_out=[],
        runs=35,
        spent_flops=1.0,
        batch=1,
        fence=trained.lead(),
    )
    sweep = client.get(f"/v1/sweeps/{trained.sweep.id}").json()
    assert sweep["prediction"] is None
    assert sweep["prediction_refused"] == "The horizon is too far."
    assert sweep["law"]["number"] == 2


def test_a_prediction_at_any_target(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    answer = client.get(url, params={"params": "5e5", "tokens": "6e5", "batch_tokens": "2048"})
    assert answer.status_code == 200
    written = client.get(url, params={"params": "0.5M", "tokens": "600 k", "batch_tokens": "2,048"})
    assert written.json() == answer.json()
    prediction = answer.json()
    assert prediction["target"] == {"params": 5e5, "tokens": 6e5, "batch_tokens": 2048}
    assert prediction["interval"]["low"] < prediction["learning_rate"] < prediction["interval"]["high"]
    assert prediction["valley"]["excess_loss"] == 0.001
    assert set(prediction["extrapolation"]) == {"params", "tokens", "batch_tokens"}
    assert prediction["published"]
    assert (prediction["sweep_id"], prediction["law_number"]) == (trained.sweep.id, 1)


def test_a_prediction_reports_what_a_wrong_rate_costs(client: TestClient, trained: Any) -> None:
    prediction = client.get(f"/v1/sweeps/{trained.sweep.id}").json()["prediction"]
    costs = {item["factor"]: item["excess_loss"] for item in prediction["wrong_rate"]}
    assert len(costs) == 7
    assert 0 <= costs[1] < min(costs[0.5], costs[2]) < min(costs[0.25], costs[4])
    assert (prediction["valley"]["reason"] is None) == (
        prediction["valley"]["low"] < prediction["valley"]["high"]
    )


def test_a_prediction_offers_its_confirmation(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    at = {"params": "5e5", "tokens": "6e5", "batch_tokens": "2048"}
    offer = client.get(url, params=at).json()["confirmation"]
    cheap = client.get(url, params={**at, "budget_flops": "1.2e12"}).json()["confirmation"]

    assert offer["flops_per_run"] == 6 * 5e5 * 6e5
    assert offer["learning_rates"]
    assert min(offer["expected_runs"], offer["expected_runs_until_sure"]) >= 1
    assert 0 < offer["probability_first"] < 1
    assert (offer["best"], offer["affordable"]) == (None, None)
    assert cheap["affordable"]["flops"] <= 1.2e12
    assert client.get(url, params={**at, "budget_flops": "0"}).status_code == 422


def test_a_prediction_and_a_refusal_offer_a_further_size(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    size = client.get(f"/v1/sweeps/{trained.sweep.id}/laws/1").json()["bowls"][0]["params"]
    far, known, refused = (
        client.get(url, params={"params": repr(params), "tokens": "8e5"}) for params in (1e6, size, 1e8)
    )

    offer = far.json()["further_size"]
    assert offer["interval_factor_after"] < offer["interval_factor_before"]
    assert offer["flops"] < 6 * 1e6 * 8e5
    assert {cell["params"] for cell in offer["cells"]} == {offer["params"]}
    assert all(3 <= len(cell["learning_rates"]) <= 4 for cell in offer["cells"])
    assert "has runs" in known.json()["further_size"]["reason"]
    assert refused.status_code == 409
    assert "A fourth size near" in refused.json()["detail"]


def test_a_cell_of_the_sweep_is_confirmed_by_its_own_runs(client: TestClient, trained: Any) -> None:
    bowl = client.get(f"/v1/sweeps/{trained.sweep.id}/laws/1").json()["bowls"][-1]
    at = {name: repr(bowl[name]) for name in ("params", "tokens", "batch_tokens")}
    offer = client.get(f"/v1/sweeps/{trained.sweep.id}/prediction", params=at).json()["confirmation"]
    assert 0 <= offer["best"]["probability"] <= 1


def test_where_there_is_no_valley_the_answer_says_so_in_words(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    valley = client.get(url, params={"params": "1e6", "tokens": "8e5"}).json()["valley"]
    assert valley["low"] == valley["high"]
    assert valley["reason"].startswith("The optimum is too uncertain: no rate loses at most 0.1")


def test_a_law_of_another_version_predicts_nothing(client: TestClient, trained: Any) -> None:
    law = Law.from_document(trained.store.laws.get(trained.sweep.id, 1).document)
    with pytest.MonkeyPatch.context() as other:
        other.setattr("orchestrator.law.law.VERSION", 99)
        trained.keep(law, runs=36)
    url = f"/v1/sweeps/{trained.sweep.id}"
    answer = client.get(f"{url}/prediction", params={"params": "1e6", "tokens": "8e5"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:etalon:problem:conflict")
    assert "submit a new sweep" in answer.json()["detail"]
    assert client.get(f"{url}/figures/law").status_code == 409
    assert client.get(url).json()["prediction"]["learning_rate"] > 0


def test_without_a_batch_the_one_that_was_tried_is_asked_and_the_reason_given(
    client: TestClient, trained: Any
) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    answer = client.get(url, params={"params": "1e6", "tokens": "8e5"}).json()
    assert answer["target"]["batch_tokens"] == 2048
    assert answer["batch"]["best"] is None
    assert "one batch" in answer["batch"]["reason"]
    stored = client.get(f"/v1/sweeps/{trained.sweep.id}").json()["prediction"]
    assert answer == stored


def test_without_a_batch_the_best_is_asked_and_others_are_priced(client: TestClient, trained: Any) -> None:
    known = replace(RECORDED, bottom=lambda at: 3.0 * math.exp(0.01 * math.log(at.batch_tokens / 2048) ** 2))
    batches = [1024.0, 2048.0, 4096.0, 8192.0]
    rates = [6e-2 * 2**octave for octave in range(-3, 4)]
    trained.keep(fit(observations(known.runs(grid((5e5, 1e6), (4e5, 8e5), batches), rates))), runs=36)
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"

    answer = client.get(url, params={"params": "2e6", "tokens": "8e5"}).json()
    given = client.get(url, params={"params": "2e6", "tokens": "8e5", "batch_tokens": "4096"}).json()

    batch = answer["batch"]
    assert answer["target"]["batch_tokens"] == batch["best"]
    assert batch["interval"]["level"] == 0.95
    assert batch["interval"]["low"] < batch["best"] < batch["interval"]["high"]
    assert batch["reason"] is None
    assert [choice["batch_tokens"] for choice in batch["choices"]] == [512, *batches, 16_384]
    assert set(batch["choices"][0]) == {"batch_tokens", "learning_rate", "excess_loss", "low", "high"}
    assert [within["excess_loss"] for within in batch["largest_within"]] == [0.005, 0.01]
    assert given["target"]["batch_tokens"] == 4096
    assert given["batch"] == batch
    expected = answer["expected_loss_interval"]
    assert expected["low"] < answer["expected_loss"] < expected["high"]


def test_a_target_beyond_the_data_is_refused_with_the_reason(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    answer = client.get(url, params={"params": "1e12", "tokens": "1e13"})
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["type"] == "urn:etalon:problem:unsupported"
    assert "×/÷ 3" in problem["detail"]
    assert "learning_rate" not in problem


def test_without_a_law_there_is_no_number(client: TestClient, submitted: Callable[..., Any]) -> None:
    url = f"/v1/sweeps/{submitted().sweep.id}/prediction"
    answer = client.get(url, params={"params": "1e6", "tokens": "1e7"})
    assert answer.status_code == 409
    assert "no law yet" in answer.json()["detail"]


def test_the_reason_of_a_refused_fit_is_reported(client: TestClient, submitted: Callable[..., Any]) -> None:
    recorded = submitted()
    refusal = LawEvent(number=None, refused="no_interior_minimum", detail="No bowl has both sides.", runs=3)
    recorded.store.events.append(recorded.sweep.id, refusal)
    url = f"/v1/sweeps/{recorded.sweep.id}"
    answer = client.get(f"{url}/prediction", params={"params": "1e6", "tokens": "1e7"})
    assert answer.status_code == 409
    assert answer.json()["detail"].endswith("has no law yet. No bowl has both sides.")
    assert client.get(url).json()["prediction_refused"] == "No bowl has both sides."


def test_an_older_law_can_be_asked(client: TestClient, trained: Any) -> None:
    url = f"/v1/sweeps/{trained.sweep.id}/prediction"
    query = {"params": "1e6", "tokens": "8e5"}
    assert client.get(url, params=query | {"law": "1"}).json()["law_number"] == 1
    assert client.get(url, params=query | {"law": "2"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("tokens=1e9", "params"),
        ("params=1e9", "tokens"),
        ("params=-1&tokens=1e9", "params"),
        ("params=nan&tokens=1e9", "params"),
        ("params=1e9&tokens=inf", "tokens"),
        ("params=1e9&tokens=1e9&batch_tokens=0", "batch_tokens"),
        ("params=1e9&tokens=many", "tokens"),
        ("params=1e9&tokens=1e9&law=0", "law"),
    ],
)
def test_a_bad_target_is_refused(
    client: TestClient, submitted: Callable[..., Any], query: str, path: str
) -> None:
    answer = client.get(f"/v1/sweeps/{submitted().sweep.id}/prediction?{query}")
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [path]
