"""``python -m etalon.entry``: a function of the operator's called with the values of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
def answers(run):
    print(run["learning_rate"] * 2)
    return run["learning_rate"]

def returns_nothing(run):
    import etalon
    etalon.report(step=1, loss=2.5)

def returns_a_table(run):
    return {"loss": 2.5}

def tells_its_arguments(run):
    import sys
    print(sys.argv[1:])

number = 3
"""


def entry(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Call an entry point; what it printed, and the report."""
    (folder / "mine").mkdir()
    (folder / "mine" / "training.py").write_text(MODULE)
    (folder / "run.json").write_text(json.dumps({"learning_rate": 0.5}))
    report = folder / "report.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "etalon.entry", *arguments],
        env=os.environ | {"ETALON_RUN": str(folder / "run.json"), "ETALON_REPORT": str(report)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, report.read_text() if report.exists() else ""


@pytest.mark.parametrize(
    ("name", "printed", "report"),
    [
        ("answers", "1.0\n", '{"done": true, "loss": 0.5}\n'),
        ("returns_nothing", "", '{"step": 1, "loss": 2.5}\n'),
        ("returns_a_table", "", ""),
    ],
)
def test_a_number_that_the_function_returns_is_the_answer(
    tmp_path: Path, name: str, printed: str, report: str
) -> None:
    done, reported = entry(tmp_path, f"mine.training:{name}")
    assert (done.returncode, done.stdout, reported) == (0, printed, report), done.stderr


def test_further_arguments_are_the_functions_own(tmp_path: Path) -> None:
    done, _ = entry(tmp_path, "mine.training:tells_its_arguments", "--resume", "--save_at=1,2")
    assert done.stdout == "['--resume', '--save_at=1,2']\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.training:number"], "'mine.training:number' names no function"),
        (["mine.training:train"], "'mine.training:train' names no function"),
        (["mine.training"], "it is written package.module:function"),
        ([":train"], "it is written package.module:function"),
        ([], "usage: python -m etalon.entry package.module:function"),
        (["mine.other:train"], "No module named 'mine.other'"),
    ],
)
def test_what_names_no_function_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    done, reported = entry(tmp_path, *arguments)
    assert message in done.stderr
    assert (done.returncode, reported) == (1, "")
