"""Refusals, each with a message that helps, and with nothing written."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.bodies import MAX_TABLE_BYTES, amount
from orchestrator.errors import NotFound
from orchestrator.spec import MAX_SWEEP_BYTES
from orchestrator.store import Store
from orchestrator.tables.checked_table import MOST_ROWS

YAML = {"content-type": "application/yaml"}
CSV = {"content-type": "text/csv"}


def refused(answer: Any, status: int, *sentences: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert answer.status_code == status, problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["instance"]
    for text in sentences:
        assert text in problem["detail"]
    return problem


@pytest.fixture
def nothing_written(store: Store) -> Iterator[None]:
    yield
    assert store.sweeps.page()[2] == 0
    assert store.events.last_id() == 0


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("change", "path", "sentence"),
    [
        (
            {"scales": [{"width": 48, "depth": 2, "heads": 5}]},
            "grid.scales.0.heads",
            "not divisible by 5 heads",
        ),
        ({"wdith": 3}, "grid.wdith", "unknown field"),
    ],
)
def test_a_bad_grid_is_refused_field_by_field(
    client: TestClient, fields: dict[str, Any], change: dict[str, Any], path: str, sentence: str
) -> None:
    fields["grid"] |= change
    problem = refused(client.post("/v1/sweeps", json=fields), 422, sentence)
    assert [error["path"] for error in problem["errors"]] == [path]
    assert sentence in problem["errors"][0]["message"]


PROGRAM_GRID = {
    "scales": [{"params": "1M"}],
    "tokens": ["1M"],
    "batch_tokens": [1024],
    "learning_rates": [1e-3],
}


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"colour": "red"}, "colour"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"target": {"params": 0, "tokens": 1e9}}, "target.params"),
        ({"trainer": {"kind": "proxy", "corpus": "../../etc/passwd"}}, "trainer.corpus"),
        ({"trainer": {"kind": "proxy", "corpus": "std\x00lib"}}, "trainer.corpus"),
        ({"trainer": {"kind": "command", "name": "mine"}, "grid": PROGRAM_GRID}, "trainer.name"),
        ({"trainer": {"kind": "replay", "table": "tbl-none"}, "grid": {}}, "trainer.table"),
        ({"prior_runs": {"table": "tbl-none"}}, "prior_runs.table"),
        ({"search": {"strategy": "luck"}}, "search.strategy"),
        ({"resources": {"max_parallel": 0}}, "resources.max_parallel"),
    ],
)
@pytest.mark.parametrize("query", ["", "?validate_only=true"])
def test_a_bad_field_is_named(
    client: TestClient, fields: dict[str, Any], change: dict[str, Any], path: str, query: str
) -> None:
    problem = refused(client.post(f"/v1/sweeps{query}", json=fields | change), 422)
    assert path in [error["path"] for error in problem["errors"]]


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"name: [", "not valid YAML"),
        (b"name: a\nsearch: {}\nsearch: {}", "'search' is given twice, give it once at line 3, column 1"),
        (b"name: a\ntrainer: {kind: proxy}\ngrid: {tokns: [1]}", "grid.tokns (line 3): unknown field"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_malformed_yaml_is_refused(client: TestClient, body: bytes, sentence: str) -> None:
    refused(client.post("/v1/sweeps", content=body, headers=YAML), 422, sentence)


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"name": ', "not valid JSON"),
        (b'{"name": "a",}', "line 1, column"),
        (b'{"name": "a",\n "name": "b"}', "'name' is given twice, give it once at line 2, column 2"),
        (b"[1, 2]", "not an object with fields"),
        (b"", "not valid JSON"),
        (b"name: a", "Send YAML with Content-Type: application/yaml."),
        (b'{"a":' * 10_000, "nested too deep"),
        (b'{"name": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"name": "\\ud800"}', "name"),
        (b'{"name": "a", "search": {"budget": {"flops": NaN}}}', "search.budget.flops"),
        (b'{"name": "a", "search": {"budget": {"flops": 1e999}}}', "search.budget.flops"),
    ],
)
def test_malformed_json_is_refused(client: TestClient, body: bytes, sentence: str) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/sweeps", content=body, headers=headers)
    refused(answer, 422, sentence)
    assert ("Send YAML" in answer.json()["detail"]) == body.startswith(b"name")


@pytest.mark.usefixtures("nothing_written")
def test_a_body_of_another_kind_is_refused(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    refused(client.post("/v1/sweeps", content=b"name=a", headers=headers), 415, "application/yaml")
    refused(
        client.post("/v1/tables", content=b"{}", headers={"content-type": "application/json"}),
        415,
        "text/csv",
    )


def test_a_bad_table_is_refused(client: TestClient, store: Store) -> None:
    text = "params,tokens,batch_tokens,learning_rate,loss\n1e6,1e8,2048,-1e-3,3\n"
    refused(client.post("/v1/tables", content=text, headers=CSV), 422, "row 2, column learning_rate")
    with pytest.raises(NotFound):
        store.tables.get(named(text.encode()))


def test_a_good_table_is_kept_under_the_name_of_what_it_holds(client: TestClient) -> None:
    text = "params,tokens,batch_tokens,learning_rate,loss\n1e6,1e8,2048,1e-3,3\n"

    assert client.post("/v1/tables", content=text, headers=CSV).json()["id"] == named(text.encode())


def named(data: bytes) -> str:
    """The id that a table gets once it is stored."""
    return "tbl-" + hashlib.sha256(data).hexdigest()[:16]


def test_a_body_that_announces_too_much_is_refused_unread(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"params"
        raise AssertionError("the body was read on")

    headers = CSV | {"content-length": str(MAX_TABLE_BYTES + 1)}
    refused(client.post("/v1/tables", content=pieces(), headers=headers), 413, amount(MAX_TABLE_BYTES))


def test_a_table_of_as_many_rows_as_allowed_may_have_a_dozen_columns() -> None:
    assert MAX_TABLE_BYTES > MOST_ROWS * 12 * 13


def test_a_body_that_does_not_say_its_size_is_cut_off(client: TestClient) -> None:
    piece = b"#" * 2**16
    refused(
        client.post(
            "/v1/sweeps", content=(piece for _ in range(MAX_SWEEP_BYTES // len(piece) + 1)), headers=YAML
        ),
        413,
        amount(MAX_SWEEP_BYTES),
    )


@pytest.mark.parametrize(
    ("path", "query", "allowed"),
    [
        ("", "stat=running", "It takes cursor, limit, name, state."),
        ("/{id}", "verbose=1", "This endpoint takes no query parameters."),
        ("/{id}/runs", "page=2", "It takes cursor, limit, state."),
        ("/{id}/figures/bowls", "param=1e9", "It takes batch_tokens, columns, page, params, phase."),
        (
            "/{id}/prediction",
            "params=1e9&tokens=1e9&batch=1024",
            "batch_tokens, budget_flops, law, params, tokens",
        ),
    ],
)
def test_a_query_that_the_endpoint_does_not_have_is_refused_with_those_that_it_has(
    client: TestClient, submitted: Callable[..., Any], path: str, query: str, allowed: str
) -> None:
    answer = client.get(f"/v1/sweeps{path.format(id=submitted().sweep.id)}?{query}")
    problem = refused(answer, 422, allowed)
    unknown = query.rpartition("&")[2].partition("=")[0]
    assert [error["path"] for error in problem["errors"]] == [unknown]


@pytest.mark.usefixtures("nothing_written")
def test_a_misspelt_validate_only_submits_nothing(client: TestClient, fields: dict[str, Any]) -> None:
    refused(client.post("/v1/sweeps?validateonly=true", json=fields), 422, "It takes validate_only.")


@pytest.mark.parametrize("path", ["/healthz", "/"])
def test_addresses_beside_the_api_take_any_query(client: TestClient, path: str) -> None:
    assert client.get(f"{path}?utm_source=mail").status_code == 200
