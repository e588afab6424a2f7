"""What a training program finds on its path, with and without Etalon in its interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import etalon
from workers.program_path import FILES, make_program_path

CHECKOUT = Path(etalon.__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return make_program_path(folder)


def program(statements: str, folder: Path, *path: Path | str) -> subprocess.CompletedProcess[str]:
    """Run statements in a folder; ``-S`` leaves only what is named on the path."""
    return subprocess.run(
        [sys.executable, "-S", "-c", statements],
        env={
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "ETALON_REPORT": str(folder / "report.jsonl"),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_folder_holds_the_files_for_programs_alone(path: Path) -> None:
    assert make_program_path(path.parent) == path == path.parent / "python"
    assert {str(found.relative_to(path)) for found in path.rglob("*.*")} == {
        f"etalon/{name}" for name in FILES
    }


def test_a_program_without_etalon_reports(path: Path, tmp_path: Path) -> None:
    done = program("import etalon; print(etalon.report(step=1, loss=3.0), etalon.__file__)", tmp_path, path)
    assert done.stdout == f"True {path}/etalon/__init__.py\n", done.stderr
    assert (tmp_path / "report.jsonl").read_text() == '{"step": 1, "loss": 3.0}\n'


@pytest.mark.parametrize("name", ["Client", "BadInput", "fit", "__version__"])
@pytest.mark.parametrize("statement", ["import etalon; etalon.{}", "from etalon import {}"])
def test_what_needs_etalon_itself_says_that_it_is_not_installed(
    path: Path, tmp_path: Path, statement: str, name: str
) -> None:
    done = program(statement.format(name), tmp_path, path)
    assert f"etalon.{name} needs Etalon itself, and {sys.executable} has none installed" in done.stderr


@pytest.mark.parametrize(
    "statement", ["etalon.Client", "etalon.BadInput", "from etalon import fit", "import etalon.client"]
)
def test_a_program_with_etalon_has_all_of_it(path: Path, tmp_path: Path, statement: str) -> None:
    statements = f"import etalon; {statement}; print(etalon.report(step=1, loss=3.0), etalon.__file__)"
    done = program(statements, tmp_path, path, CHECKOUT, sysconfig.get_path("purelib"))
    assert done.stdout == f"True {path}/etalon/__init__.py\n", done.stderr


def test_modules_of_the_program_keep_their_names(path: Path, tmp_path: Path) -> None:
    names = ("trainer", "workers", "orchestrator", "api", "program", "entry")
    for name in names:
        (tmp_path / f"{name}.py").write_text("own = True\n")
    done = program(f"import etalon, {', '.join(names)}; print({'.own, '.join(names)}.own)", tmp_path, path)
    assert done.stdout == " ".join(["True"] * len(names)) + "\n", done.stderr


def test_the_callback_says_that_transformers_is_missing(path: Path, tmp_path: Path) -> None:
    done = program("import etalon; etalon.HuggingFace", tmp_path, path)
    assert (
        "etalon.HuggingFace is a callback of transformers, which this interpreter does not have"
        in done.stderr
    )
