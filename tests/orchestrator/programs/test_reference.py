"""docs/own_trainers.md names everything that a registration may hold, and its examples can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.programs.definition import NAMES, Limits, ProgramDefinition, ProgramSchedule
from orchestrator.programs.placeholders import Template
from orchestrator.programs.presets import PRESETS
from orchestrator.spec import parse_spec

PAGE = (Path(__file__).parents[3] / "docs" / "own_trainers.md").read_text()
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
]
WHOLE = {
    "command": ["train"],
    "schedule": {},
    "fork": {"save": ["a"], "checkpoint": "{trunk_folder}/{fork_step}", "arguments": []},
}


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *ProgramDefinition.model_fields,
            *NAMES,
            *PRESETS,
            *Limits.model_fields,
            *ProgramSchedule.model_fields,
        }
    ),
)
def test_everything_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_every_default_of_a_limit_is_the_real_one() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^|`]+?)`? \|$", PAGE, re.MULTILINE))
    written = {name: rows[name] for name in Limits.model_fields}
    assert written.pop("disk") == "none"
    assert Limits.model_validate({**written, "tries": int(written["tries"])}) == Limits()


@pytest.mark.parametrize("fields", BLOCKS, ids=lambda fields: next(iter(fields)))
def test_every_example_can_be_read(fields: dict[str, Any]) -> None:
    if "grid" in fields:
        parse_spec(fields)
    elif fields.keys() <= ProgramDefinition.model_fields.keys():
        ProgramDefinition.model_validate({**WHOLE, **fields})
    else:
        (registered,) = fields.values()
        ProgramDefinition.model_validate(registered)


def test_the_spellings_of_numbers_are_the_real_ones() -> None:
    assert [Template.parse("{a}", {"a"}).render({"a": rate}) for rate in (1e-3, 1e-5)] == [
        "0.001",
        "1.0e-05",
    ]
