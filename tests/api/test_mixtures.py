"""Mixtures of experts over REST and on their page: both counts of parameters, and the law in either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.documents.laws import SizesDocument
from orchestrator.tables.formats import read_table

SIZES = {
    "used": "params_active",
    "proportional": False,
    "laws": [
        {
            "size": "params_active",
            "params": {"value": -0.4, "sd": 0.02, "from_prior": False},
            "tokens": {"value": -0.2, "sd": 0.01, "from_prior": False},
            "mean_excess_loss": 0.0042,
            "reason": None,
        },
        {
            "size": "params_total",
            "params": None,
            "tokens": None,
            "mean_excess_loss": None,
            "reason": "no bowl has an interior minimum",
        },
    ],
    "paired": None,
    "better": None,
    "summary": "The two counts cannot be compared.",
}


@pytest.fixture
def mixed(fields: dict[str, Any]) -> dict[str, Any]:
    """A sweep of mixtures whose experts vary."""
    scales = [
        {"width": width, "depth": 2, "experts": experts} for width, experts in ((32, 4), (64, 16), (128, 4))
    ]
    fields["trainer"]["architecture"] = {"kind": "moe", "experts": 4, "top_k": 2}
    return fields | {"grid": fields["grid"] | {"scales": scales}}


@pytest.fixture
def trained_mixture(
    client: TestClient, train_all: Callable[..., Any], store: Any, mixed: dict[str, Any]
) -> Any:
    """A sweep of mixtures with a law, and a second law in both counts."""
    sweep = client.post("/v1/sweeps", json=mixed).json()
    recorded = train_all(store, store.sweeps.get(sweep["id"]))
    first = store.laws.get(sweep["id"], 1)
    store.laws.add(
        sweep["id"],
        document=first.document,
        prediction=first.prediction,
        ruled_out=[],
        runs=first.runs,
        spent_flops=first.spent_flops,
        batch=1,
        fence=recorded.lead(),
        sizes=SizesDocument.model_validate(SIZES),
    )
    return recorded


def test_a_plan_shows_both_counts_and_prices_the_active_ones(
    client: TestClient, mixed: dict[str, Any]
) -> None:
    plan = client.post("/v1/sweeps", params={"validate_only": "true"}, json=mixed).json()

    for cell in plan["cells"]:
        assert cell["params"] == cell["params_active"] < cell["params_total"]
        assert cell["flops_per_run"] == 6 * cell["params_active"] * cell["tokens"]
    rates = len(plan["cells"][0]["learning_rates"])
    assert plan["full_grid"]["flops"] == rates * sum(cell["flops_per_run"] for cell in plan["cells"])


def test_runs_and_their_export_carry_both_counts(client: TestClient, trained_mixture: Any) -> None:
    runs = client.get(f"/v1/sweeps/{trained_mixture.sweep.id}/runs").json()["items"]
    assert client.get(f"/v1/runs/{runs[0]['id']}").json() == runs[0]
    assert all(run["params"] == run["params_active"] < run["params_total"] for run in runs)
    table = read_table(client.get(f"/v1/sweeps/{trained_mixture.sweep.id}/runs.csv").content)
    assert table.sizes == ("params", "params_total", "params_active")
    active_params = table.observations().params_active
    assert active_params is not None
    assert active_params.tolist() == table.params.tolist()
    assert set(table.sized("params_total").params) == {run["params_total"] for run in runs}


def test_dense_runs_have_one_count(client: TestClient, trained: Any) -> None:
    runs = client.get(f"/v1/sweeps/{trained.sweep.id}/runs").json()["items"]
    assert {(run["params_total"], run["params_active"]) for run in runs} == {(None, None)}
    table = read_table(client.get(f"/v1/sweeps/{trained.sweep.id}/runs.csv").content)
    assert table.sizes == ("params",)
    assert client.get(f"/v1/sweeps/{trained.sweep.id}").json()["law"]["sizes"] is None


def test_the_law_in_either_count_is_shown_with_law_and_sweep(
    client: TestClient, trained_mixture: Any
) -> None:
    address = f"/v1/sweeps/{trained_mixture.sweep.id}"
    assert client.get(f"{address}/laws/2").json()["sizes"] == SIZES
    assert client.get(address).json()["law"]["sizes"] == SIZES
    assert [law["sizes"] for law in client.get(f"{address}/laws").json()["items"]] == [None, SIZES]


def test_the_page_shows_the_law_in_either_count(client: TestClient, trained_mixture: Any) -> None:
    page = client.get(f"/sweeps/{trained_mixture.sweep.id}").text
    assert SIZES["summary"] in page
    table = page[page.index('id="sizes"') :]
    table = table[: table.index("</table>")]
    assert "active parameters (this law)" in table
    assert "-0.400<br><small>± 0.020" in table
    assert "0.42" in table
    assert "all parameters" in table


def test_the_page_of_a_dense_sweep_has_no_such_table(client: TestClient, trained: Any) -> None:
    assert 'id="sizes"' not in client.get(f"/sweeps/{trained.sweep.id}").text
