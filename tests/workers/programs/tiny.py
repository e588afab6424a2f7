"""The registration of the tiny trainer, and jobs of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.cells import Cell, Cells
from orchestrator.programs.registry import Registration, read_trainers
from orchestrator.spec import Resources
from orchestrator.store.records import RunResult
from workers.command_jobs import ProgramJob, ProgramRun
from workers.programs.program_runner import ProgramSetup
from workers.runner import Report

SCRIPT = Path(__file__).with_name("tiny_trainer.py")
BATCH = 10

COMMAND = [
    "python",
    str(SCRIPT),
    "--lr={learning_rate}",
    "--steps={steps}",
    "--decay_steps={decay_steps}",
    "--width={width}",
    "--seed={seed}",
    "--out={run_folder}",
]
FIELDS: dict[str, Any] = {
    "command": COMMAND,
    "parameters": {"width": {"type": "int", "min": 8, "max": 64, "default": 16}},
    "schedule": {"decay_fraction": 0.2},
    "losses": {"training": {"output": "step {step} loss {value}"}, "answer": "training.last"},
    "limits": {"start": "20s", "silence": "20s", "run": "2m", "stop": "4s", "tries": 2},
}
RESUME = {"when": "{run_folder}/own.json", "arguments": []}
FORK = {
    "save": ["--save_at={fork_steps}", "--save_to={trunk_folder}"],
    "checkpoint": "{trunk_folder}/step-{fork_step}",
    "arguments": ["--init_from={checkpoint}"],
}


def registered(place: Path, *arguments: str, **fields: Any) -> Registration:
    """The tiny trainer with further arguments and other fields."""
    place.mkdir(mode=0o700, exist_ok=True)
    file = place / "trainers.yaml"
    file.write_text(json.dumps({"tiny": FIELDS | {"command": [*COMMAND, *arguments]} | fields}))
    file.chmod(0o600)
    return read_trainers(file).get("tiny")


def cells(*steps: int, trunk: str | None = None, params: float = 1e6) -> Cells:
    """One cell for each number of steps."""
    return Cells(
        Cell(
            number=at,
            params=params,
            tokens=float(count * BATCH),
            batch_tokens=float(BATCH),
            rates=(0.01,),
            trunk=trunk,
            decay_fraction=0.2,
        )
        for at, count in enumerate(steps)
    )


def setup(registration: Registration, of: Cells, folder: Path) -> ProgramSetup:
    """The input of a worker."""
    return ProgramSetup(
        registration=registration, parameters={}, cells=of, folder=folder, resources=Resources()
    )


def job(*numbers: int, learning_rate: float = 0.01, trunk_id: str | None = None, seed: int = 0) -> ProgramJob:
    """A job of the runs r0, r1, … in the cells of these numbers."""
    return ProgramJob(
        learning_rate=learning_rate,
        seed=seed,
        trunk_id=trunk_id,
        runs=tuple(ProgramRun(run_id=f"r{number}", cell=number) for number in numbers),
    )


def carry_out(
    worker: ProgramSetup, work: ProgramJob, *, between: Callable[[Report], object] = lambda report: None
) -> Report:
    """Everything that a runner reports of a job."""
    runner = worker.open_runner()
    runner.begin(work)
    whole, deadline = Report(), time.monotonic() + 60
    while time.monotonic() < deadline:
        report, done = runner.advance(0.3)
        whole += report
        if done:
            return whole
        between(report)
    raise TimeoutError(whole)


def by_run(results: Sequence[RunResult]) -> dict[str, RunResult]:
    """The results by their runs; each has one."""
    found = {result.run_id: result for result in results}
    assert len(found) == len(results)
    return found
