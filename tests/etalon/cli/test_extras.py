"""The light install: a fit needs no extra, and a command whose extra is missing says what to install."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.extras import EXTRAS
from tests.known_law import RECORDED, grid, run_table

ROOT = Path(__file__).parents[3]
MODULES = {
    "psycopg[binary]": "psycopg",
    "prometheus-client": "prometheus_client",
    "ray[tune]": "ray",
    "tensorboardx": "tensorboardX",
}
"""Modules of distributions with other names."""

LIGHT = f"""
import sys
sys.modules |= dict.fromkeys({sorted(frozenset().union(*EXTRAS.values()))!r})
from etalon.cli.main import main
main()
"""
"""The command line with the extras' modules blocked."""


def light(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT, *arguments]
    environment = {"ETALON_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def table(tmp_path: Path) -> str:
    cells = grid((1e6, 2e6, 4e6, 8e6), (1e8, 2e8, 4e8), (65_536,))
    runs = RECORDED.runs(cells, [8e-3 * 2**octave for octave in range(-3, 4)])
    (tmp_path / "runs.csv").write_text(run_table(runs))
    return "runs.csv"


def test_a_fit_needs_no_extra(tmp_path: Path, table: str) -> None:
    fitted = light(tmp_path, "fit", table, "--target", "params=1.6e7,tokens=8e8", "--json")

    assert fitted.returncode == 0, fitted.stderr
    assert json.loads(fitted.stdout)["predictions"][0]["learning_rate"] > 0


def test_a_comparison_needs_no_extra_and_names_the_strategies_that_do(tmp_path: Path, table: str) -> None:
    compared = light(tmp_path, "compare", table, "--replicates", "1", "--share", "20", "--json")

    assert compared.returncode == 0, compared.stderr
    answer = json.loads(compared.stdout)
    assert [found["strategy"] for found in answer["strategies"]] == ["law", "four", "grid", "random"]
    assert [notice["code"] for notice in answer["notices"]] == ["strategy_left_out"] * 2
    assert "pip install 'etalon[server,train]'" in answer["warnings"][1]


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        (("serve",), "server"),
        (("demo",), "server,train"),
        (("compare", "runs.csv", "--page", "page.html"), "server"),
        (("compare", "runs.csv", "--strategy", "tpe"), "server"),
        (("compare", "runs.csv", "--strategy", "gp"), "server,train"),
        (("token", "list"), "server"),
        (("db", "upgrade"), "server"),
        (("corpus", "prepare", "runs.csv"), "train"),
    ],
)
def test_a_command_names_its_missing_extra(
    tmp_path: Path, table: str, command: tuple[str, ...], extras: str
) -> None:
    refused = light(tmp_path, *command)

    assert refused.returncode == 2
    assert f"pip install 'etalon[{extras}]'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_named_modules_are_those_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, modules in EXTRAS.items():
        names = {line.partition(">=")[0] for line in project["optional-dependencies"][extra]}
        assert {MODULES.get(name, name) for name in names} <= modules
