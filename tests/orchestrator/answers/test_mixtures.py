"""Sweeps of mixtures of experts, from submission to a law in both counts of parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.states import SweepState
from orchestrator.store.records import Run, RunResult
from tests.orchestrator.conftest import FIELDS, result_of

SCALES = [
    {"width": width, "depth": 2, "experts": experts}
    for width, experts in ((32, 4), (48, 16), (64, 4), (96, 12))
]


def mixtures(scales: list[dict[str, int]] = SCALES, **architecture: Any) -> dict[str, Any]:
    return {
        "trainer": {
            "kind": "proxy",
            "architecture": {"kind": "moe", "experts": 4, "top_k": 2, **architecture},
        },
        "grid": FIELDS["grid"] | {"scales": scales},
        "search": {"strategy": "grid"},
    }


def by_total(run: Run, cell: Cell) -> RunResult:
    """A known law whose optimum goes by all parameters, whatever N is."""
    assert cell.params_total is not None
    return result_of(run, replace(cell, params=cell.params_total))


@pytest.mark.parametrize("used", ["active", "total"])
def test_every_law_of_a_mixture_reports_both_counts(house: Any, used: str) -> None:
    sweep = house.submit(**mixtures(params=used))
    assert house.until_final(sweep.id, by_total).state is SweepState.COMPLETED

    laws = house.store.laws.of_sweep(sweep.id)
    assert laws
    assert all("Let the experts differ" not in law.sizes.summary for law in laws)
    last = laws[-1].sizes
    assert (last.used, last.proportional) == (f"params_{used}", False)
    own, other = last.laws
    assert own.size == f"params_{used}"
    (term,) = (term for term in laws[-1].document["coefficients"] if term["name"] == "ln N")
    assert own.params.model_dump() == {name: term[name] for name in ("value", "sd", "from_prior")}
    followed = own if used == "total" else other
    assert followed.params.value == pytest.approx(-0.3, abs=3 * followed.params.sd)
    assert last.summary


def test_a_law_of_mixtures_that_grow_alike_says_that_there_is_one(house: Any) -> None:
    sweep = house.submit(**mixtures([{"width": width, "depth": 2} for width in (64, 96, 128)]))
    house.until_final(sweep.id, by_total)

    sizes = house.store.laws.latest(sweep.id).sizes
    assert (sizes.proportional, len(sizes.laws)) == (True, 1)
    assert "is the same up to that factor" in sizes.summary


def test_a_dense_sweep_has_one_count_of_parameters(house: Any) -> None:
    sweep = house.submit()
    house.until_final(sweep.id)

    assert house.store.laws.latest(sweep.id).sizes is None


def test_before_mixtures_of_another_kind_have_run_there_is_one_law_so_far(house: Any) -> None:
    sweep = house.submit(**mixtures() | {"search": {"strategy": "grid", "runs_per_batch": 14}})
    house.until_final(sweep.id, by_total)

    first, *_, last = (law.sizes for law in house.store.laws.of_sweep(sweep.id))
    assert (first.proportional, last.proportional) == (True, False)
    assert first.summary.startswith("In every cell that has run so far params_total is ")
