"""Help is printed at once: libraries that take long to load, or that an extra brings, are imported by the commands that
need them.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import etalon
from orchestrator.extras import EXTRAS

HEAVY = {"numpy", "scipy"}.union(*EXTRAS.values())
PROGRAM = """
import atexit, sys
from etalon.cli.main import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


@pytest.mark.parametrize("command", [(), ("fit",), ("compare",), ("sweep", "show"), ("token", "create")])
def test_help_loads_no_heavy_library(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("module", ["etalon", "etalon.cli.main"])
def test_the_version_is_that_of_the_package(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"etalon {etalon.__version__}\n"), done.stderr
