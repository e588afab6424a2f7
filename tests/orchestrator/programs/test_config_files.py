"""Config files of a run: some keys of the operator's file are set, and every one of them must exist."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import BadInput
from orchestrator.programs.config_files import render

DATA: dict[str, Any] = {
    "optimizer": {"lr": 0.1, "name": "adamw"},
    "stages": [{"steps": 1}, {"steps": 2}],
    "comment": "as it is",
}
TOML = 'comment = "as it is"\n[optimizer]\nlr = 0.1 # the peak\nname = "adamw"\n[[stages]]\nsteps = 1\n[[stages]]\nsteps = 2\n'
CHANGES = {"optimizer.lr": 1e-05, "stages.1.steps": 500, "optimizer.name": "muon: a"}


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("c.yaml", yaml.safe_dump(DATA), yaml.safe_load),
        ("c.json", json.dumps(DATA), json.loads),
        ("c.toml", TOML, tomllib.loads),
        ("template", yaml.safe_dump(DATA), yaml.safe_load),
    ],
)
def test_keys_are_set_in_their_own_type(tmp_path: Path, name: str, text: str, read: Any) -> None:
    source = tmp_path / name
    source.write_text(text)
    found = read(render(source, tmp_path / "out.yaml", CHANGES))
    assert found["optimizer"] == {"lr": 1e-05, "name": "muon: a"}
    assert isinstance(found["optimizer"]["lr"], float)
    assert [stage["steps"] for stage in found["stages"]] == [1, 500]
    assert found["comment"] == "as it is"
    assert source.read_text() == text


def test_a_toml_file_keeps_its_comments(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(TOML)
    assert "# the peak" in render(tmp_path / "c.toml", tmp_path / "out", CHANGES)


def test_a_key_of_an_alias_is_set_there_alone(tmp_path: Path) -> None:
    source = tmp_path / "c.yaml"
    source.write_text(
        "base: &base {lr: 0.1, betas: [1, 2]}\nmuon: *base\nadamw: {<<: *base, eps: 1}\nall: [*base]\n"
    )
    found = yaml.safe_load(render(source, tmp_path / "out.yaml", {"muon.lr": 0.5, "adamw.betas.0": 3}))
    assert found == {
        "base": {"lr": 0.1, "betas": [1, 2]},
        "muon": {"lr": 0.5, "betas": [1, 2]},
        "adamw": {"lr": 0.1, "betas": [3, 2], "eps": 1},
        "all": [{"lr": 0.1, "betas": [1, 2]}],
    }


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("a: {b: 1}", "a.c", "has no a.c, so it cannot be set; there are b"),
        ("a: {b: 1}", "c.b", "has no c, so"),
        ("a: [1]", "a.1", "there is a list of 1"),
        ("a: 1", "a.b", "there is 1"),
        ("a: [", "a", "is not valid YAML"),
        ("a: &a [*a]", "a", "contains itself"),
    ],
)
def test_a_key_that_is_not_there_is_refused(tmp_path: Path, text: str, key: str, message: str) -> None:
    source = tmp_path / "c.yaml"
    source.write_text(text)
    with pytest.raises(BadInput) as refused:
        render(source, tmp_path / "out.yaml", {key: 2})
    assert message in refused.value.detail


def test_other_formats_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="YAML, JSON or TOML"):
        render(tmp_path / "c.py", tmp_path / "out.py", {})
    with pytest.raises(BadInput, match="cannot be read"):
        render(tmp_path / "c.yaml", tmp_path / "out.yaml", {})
