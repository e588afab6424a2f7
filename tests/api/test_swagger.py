"""The API's description: complete, valid, and drawn without a network."""

import re
from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.v1.sweeps import EXAMPLE
from orchestrator.spec import parse_spec

CONTRACT = [
    ("post", "/v1/tables"),
    ("post", "/v1/sweeps"),
    ("get", "/v1/sweeps"),
    ("get", "/v1/sweeps/{sweep_id}"),
    ("post", "/v1/sweeps/{sweep_id}/pause"),
    ("post", "/v1/sweeps/{sweep_id}/resume"),
    ("post", "/v1/sweeps/{sweep_id}/stop"),
    ("post", "/v1/sweeps/{sweep_id}/cancel"),
    ("patch", "/v1/sweeps/{sweep_id}"),
    ("post", "/v1/sweeps/{sweep_id}/clone"),
    ("get", "/v1/sweeps/{sweep_id}/runs"),
    ("get", "/v1/runs/{run_id}"),
    ("post", "/v1/runs/{run_id}/retry"),
    ("post", "/v1/runs/{run_id}/exclude"),
    ("post", "/v1/runs/{run_id}/include"),
    ("get", "/v1/runs/{run_id}/losses"),
    ("get", "/v1/runs/{run_id}/lenses"),
    ("get", "/v1/runs/{run_id}/log"),
    ("get", "/v1/trainers"),
    ("get", "/v1/trainers/{name}"),
    ("get", "/v1/sweeps/{sweep_id}/laws"),
    ("get", "/v1/sweeps/{sweep_id}/laws/{number}"),
    ("get", "/v1/sweeps/{sweep_id}/prediction"),
    ("get", "/v1/sweeps/{sweep_id}/comparison"),
    ("get", "/v1/sweeps/{sweep_id}/events"),
    ("get", "/v1/sweeps/{sweep_id}/figures/{name}"),
    ("get", "/v1/sweeps/{sweep_id}/runs.csv"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
]


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def test_the_document_has_exactly_the_contract(document: dict[str, Any]) -> None:
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == set(CONTRACT)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/([^'\"]+)", str(document)))
    assert named <= set(document["components"]["schemas"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_endpoint_is_described_and_its_refusals_are_problems(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["tags"]
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], path


def test_a_sweep_is_described_in_json_and_yaml(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "application/yaml"}
    schema = document["components"]["schemas"]
    resolved = {"$ref": "#/$defs/SweepSpec", "$defs": schema}
    text = str(resolved).replace("#/components/schemas/", "#/$defs/")
    assert "#/$defs/Grid" in text
    parse_spec(EXAMPLE)


def test_endpoints_that_need_a_token_say_so(document: dict[str, Any]) -> None:
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyCookie"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in {"/healthz", "/readyz"})


def test_the_page_and_all_it_loads_come_from_here(client: TestClient) -> None:
    page = client.get("/docs")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) == 4
    for address in addresses:
        assert "//" not in address
        assert client.get(f"/{address}").status_code == 200
    assert "<script>" not in page.text
    assert 'url: "openapi.json"' in client.get("/docs/start.js").text


def test_the_confirmation_is_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    offer = schemas["Confirmation"]
    assert {"learning_rates", "flops_per_run", "expected_runs", "probability_first", "reason"} <= set(
        offer["required"]
    )
    assert "within 0.1 %" in offer["properties"]["expected_runs"]["description"]


def test_the_cost_of_a_wrong_rate_and_a_missing_valley_are_described(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    prediction = schemas["PredictionDocument"]["properties"]
    assert prediction["wrong_rate"]["items"]["$ref"].endswith("/WrongRate")
    assert set(schemas["WrongRate"]["required"]) == {"factor", "learning_rate", "excess_loss"}
    assert "no valley" in schemas["Valley"]["description"]
    assert "no valley" in schemas["Valley"]["properties"]["reason"]["description"]
