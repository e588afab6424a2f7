"""``examples/own``: each program by hand and with a run of Etalon, started as its registration says.

The program for Hugging Face needs a virtual environment of its own and is not run here.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
import yaml

from tests.waiting import until
from workers.program_path import make_program_path

OWN = Path(__file__).parents[2] / "examples" / "own"
NAMES = ("plain", "reported", "forked", "torchrun", "config_file")

VALUES = {
    "learning_rate": "2.0e-02",
    "steps": 200,
    "warmup_steps": 16,
    "decay_steps": 40,
    "batch_tokens": 1024,
    "width": 16,
    "seed": 3,
    "processes": 1,
}
"""Placeholders of a run, the run's folder excepted."""

Start = Callable[..., subprocess.Popen[str]]


def registration(name: str) -> dict[str, Any]:
    """What the operator writes of a program."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((OWN / name / "trainers.yaml").read_text())
    return found[name]


def filled(text: str, values: Mapping[str, Any]) -> str:
    """Text with the values of its placeholders; a quotient must be a whole number."""

    def value(found: re.Match[str]) -> str:
        number = eval(found[1], {}, dict(values))
        return f"{number:.0f}" if isinstance(number, float) else str(number)

    return re.sub(r"\{([^{}]+)\}", value, text)


def write_config(entry: Mapping[str, Any], folder: Path, values: Mapping[str, Any]) -> None:
    config = yaml.safe_load((folder / entry["from"]).read_text())
    for path, text in entry["set"].items():
        *parents, key = path.split(".")
        part = config
        for parent in parents:
            part = part[parent]
        assert key in part
        part[key] = yaml.safe_load(filled(text, values))
    Path(filled(entry["to"], values)).write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def start() -> Start:
    """Starts a program of a folder as its registration says, with values in place of VALUES and more arguments."""

    def starter(
        name: str,
        run_folder: Path,
        *more: str,
        processes: int = 1,
        environment: Mapping[str, str] | None = None,
        **values: Any,
    ) -> subprocess.Popen[str]:
        run_folder.mkdir(exist_ok=True)
        registered = registration(name)
        known = VALUES | {"run_folder": str(run_folder), "processes": processes} | values
        for entry in registered.get("files", ()):
            write_config(entry, OWN / name, known)
        command = [filled(part, known) for part in registered["command"][1:]]
        log = ["--tee=3", "--local-ranks-filter=0", f"--log-dir={run_folder}"]
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *log]
        launcher = ["-m", *torchrun] if registered.get("launch") else []
        assert registered["command"][0] == "python"
        return subprocess.Popen(
            [sys.executable, *launcher, *command, *more],
            cwd=OWN / name,
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            text=True,
        )

    return starter


def ended(program: subprocess.Popen[str]) -> str:
    """The output of a program that ends well."""
    output, _ = program.communicate(timeout=120)
    assert program.returncode == 0
    return output


def losses(name: str, output: str, kind: str) -> dict[int, float]:
    """Step to loss, as the registration's pattern reads them."""
    short: str = registration(name)["losses"][kind]["output"]
    pattern = short.replace("{step}", r"(\d+)").replace("{value}", r"(\d+\.\d{4,})")
    return {int(step): float(loss) for step, loss in re.findall(pattern, output)}


def of_etalon(folder: Path) -> dict[str, str]:
    """The environment of a run of Etalon."""
    folder.mkdir(exist_ok=True)
    return {
        "ETALON_REPORT": str(folder / "report.jsonl"),
        "ETALON_STOP": str(folder / "stop"),
        "PYTHONPATH": str(make_program_path(folder)),
    }


def reported(folder: Path) -> list[dict[str, Any]]:
    path = folder / "report.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def same_weights(one: Path, other: Path) -> bool:
    left, right = torch.load(one / "model.pt"), torch.load(other / "model.pt")
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def plain(start: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run's folder and the output of the plain program."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, ended(start("plain", folder))


def test_the_plain_program_prints_what_its_registration_reads(plain: tuple[Path, str]) -> None:
    _, output = plain
    training, validation = (losses("plain", output, kind) for kind in ("training", "validation"))
    assert list(training) == list(range(10, 201, 10))
    assert list(validation) == [200]
    assert training[10] > training[100] > training[200] > 1.0
    assert validation[200] < training[100]


def test_a_rendered_file_does_what_arguments_do(
    start: Start, plain: tuple[Path, str], tmp_path: Path
) -> None:
    folder, output = plain
    assert ended(start("config_file", tmp_path)) == output
    assert same_weights(folder, tmp_path)


def test_two_processes_train_the_model_of_one(start: Start, plain: tuple[Path, str], tmp_path: Path) -> None:
    output = ended(start("torchrun", tmp_path, processes=2))
    assert list(losses("torchrun", output, "training")) == list(range(10, 201, 10))
    (answer,) = losses("torchrun", output, "validation").values()
    (of_one,) = losses("plain", plain[1], "validation").values()
    assert answer == pytest.approx(of_one, abs=0.01), "the same batches, added in another order"


def test_by_hand_the_lines_for_etalon_change_nothing(
    start: Start, plain: tuple[Path, str], tmp_path: Path
) -> None:
    folder, output = plain
    assert ended(start("reported", tmp_path)) == output
    assert same_weights(folder, tmp_path)


def test_a_program_that_was_stopped_and_then_killed_ends_with_the_same_weights(
    start: Start, plain: tuple[Path, str], tmp_path: Path
) -> None:
    def started() -> subprocess.Popen[str]:
        return start("reported", tmp_path, environment=of_etalon(tmp_path))

    stopped = started()
    until(lambda: reported(tmp_path))
    (tmp_path / "stop").touch()
    ended(stopped)
    after_stop = reported(tmp_path)
    assert after_stop[-1]["step"] < 200
    (tmp_path / "stop").unlink()

    killed = started()
    until(lambda: len(reported(tmp_path)) >= len(after_stop) + 3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert reported(tmp_path)[len(after_stop)]["step"] == after_stop[-1]["step"] // 10 * 10 + 10

    output = ended(started())
    assert "step 10 loss" not in output
    assert same_weights(plain[0], tmp_path)
    answer = reported(tmp_path)[-1]
    assert answer["step"] == 200
    assert f"{answer['validation_loss']:.4f}" == f"{losses('plain', plain[1], 'validation')[200]:.4f}"


def test_a_fork_equals_a_run_of_its_own_to_the_last_bit(
    start: Start, plain: tuple[Path, str], tmp_path: Path
) -> None:
    fork = registration("forked")["fork"]
    trunk, branch = tmp_path / "trunk", tmp_path / "branch"
    save = [filled(text, {"fork_steps": "80,160"}) for text in fork["save"]]
    ended(start("forked", trunk, *save, steps=160, decay_steps=0, environment=of_etalon(trunk)))
    checkpoints = [filled(fork["checkpoint"], {"trunk_folder": trunk, "fork_step": at}) for at in (80, 160)]
    saved = [(entry["saved"], entry["tokens"]) for entry in reported(trunk) if "saved" in entry]
    assert saved == list(zip(checkpoints, (80 * 1024, 160 * 1024), strict=True))

    more = [filled(text, {"checkpoint": checkpoints[1]}) for text in fork["arguments"]]
    ended(start("forked", branch, *more, environment=of_etalon(branch)))
    assert [entry["step"] for entry in reported(branch)] == [170, 180, 190, 200, 200]
    assert same_weights(plain[0], branch)


@pytest.mark.parametrize(("name", "most"), [("reported", 8), ("forked", 14), ("torchrun", 3)])
def test_the_lines_that_a_program_needs_are_few(name: str, most: int) -> None:
    def code(folder: str) -> list[str]:
        lines = (OWN / folder / "train.py").read_text().splitlines()
        return [line for line in lines[lines.index("import argparse") :] if line]

    more = [line for line in difflib.ndiff(code("plain"), code(name)) if line.startswith("+ ")]
    assert len(more) == most


def test_each_sweep_names_its_program_and_declares_its_sizes() -> None:
    model = run_path(str(OWN / "plain" / "train.py"))["CharacterModel"]

    def size(width: int) -> int:
        parts = (model(width).blocks, model(width).norm)
        return sum(weight.numel() for part in parts for weight in part.parameters())

    for name in NAMES:
        sweep = yaml.safe_load((OWN / name / "sweep.yaml").read_text())
        assert sweep["trainer"] == {"kind": "command", "name": name}
        scales = sweep["grid"]["scales"]
        assert [scale["params"] for scale in scales] == [size(**scale["with"]) for scale in scales]


def test_the_plain_program_knows_nothing_of_etalon() -> None:
    for name in ("plain", "config_file", "torchrun"):
        imported = ast.walk(ast.parse((OWN / name / "train.py").read_text()))
        modules = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
        assert "torch" in modules
        assert "etalon" not in modules
