"""A sweep of a program whose processes are killed and stopped at random; ``benchmarks.disturbances`` does it for longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.disturbances import PROGRAM, VICTIMS, Losses, Workload, disturbed_sweep, faults

pytestmark = pytest.mark.ray

WORKLOAD = Workload(rates=(0.005, 0.01, 0.02, 0.04), steps=(20, 40), step_seconds=0.1)


def direct_losses() -> Losses:
    """The losses of the same runs without Etalon."""
    found: Losses = {}
    for cell, steps in enumerate(WORKLOAD.steps):
        for rate in WORKLOAD.rates:
            asked = [f"--lr={rate}", f"--steps={steps}", f"--decay_steps={steps // 5}", "--out=/nowhere"]
            output = subprocess.check_output([sys.executable, str(PROGRAM), *asked], text=True)
            found[cell, rate] = float(output.split()[-1])
    return found


def test_five_disturbances_change_no_loss_answer_every_run_once_and_leave_no_process(tmp_path: Path) -> None:
    with WORKLOAD.serve(tmp_path) as service:
        sweep_id, sent = disturbed_sweep(service, WORKLOAD, kills=5, seed=10, pause_seconds=1.0)
        assert {one.victim for one in sent} == set(VICTIMS)
        assert faults(service, sweep_id, direct_losses()) == []
        service.orchestrator.terminate()
        assert service.orchestrator.wait(timeout=30) == 0
        assert service.processes() == []
