"""Sweeps of registered programs: their cells, and every value that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from pydantic import TypeAdapter

from orchestrator.errors import BadInput
from orchestrator.spec import RecordedRows, SweepSpec, parse_spec
from orchestrator.spec.fields import BadField


@dataclass
class Mine:
    """A program with the parameter width, from 8 to 64."""

    kind: str = "command"
    takes_seeds: bool = True
    shared_decay: float | None = None

    def checked(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if given.keys() - {"width"}:
            raise BadField("depth", "is no parameter of mine")
        if not 8 <= given["width"] <= 64:
            raise BadField("width", "must be from 8 to 64")
        return given


@dataclass
class OneProgram:
    """A catalogue of one program."""

    registered: Mine

    def program(self, name: str) -> Mine:
        assert name == "mine"
        return self.registered

    def rates(self, source: RecordedRows, field: str) -> NoReturn:
        raise AssertionError


GRID = {
    "scales": [{"params": "2M", "with": {"width": 64}}, {"params": "1M", "with": {"width": 32}}],
    "tokens": [1000, 2050],
    "batch_tokens": [100],
    "learning_rates": [1e-3, 2e-3],
}


def sweep(trainer: dict[str, Any] | None = None, **grid: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "own",
            "trainer": {"kind": "command", "name": "mine"} | (trainer or {}),
            "grid": GRID | grid,
        }
    )


def test_cells_are_all_combinations_smallest_model_first_in_whole_steps() -> None:
    spec = sweep()
    cells = spec.training.cells(spec.grid, OneProgram(Mine()))
    assert [(cell.params, cell.tokens, cell.with_values) for cell in cells] == [
        (1e6, 1000, '{"width": 32}'),
        (1e6, 2000, '{"width": 32}'),
        (2e6, 1000, '{"width": 64}'),
        (2e6, 2000, '{"width": 64}'),
    ]
    assert {cell.trunk for cell in cells} == {None}
    assert {cell.decay_fraction for cell in cells} == {1.0}


def test_horizons_share_a_trunk_where_the_program_forks() -> None:
    spec = sweep()
    cells = list(spec.training.cells(spec.grid, OneProgram(Mine(shared_decay=0.2))))
    assert len({cell.trunk for cell in cells}) == 2
    assert cells[0].trunk == cells[1].trunk
    assert cells[1].marginal_flops(800.0) == pytest.approx(6 * 1e6 * (800 + 400))


def test_a_sweep_is_the_same_after_it_was_stored() -> None:
    adapter, spec = TypeAdapter(SweepSpec), sweep()
    stored = adapter.dump_python(spec, mode="json")
    assert stored["grid"]["scales"][0] == {"params": 2e6, "with": {"width": 64}}
    assert adapter.validate_python(stored) == spec


@pytest.mark.parametrize(
    ("trainer", "grid", "program", "path", "message"),
    [
        ({"kind": "python"}, {}, Mine(), "trainer.kind", "is registered as command"),
        ({}, {"seeds": 2}, Mine(takes_seeds=False), "grid.seeds", "takes no seed"),
        (
            {},
            {"scales": [{"params": "1M", "with": {"width": 65}}]},
            Mine(),
            "grid.scales.0.with.width",
            "from 8 to 64",
        ),
        (
            {"parameters": {"width": 7}},
            {"scales": [{"params": "1M"}]},
            Mine(),
            "trainer.parameters.width",
            "from 8 to 64",
        ),
        (
            {},
            {"scales": [{"params": "1M", "with": {"width": 8, "depth": 2}}]},
            Mine(),
            "grid.scales.0.with.depth",
            "no parameter",
        ),
        (
            {},
            {"scales": [{"params": 1e6, "with": {"width": 8}}, {"params": 1.0005e6, "with": {"width": 9}}]},
            Mine(),
            "grid.scales.1.params",
            "cannot tell them apart",
        ),
        ({}, {"tokens": [99]}, Mine(), "grid.tokens.0", "less than one step"),
    ],
)
def test_what_cannot_be_run_is_refused_at_its_field(
    trainer: dict[str, Any], grid: dict[str, Any], program: Mine, path: str, message: str
) -> None:
    spec = sweep(trainer, **grid)
    with pytest.raises(BadInput, match=message) as refused:
        spec.training.cells(spec.grid, OneProgram(program))
    assert refused.value.fields[0].path == path


@pytest.mark.parametrize(
    ("grid", "path"),
    [
        ({"scales": []}, "grid.scales"),
        ({"scales": [{"width": 8, "depth": 2}]}, "grid.scales.0.params"),
        ({"scales": [{"params": 0}]}, "grid.scales.0.params"),
        ({"scales": [{"params": "1M", "with": {"width": [1]}}]}, "grid.scales.0.with.width"),
    ],
)
def test_a_grid_of_another_form_is_refused(grid: dict[str, Any], path: str) -> None:
    with pytest.raises(BadInput) as refused:
        sweep(**grid)
    assert path in {problem.path for problem in refused.value.fields}
