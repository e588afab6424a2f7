"""Help is printed at once: libraries that take seconds to load are imported by the commands that need them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "alembic",
    "numpy",
    "optuna",
    "plotly",
    "ray",
    "scipy",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "uvicorn",
)
PROGRAM = """
import sys
from etalon.cli.main import main
try:
    main()
finally:
    print(*sorted(set(sys.argv.pop().split(",")) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("fit", "--help"), ("compare", "--help"), ("token", "--help")]
)
def test_help_loads_no_library_that_takes_seconds(arguments: tuple[str, ...]) -> None:
    program = PROGRAM.replace("sys.argv.pop()", repr(",".join(HEAVY)))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert done.stderr.split() == []
