"""Registrations and a run of a registered trainer, for pages that show them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.cells import Cell
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.programs.registry import read_trainers
from orchestrator.spec import parse_spec
from orchestrator.states import RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import RunResult
from tests.bench import Bench

TEXT = """\
nanogpt:
  description: Our 4-GPU pre-training script
  command: [python, train.py, "--learning_rate={learning_rate}", "--batch={batch_tokens/1024}", "--n={n_layer}x{n_embd}"]
  parameters:
    n_layer: {type: int, min: 1, max: 96, description: Transformer blocks}
    n_embd: {type: int, min: 64, max: 12288, multiple_of: 64}
    optimizer: {type: choice, values: [adamw, muon], default: adamw}
    dropout: {type: float, min: 0, max: 0.5, default: 0.0}
  losses: {training: {output: 'iter {step}: loss {value}'}}
  seeds: false
tiny: {command: [train], parameters: {width: {type: int, min: 8, max: 64}}}
broken: {command: [train, "{learning_rat}"]}
"""


def register(folder: Path, text: str = TEXT) -> None:
    """Register trainers in a home."""
    place = folder / "trainers"
    place.mkdir(mode=0o700, exist_ok=True)
    (place / "trainers.yaml").write_text(text)
    (place / "trainers.yaml").chmod(0o600)


def check(store: Store, folder: Path, name: str, *, passed: bool = False, **found: Any) -> None:
    """Keep a check of a trainer."""
    steps = [
        CheckStep(name="losses", finding=Finding.GOOD, message="200 lines matched; losses have 4 digits."),
        CheckStep(name="resume", finding=Finding.SKIPPED, message="No resume is declared."),
    ]
    if not passed:
        steps.append(
            CheckStep(name="stop", finding=Finding.BAD, message="2 processes were left 25 s after SIGTERM.")
        )
    fields: dict[str, Any] = {"forks": None, "tokens_per_second": 12_000.0, "params": None} | found
    document = CheckDocument(passed=passed, steps=steps, checked_at=datetime.now(UTC), **fields)
    store.trainer_checks.write(read_trainers(folder / "trainers").get(name).digest, document)


class ProgramRun(Bench):
    """One running run of a registered trainer."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        fields: dict[str, Any] = {
            "name": "own",
            "trainer": {"kind": "command", "name": "nanogpt"},
            "grid": {
                "scales": [{"params": 1e6, "with": {"n_layer": 2, "n_embd": 64}}],
                "tokens": [400_000],
                "batch_tokens": [2048],
                "learning_rates": [1e-3],
            },
            "target": {"params": 1e8, "tokens": 8e5, "batch_tokens": 2048},
        }
        cell = Cell(number=0, params=1e6, tokens=4e5, batch_tokens=2048.0, rates=(1e-3,), decay_fraction=1.0)
        self.sweep = self.create(parse_spec(fields), [cell])
        self.ask(self.sweep.id, (0, 1e-3))
        self.driver = self.drive(self.sweep.id)
        (self.run,) = store.runs.claim(self.sweep.id, fence=self.driver)

    def print(self, text: str) -> None:
        """Keep this output instead of what was kept before."""
        tail = OutputTail(text=text, end_byte=len(text.encode()))
        self.store.logs.write({self.run.id: tail}, fence=self.driver, lease=driver_lease(self.sweep.id))

    def fail(self, reason: str) -> None:
        """Fail the run for good."""
        result = RunResult(run_id=self.run.id, state=RunState.FAILED, reason=reason)
        self.store.runs.finish([result], fence=self.driver)

    def end(self) -> None:
        """Complete the run."""
        result = RunResult(run_id=self.run.id, state=RunState.COMPLETED, loss=3.0, flops=1.0, seconds=1.0)
        self.store.runs.finish([result], fence=self.driver)
