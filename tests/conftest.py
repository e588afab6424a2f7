"""What tests of every room share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded_runs() -> Path:
    """The folder of recorded run tables, named by ETALON_RECORDED_RUNS; without it the test is skipped."""
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    if not folder:
        pytest.skip("ETALON_RECORDED_RUNS names no folder of recorded runs")
    return Path(folder)
