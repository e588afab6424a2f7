"""Values of runs: what a run that a changed registration no longer allows says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.errors import BadInput
from orchestrator.programs.registry import read_trainers
from orchestrator.programs.run_values import RunPlace, Start, values_of


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"width": {"type": "int", "max": 8}},
            r"parameter width of the trainer mine is 16; must be .* at most 8\.",
        ),
        ({"depth": {"type": "int"}}, r"parameter width of the trainer mine is no parameter"),
        (
            {"width": {"type": "int"}, "depth": {"type": "int"}},
            r"parameter depth of the trainer mine is missing",
        ),
    ],
)
def test_a_value_that_is_no_longer_allowed_is_named(
    tmp_path: Path, parameters: dict[str, Any], message: str
) -> None:
    tmp_path.chmod(0o700)
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({"mine": {"command": ["train"], "parameters": parameters}}))
    file.chmod(0o600)
    cell = Cell(
        number=0, params=1e6, tokens=1e6, batch_tokens=1e3, rates=(1e-3,), with_values='{"width": 16}'
    )
    place = RunPlace(run_id="r1", folder=tmp_path, trunk_folder=tmp_path)
    with pytest.raises(BadInput, match=message):
        values_of(
            read_trainers(file).get("mine"),
            {},
            cell,
            place,
            learning_rate=1e-3,
            seed=0,
            gpus=0,
            start=Start(),
        )
