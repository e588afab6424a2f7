"""The example for Hugging Face's Trainer, in a virtual environment of its own; only with ``pytest --slow``."""

from __future__ import annotations

import math
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from orchestrator.states import RunState
from tests.examples.test_own import Carried

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_callback_reports_losses_size_and_checkpoints(tmp_path: Path) -> None:
    carried = Carried("huggingface", tmp_path, 60, params=8272)
    environment = carried.setup.registration.folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    packages = next((environment / "lib").glob("python*/site-packages"))
    # PyTorch is large, so it is shared with this environment.
    (packages / "shared.pth").write_text(sysconfig.get_paths()["purelib"])
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "transformers", "accelerate"], check=True)
    runner = carried.begin()
    while not carried.is_done:
        carried.advance(runner)
    (result,) = carried.results
    assert result.state is RunState.COMPLETED, result.reason
    assert result.loss is not None
    assert result.loss < math.log(128)
    losses = [point.loss for point in carried.points]
    assert losses[-1] < losses[0]
    assert [point.tokens for point in carried.points][-1] == 60 * 1024
