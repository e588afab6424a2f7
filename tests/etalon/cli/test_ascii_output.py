"""Output in encodings without η, and errors that name options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from etalon.cli.ascii_output import spelled
from etalon.cli.outcome import with_flags
from orchestrator.errors import BadInput, FieldProblem
from tests.orchestrator.strategies.tables import rows, text

PROGRAM = "from etalon.cli.main import main; main()"


def etalon(encoding: str, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    return done.returncode, (done.stdout + done.stderr).decode(encoding)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "läufe_η.csv"
    path.write_text(text(rows()))
    return path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_fit_is_shown_in_an_encoding_without_eta(runs: Path, encoding: str) -> None:
    code, shown = etalon(encoding, "fit", runs, "--target", "params=1e8,tokens=1e9,batch_tokens=65536")

    assert code in {0, 3}, shown
    assert "eta*" in shown
    assert "Traceback" not in shown


def test_json_in_ascii_keeps_its_characters(runs: Path) -> None:
    code, shown = etalon("ascii", "fit", runs.with_name("ö_η.csv"), "--json")

    assert code == 2
    assert "ö_η.csv" in json.loads(shown)["detail"]


@pytest.mark.parametrize(
    ("signs", "ascii_signs"),
    [("η* ×/÷ 1.2 … –", "eta* x// 1.2 ... -"), ("läufe", "laufe"), ("界\u00a0", "? ")],
)
def test_signs_without_an_encoding_are_spelled(signs: str, ascii_signs: str) -> None:
    assert spelled(signs) == ascii_signs


def test_an_error_names_the_options_of_the_command() -> None:
    problems = (
        FieldProblem(path="where.optimizer", message="one of: adamw, muon"),
        FieldProblem(path="state", message="must be running"),
        FieldProblem(path="budget_flops", message="is low"),
    )
    error = BadInput(
        "pick one with where optimizer=…; state: must be running; budget_flops: is low", fields=problems
    )

    assert with_flags(error, {"where", "budget_flops"}) == (
        "pick one with --where optimizer=…; state: must be running; --budget-flops: is low"
    )
