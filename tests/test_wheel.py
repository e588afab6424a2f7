"""The wheel: what lies in it, and that it runs beside a user's packages with the service's names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ("api", "migrations", "trainer", "workers")


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", *build, "--wheel-dir", folder, ROOT], check=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unzipped")
    return folder / "unzipped"


def etalon(unzipped: Path, folder: Path, *arguments: str) -> str:
    """The output of a command of the wheel; ``-S`` keeps the path of the editable checkout out."""
    path = os.pathsep.join([str(unzipped), sysconfig.get_path("purelib")])
    result = subprocess.run(
        [sys.executable, "-S", "-m", "etalon.cli.main", *arguments],
        env={"ETALON_HOME": str(folder / "home"), "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with a user's packages that have the service's names and cannot be imported."""
    for name in SERVICE:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a package of the user')\n")
    return tmp_path


def test_its_top_level_names_are_etalon_and_orchestrator(unzipped: Path) -> None:
    names = {path.name for path in unzipped.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"etalon", "orchestrator"}
    assert len(names) == 3


def test_every_file_of_the_service_is_in_it(unzipped: Path) -> None:
    def files(root: Path) -> set[Path]:
        found = (path for room in SERVICE for path in (root / room).rglob("*") if path.is_file())
        return {path.relative_to(root) for path in found if "__pycache__" not in path.parts}

    inside = files(unzipped / "etalon" / "_service")
    assert inside == files(ROOT)
    assert {path.suffix for path in inside} >= {".html", ".css", ".js", ".ini"}


def test_a_fit_runs_beside_packages_named_like_the_service(unzipped: Path, foreign: Path) -> None:
    table = str(ROOT / "examples" / "finished_runs.csv")
    fitted = json.loads(
        etalon(unzipped, foreign, "fit", table, "--target", "params=1e9,tokens=2e10", "--json")
    )
    assert fitted["predictions"][0]["learning_rate"] > 0


def test_it_prints_its_version(unzipped: Path, foreign: Path) -> None:
    version = etalon(unzipped, foreign, "--version").split()[-1]
    assert (unzipped / f"etalon-{version}.dist-info").is_dir()


def test_migrations_run_beside_packages_named_like_the_service(unzipped: Path, foreign: Path) -> None:
    etalon(unzipped, foreign, "db", "upgrade")
    assert (foreign / "home" / "etalon.db").is_file()
