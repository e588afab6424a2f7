"""Revisions of a specification: what may change, what may grow, and what stays where it was."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cells import CLOSE
from orchestrator.errors import BadInput
from orchestrator.spec import SweepSpec, grown_cells, parse_spec, patched, revised

GRID = {
    "scales": [{"width": 32, "depth": 2}, {"width": 64, "depth": 2}],
    "tokens": [200_704, 401_408],
    "batch_tokens": [2048],
    "learning_rates": {"min": 1e-3, "max": 3.2e-2, "per_octave": 1},
}
TARGET = {"params": 1e6, "tokens": 8e5, "batch_tokens": 2048}


def a_sweep(**changes: Any) -> SweepSpec:
    return parse_spec(
        {"name": "small", "trainer": {"kind": "proxy"}, "grid": GRID, "target": TARGET} | changes
    )


SPEC = a_sweep()


def paths(patch: dict[str, Any], spec: SweepSpec = SPEC) -> list[str]:
    with pytest.raises(BadInput) as refused:
        revised(spec, patch)
    return [field.path for field in refused.value.fields]


@pytest.mark.parametrize(
    ("patch", "path", "value"),
    [
        ({"name": "another"}, "name", "another"),
        ({"target": {"params": "2B"}}, "target.params", 2e9),
        ({"target": None}, "target", None),
        ({"search": {"budget": {"runs": 400}}}, "search.budget.runs", 400),
        ({"search": {"budget": None}}, "search.budget.flops", None),
        ({"search": {"stop": {"interval_factor": 1.2}}}, "search.stop.interval_factor", 1.2),
        ({"resources": {"max_parallel": 8}}, "resources.max_parallel", 8),
        ({"grid": {"tokens": ["200704", 401_408, "800k"]}}, "grid.tokens", (200_704, 401_408, 800_000)),
        ({"grid": {"batch_tokens": [4096, 2048]}}, "grid.batch_tokens", (4096, 2048)),
        ({"grid": {"seeds": 3}}, "grid.seeds", 3),
    ],
)
def test_what_may_change_is_changed_and_nothing_else(patch: Any, path: str, value: Any) -> None:
    spec = a_sweep(search={"budget": {"flops": 1e15}})
    found: Any = revised(spec, patch)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    top = path.partition(".")[0]
    assert revised(spec, patch).model_dump(exclude={top}) == spec.model_dump(exclude={top})


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"trainer": {"context": 128}}, "trainer.context"),
        ({"trainer": None}, "trainer"),
        ({"search": {"strategy": "grid"}}, "search.strategy"),
        ({"search": None, "grid": {"tokens": [200_704]}}, "grid.tokens"),
        ({"state": "running"}, "state"),
        ({"name": None}, "name"),
        ({"grid": {"scales": [{"width": 32, "depth": 2}]}}, "grid.scales"),
        ({"grid": {"tokens": [401_408, 802_816]}}, "grid.tokens"),
        ({"grid": {"batch_tokens": [4096]}}, "grid.batch_tokens"),
        ({"grid": {"batch_tokens": None}}, "grid.batch_tokens"),
        ({"grid": {"learning_rates": {"min": 2e-3}}}, "grid.learning_rates"),
        ({"grid": {"learning_rates": {"max": 8e-3}}}, "grid.learning_rates"),
        ({"grid": {"learning_rates": {"per_octave": 1.5}}}, "grid.learning_rates"),
        ({"grid": {"learning_rates": [1e-3, 2e-3]}}, "grid.learning_rates"),
        ({"grid": None}, "grid.scales"),
        ({"resources": {"max_parallel": 0}}, "resources.max_parallel"),
        ({"prior_runs": {"table": "other"}}, "prior_runs.table"),
    ],
)
def test_anything_else_is_refused_at_its_field(patch: Any, path: str) -> None:
    assert any(found == path or path.startswith(f"{found}.") for found in paths(patch))


def test_seeds_never_shrink() -> None:
    assert paths({"grid": {"seeds": None}}, a_sweep(grid=GRID | {"seeds": 2})) == ["grid.seeds"]


def test_the_same_values_again_are_no_change() -> None:
    assert revised(SPEC, SPEC.model_dump(mode="json")) == SPEC
    assert revised(SPEC, {}) == SPEC


@given(
    low=st.floats(1e-5, 1e-3),
    high=st.floats(3.2e-2, 1.0),
    finer=st.integers(1, 4),
    per_octave=st.sampled_from([0.5, 1, 2, 3]),
)
def test_a_grown_lattice_keeps_every_rate_and_continues_its_spacing(
    low: float, high: float, finer: int, per_octave: float
) -> None:
    lattice = {"min": 1e-3, "max": 3.2e-2, "per_octave": per_octave}
    spec = a_sweep(grid=GRID | {"learning_rates": lattice})
    asked = {"min": low, "max": high, "per_octave": finer * per_octave}
    grown = revised(spec, {"grid": {"learning_rates": asked}})
    old, new = spec.grid.rates(), grown.grid.rates()
    assert all(any(abs(math.log(rate / one)) < CLOSE for one in new) for rate in old)
    steps = [math.log2(after / before) for before, after in pairwise(new)]
    assert steps == pytest.approx([1 / (finer * per_octave)] * len(steps), abs=1e-4)
    assert low * (1 - 1e-5) <= new[0] < low * 2 ** (1 / (finer * per_octave)) * (1 + 1e-5)
    assert revised(grown, {"grid": {"learning_rates": asked}}) == grown


def test_cells_keep_their_numbers_and_their_very_rates() -> None:
    trainer: Any = SPEC.trainer
    known = trainer.cells(SPEC.grid)
    grid = {
        "scales": [{"width": 48, "depth": 2}, *GRID["scales"]],
        "tokens": [100_352, 200_704, 401_408],
        "learning_rates": {"min": 1e-4, "max": 0.1},
    }
    spec = revised(SPEC, {"grid": grid})
    grown = grown_cells(known, trainer.cells(spec.grid))
    assert len(grown) == 9
    for cell in known:
        now = grown[cell.number]
        assert (now.point, now.trunk) == (cell.point, cell.trunk)
        assert set(cell.rates) < set(now.rates)
    assert {cell.point for cell in grown} == {cell.point for cell in trainer.cells(spec.grid)}
    assert [len(cell.rates) for cell in grown] == [len(spec.grid.rates())] * 9


def test_a_smaller_base_of_transferred_rates_is_refused() -> None:
    spec = a_sweep(trainer={"kind": "proxy", "parametrization": {"kind": "mup"}})
    smaller = {"grid": {"scales": [{"width": 16, "depth": 2}, *GRID["scales"]]}}
    larger = {"grid": {"scales": [*GRID["scales"], {"width": 96, "depth": 2}]}}
    assert paths(smaller, spec) == ["grid.scales"]
    assert len(revised(spec, larger).grid.scales) == 3


def test_a_clone_may_change_anything() -> None:
    cloned = patched(SPEC, {"name": "copy", "search": {"strategy": "grid"}, "grid": {"tokens": [200_704]}})
    assert (cloned.name, cloned.search.strategy, cloned.grid.tokens) == ("copy", "grid", (200_704,))
