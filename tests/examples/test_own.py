"""``examples/own``: each program by hand, and in the hands of a worker as its registration and sweep say.

The program for Hugging Face needs a virtual environment of its own and is not run here.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
import yaml

from orchestrator.cells import Cells
from orchestrator.programs.registry import Registration, read_trainers
from orchestrator.spec import SweepSpec
from orchestrator.spec.parsing import parse_spec
from orchestrator.states import RunState
from orchestrator.store.records import LossPoint, RunResult
from orchestrator.submission.catalogue import CheckedProgram, check_program
from tests.waiting import until
from workers.command_jobs import ProgramJob, ProgramRun
from workers.programs.descendants import find_marked
from workers.programs.program_runner import ProgramRunner, ProgramSetup

OWN = Path(__file__).parents[2] / "examples" / "own"
NAMES = ("plain", "reported", "forked", "torchrun", "config_file", "huggingface")
LEARNING_RATE, SEED, BATCH_TOKENS, STEPS, FEWER_STEPS = 0.02, 3, 1024, 200, 120
BY_HAND = (f"--lr={LEARNING_RATE}", f"--steps={STEPS}", "--decay_steps=40", "--width=16", f"--seed={SEED}")
"""Arguments of the run that all examples are compared with, by hand."""


@dataclass(frozen=True)
class Own:
    """An example, registered."""

    registration: Registration
    spec: SweepSpec
    cells: Cells


class OneProgram:
    """A catalogue of one program and no table."""

    def __init__(self, registration: Registration) -> None:
        self._program = CheckedProgram(registration=registration, check=None)

    def rates(self, *_: object) -> Any:
        raise NotImplementedError

    def program(self, name: str) -> CheckedProgram:
        assert name == self._program.registration.name
        return self._program


def own(name: str, folder: Path, **grid: Any) -> Own:
    """A copy of an example that nobody else may write, with changes to its sweep's grid."""
    copy = folder / "registered"
    shutil.copytree(OWN / name, copy)
    for path in (copy, copy / "trainers.yaml"):
        path.chmod(0o700)
    registration = read_trainers(copy / "trainers.yaml").get(name)
    fields = yaml.safe_load((copy / "sweep.yaml").read_text())
    spec = parse_spec({**fields, "grid": {**fields["grid"], **grid}})
    cells = spec.training.cells(spec.grid, OneProgram(registration))
    check_program(spec, cells, CheckedProgram(registration=registration, check=None))
    return Own(registration, spec, cells)


class Carried:
    """One job of an example, of one size and all its horizons."""

    def __init__(self, name: str, folder: Path, *steps: int, params: int = 6592) -> None:
        example = own(
            name,
            folder,
            scales=[{"params": params, "with": {"width": 16}}],
            tokens=[number * BATCH_TOKENS for number in steps],
        )
        self.setup = ProgramSetup(
            registration=example.registration,
            parameters={},
            cells=example.cells,
            folder=folder,
            resources=example.spec.resources,
        )
        self.job = ProgramJob(
            learning_rate=LEARNING_RATE,
            seed=SEED,
            trunk_id=next(iter(example.cells)).trunk,
            runs=tuple(
                ProgramRun(run_id=f"steps-{cell.tokens / BATCH_TOKENS:.0f}", cell=cell.number)
                for cell in sorted(example.cells, key=lambda cell: -cell.tokens)
            ),
        )
        self.results: tuple[RunResult, ...] = ()
        self.points: tuple[LossPoint, ...] = ()
        self.is_done = False

    def begin(self) -> ProgramRunner:
        """A new worker takes up the job."""
        runner = self.setup.open_runner()
        runner.begin(self.job)
        return runner

    def advance(self, runner: ProgramRunner) -> bool:
        report, self.is_done = runner.advance(0.1)
        self.results += report.results
        self.points += report.points
        return self.is_done

    def folder(self, steps: int) -> Path:
        return self.setup.run_folder(f"steps-{steps}")

    def reported(self, steps: int) -> list[dict[str, Any]]:
        path = self.folder(steps) / "report.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def carried_out(name: str, folder: Path, *steps: int) -> Carried:
    """A job that one worker carried out, each run completed."""
    carried = Carried(name, folder, *steps)
    runner = carried.begin()
    until(lambda: carried.advance(runner))
    assert [result.state for result in carried.results] == [RunState.COMPLETED] * len(steps), carried.results
    return carried


def by_hand(name: str, folder: Path, *arguments: str, **environment: str) -> str:
    """The output of a program that is started by hand."""
    return subprocess.run(
        [sys.executable, str(OWN / name / "train.py"), *arguments, f"--out_dir={folder}"],
        env=os.environ | environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def validation_loss(output: str) -> float:
    found = re.search(rf"step {STEPS} validation loss (\d\.\d{{4}})", output)
    assert found is not None, output
    return float(found[1])


def same_weights(one: Path, other: Path) -> bool:
    left, right = torch.load(one / "model.pt"), torch.load(other / "model.pt")
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder and the loss of the plain program, started by hand."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, validation_loss(by_hand("plain", folder, *BY_HAND))


@pytest.mark.parametrize("name", ["plain", "config_file"])
def test_a_program_that_knows_nothing_of_etalon_runs_as_by_hand(
    name: str, plain: tuple[Path, float], tmp_path: Path
) -> None:
    carried = carried_out(name, tmp_path, STEPS)
    assert carried.results[0].loss == plain[1]
    assert [point.step for point in carried.points] == list(range(10, STEPS + 1, 10))
    assert same_weights(plain[0], carried.folder(STEPS))


def test_two_processes_train_the_model_of_one(plain: tuple[Path, float], tmp_path: Path) -> None:
    carried = carried_out("torchrun", tmp_path, STEPS)
    assert carried.results[0].loss == pytest.approx(plain[1], abs=0.01), "the same batches, added otherwise"
    assert [point.step for point in carried.points] == list(range(10, STEPS + 1, 10))


def test_by_hand_the_lines_for_etalon_change_nothing(plain: tuple[Path, float], tmp_path: Path) -> None:
    assert validation_loss(by_hand("reported", tmp_path, *BY_HAND)) == plain[1]
    assert same_weights(plain[0], tmp_path)


def test_a_program_that_was_stopped_and_then_killed_ends_with_the_same_weights(
    plain: tuple[Path, float], tmp_path: Path
) -> None:
    carried = Carried("reported", tmp_path, STEPS)
    stopped = carried.begin()
    until(lambda: carried.advance(stopped) or carried.reported(STEPS))
    stopped.save()
    known = carried.reported(STEPS)
    assert not carried.is_done
    assert known[-1]["step"] < STEPS

    another = carried.begin()
    until(lambda: carried.advance(another) or len(carried.reported(STEPS)) > len(known) + 2)
    for process in find_marked(str(carried.folder(STEPS) / "run.json")):
        process.send_signal(signal.SIGKILL)
    assert not carried.is_done
    until(lambda: carried.advance(another))
    (result,) = carried.results
    first, *_ = carried.reported(STEPS)[len(known) :]
    assert first["step"] == known[-1]["step"] // 10 * 10 + 10, "it went on from its checkpoint"
    assert result.loss is not None
    assert round(result.loss, 4) == plain[1]
    assert same_weights(plain[0], carried.folder(STEPS))


def test_a_fork_equals_a_run_from_the_first_token_to_the_last_bit(
    plain: tuple[Path, float], tmp_path: Path
) -> None:
    (tmp_path / "direct").mkdir()
    fewer = {"--steps": FEWER_STEPS, "--decay_steps": round(0.2 * FEWER_STEPS)}
    by_hand("plain", tmp_path / "direct", *BY_HAND, *(f"{name}={value}" for name, value in fewer.items()))

    carried = carried_out("forked", tmp_path, FEWER_STEPS, STEPS)
    assert same_weights(plain[0], carried.folder(STEPS))
    assert same_weights(tmp_path / "direct", carried.folder(FEWER_STEPS))
    assert [entry["step"] for entry in carried.reported(FEWER_STEPS)] == [100, 110, 120, 120]
    long, short = carried.results
    assert short.flops == pytest.approx(long.flops * (FEWER_STEPS - 96) / STEPS)


@pytest.mark.parametrize(("name", "most"), [("reported", 8), ("forked", 14), ("torchrun", 3)])
def test_the_lines_that_a_program_needs_are_few(name: str, most: int) -> None:
    def code(folder: str) -> list[str]:
        lines = (OWN / folder / "train.py").read_text().splitlines()
        return [line for line in lines[lines.index("import argparse") :] if line]

    assert len([line for line in difflib.ndiff(code("plain"), code(name)) if line.startswith("+ ")]) == most


@pytest.mark.parametrize("name", NAMES)
def test_every_sweep_can_be_submitted(name: str, tmp_path: Path) -> None:
    cells = own(name, tmp_path).cells
    assert len(cells) == 6
    assert {len(cell.rates) for cell in cells} == {7 if name == "huggingface" else 6}


def test_the_sizes_of_a_sweep_are_those_of_its_models() -> None:
    model = run_path(str(OWN / "plain" / "train.py"))["CharacterModel"]

    def declared(name: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = yaml.safe_load((OWN / name / "sweep.yaml").read_text())["grid"][
            "scales"
        ]
        return found

    for scale in declared("plain"):
        made = model(scale["with"]["width"])
        weights = [*made.blocks.parameters(), *made.norm.parameters()]
        assert sum(weight.numel() for weight in weights) == scale["params"]
    for name in ("reported", "forked", "torchrun", "config_file"):
        assert declared(name) == declared("plain")
