"""Every kind of trainer answers for itself: no other room tests which kind a trainer is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from pydantic import BaseModel

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.spec import (
    KINDS,
    Catalogue,
    Grid,
    GridOf,
    ProxyTrainer,
    Scale,
    SweepSpec,
    TrainerKind,
    parse_spec,
)
from orchestrator.spec.fields import BadField
from orchestrator.spec.kinds import TRAINERS

ROOT = Path(__file__).parents[3]
ROOMS = ("api", "etalon", "orchestrator", "trainer", "workers")
NAMES = {trainer.__name__ for trainer in TRAINERS} | {TrainerKind.__name__}


class NoCatalogue:
    """A catalogue that must not be asked."""


def sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from (
            path for path in (ROOT / room).rglob("*.py") if "orchestrator/spec" not in path.as_posix()
        )


def names_in(node: ast.AST) -> set[str]:
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name)} | {
        item.attr for item in ast.walk(node) if isinstance(item, ast.Attribute)
    }


def is_test_of_a_kind(node: ast.AST) -> bool:
    """Whether a piece of code tests which kind a trainer is, by its class or by its name."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"isinstance", "issubclass"} and bool(names_in(node.args[1]) & NAMES)
    if isinstance(node, ast.MatchClass):
        return bool(names_in(node.cls) & NAMES)
    if isinstance(node, ast.Compare):
        sides = [side for side in (node.left, *node.comparators) if isinstance(side, ast.Attribute)]
        return any(side.attr == "kind" and names_in(side.value) & {"trainer", "training"} for side in sides)
    return False


def test_no_other_room_tests_which_kind_a_trainer_is() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if is_test_of_a_kind(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(spec.trainer, ProxyTrainer)",
        "isinstance(trainer, (int, spec.ReplayTrainer))",
        "spec.trainer.kind == 'proxy'",
        "'proxy' != trainer.kind",
        "match trainer:\n case CommandTrainer(): pass",
    ],
)
def test_such_tests_are_found(code: str) -> None:
    assert any(is_test_of_a_kind(node) for node in ast.walk(ast.parse(code)))


def test_the_specification_takes_the_kinds_of_the_table() -> None:
    schema = SweepSpec.model_json_schema()
    union = schema["properties"]["trainer"]["anyOf"][0]

    assert set(union["discriminator"]["mapping"]) == set(KINDS)
    items = str(schema["$defs"]["Grid"]["properties"]["scales"]["items"])
    scales = [trainer.scale.__name__ for trainer in TRAINERS if trainer.scale is not None]
    assert all(f"'#/$defs/{scale}'" in items for scale in scales)


def unions(model: type[BaseModel]) -> dict[str, set[str]]:
    """The tags of a model's own tagged unions, by field."""
    found = {}
    for name, field in model.model_fields.items():
        tags = {
            item.tag
            for member in get_args(field.annotation)
            for item in getattr(member, "__metadata__", ())
            if hasattr(item, "tag")
        }
        if tags:
            found[name] = tags
    return found


@pytest.mark.parametrize("trainer", TRAINERS)
def test_paths_of_errors_leave_out_the_tags_of_every_union(trainer: type[TrainerKind]) -> None:
    assert {field: set(tags) for field, tags in trainer.tags.items()} == unions(trainer)


PROGRAM_GRID: dict[str, Any] = {
    "scales": [{"params": "1M"}],
    "tokens": [131_072],
    "batch_tokens": [256],
    "learning_rates": [1e-3],
}


def sweep(trainer: dict[str, Any], **fields: Any) -> SweepSpec:
    return parse_spec({"name": "a", "trainer": trainer, **fields})


def test_a_program_has_no_more_than_losses_of_single_runs() -> None:
    training = sweep({"kind": "command", "name": "mine"}, grid=PROGRAM_GRID).training

    assert training.no_curves is None
    assert training.no_lenses == "The program of an operator reports losses only."
    assert training.no_stable_phase is not None
    assert not training.takes_whole_batches
    assert (training.corpus_name, training.recorded, training.base(Grid())) == (None, None, None)
    assert (training.counted, training.active_share(Grid())) == ("params", 1.0)


class NewKind(TrainerKind):
    """A kind that states nothing but its cells."""

    kind: Literal["new"] = "new"

    def cells(self, grid: GridOf[Any], catalogue: Catalogue) -> Cells:
        return Cells()


FULL_GRID: dict[str, Any] = {
    "scales": [{"width": 16, "depth": 2}],
    "tokens": [131_072],
    "batch_tokens": [256],
    "learning_rates": [1e-3],
}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"tokens": []}, "grid.tokens", "is empty; a new sweep needs at least one"),
        ({"learning_rates": []}, "grid.learning_rates", "is empty"),
        ({"tokens": range(1, 102), "batch_tokens": range(1, 102)}, "grid", "has 10201 cells"),
        (
            {"tokens": range(1, 101), "batch_tokens": range(1, 101), "seeds": 11},
            "grid",
            "makes 110000 runs",
        ),
    ],
)
def test_a_new_kind_has_its_grid_checked(fields: dict[str, Any], path: str, message: str) -> None:
    NewKind().check(Grid.model_validate(FULL_GRID))
    with pytest.raises(BadField, match=message) as refused:
        NewKind().check(
            Grid.model_validate(FULL_GRID | {k: v if k == "seeds" else tuple(v) for k, v in fields.items()})
        )
    assert refused.value.path == path


def test_a_sweep_that_only_fits_has_no_cells() -> None:
    spec = parse_spec({"name": "a fit", "prior_runs": {"table": "t"}})

    assert spec.trainer is None
    assert spec.training.cells(spec.grid, NoCatalogue()) == Cells()  # type: ignore[arg-type]
    assert spec.needs == spec.resources


def test_only_proxies_have_a_recipe() -> None:
    trainer, found = sweep({"kind": "proxy"}, grid=FULL_GRID).proxies

    assert isinstance(trainer, ProxyTrainer)
    assert found.scales == (Scale(width=16, depth=2),)
    for other in (
        sweep({"kind": "replay", "table": "t"}),
        parse_spec({"name": "a", "prior_runs": {"table": "t"}}),
    ):
        with pytest.raises(BadInput) as refused:
            _ = other.proxies
        assert refused.value.fields[0].path == "trainer.kind"
