"""``examples/finished_runs.py`` from its first to its last cell, against a real service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.api.servers import serving

ROOT = Path(__file__).parent.parent.parent


def test_the_example_runs_whole(sqlite_url: str, tmp_path: Path) -> None:
    home = {"ETALON_HOME": str(tmp_path), "ETALON_DATABASE_URL": sqlite_url}
    with serving(sqlite_url, tmp_path) as server:
        environment = os.environ | home | {"ETALON_URL": server.url}
        with (tmp_path / "orchestrator.log").open("w") as log:
            orchestrator = subprocess.Popen(
                [sys.executable, "-m", "orchestrator"], env=environment, stderr=log
            )
        try:
            done = subprocess.run(
                [sys.executable, "examples/finished_runs.py"],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
        finally:
            orchestrator.terminate()
            orchestrator.wait(timeout=30)

    assert done.returncode == 0, done.stderr + (tmp_path / "orchestrator.log").read_text()
    assert "η* " in done.stdout
    assert "a prediction needs ×/÷ 3" in done.stdout
    assert "state=completed" in done.stdout
    offline, *_, served = [line for line in done.stdout.splitlines() if line[:2] in {"1.", "2.", "3.", "0."}]
    assert f"{float(served):.2e}" == offline.partition(",")[0]
