"""Calls of a training program: what they write, where, and what they never do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import etalon
from etalon import program
from tests.waiting import until


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a run of Etalon."""
    path = tmp_path / "report.jsonl"
    monkeypatch.setenv("ETALON_REPORT", str(path))
    monkeypatch.delenv("RANK", raising=False)
    return path


def entries(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def in_a_process(statements: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"import etalon, os\n{statements}"
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_call_writes_its_line(report: Path) -> None:
    assert program.model(params=1000, params_total=1500)
    assert program.report(tokens=1024, loss=3.5)
    assert program.report(step=2, loss=3.25, validation_loss=3.75)
    assert program.saved(Path("checkpoints/step-2"), tokens=2048)
    assert program.diverged("loss is NaN", tokens=3072)
    assert program.done(3.0)
    assert entries(report) == [
        {"model": {"params": 1000, "params_total": 1500}},
        {"tokens": 1024, "loss": 3.5},
        {"step": 2, "loss": 3.25},
        {"step": 2, "validation_loss": 3.75},
        {"saved": str(Path.cwd() / "checkpoints" / "step-2"), "tokens": 2048},
        {"diverged": "loss is NaN", "tokens": 3072},
        {"done": True, "loss": 3.0},
    ]
    assert report.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "loss", [2.5, 5 / 2, np.float32(2.5), np.array([2.5]), torch.tensor(2.5, requires_grad=True), "2.5"]
)
def test_whatever_is_a_number_is_a_loss(report: Path, loss: Any) -> None:
    assert program.report(step=np.int64(3), loss=loss)
    assert entries(report) == [{"step": 3, "loss": 2.5}]


def test_losses_that_are_not_finite_are_told_as_they_are(report: Path) -> None:
    program.report(tokens=1e6, loss=float("nan"), validation_loss=torch.tensor(float("inf")))
    first, second = entries(report)
    assert math.isnan(first["loss"])
    assert second == {"tokens": 1_000_000, "validation_loss": math.inf}
    assert report.read_text().splitlines()[0] == '{"tokens": 1000000, "loss": NaN}'


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": 3.0}, "takes tokens= or step=, and got neither"),
        ({"tokens": 1, "step": 1, "loss": 3.0}, "takes tokens= or step=, and got both"),
        ({"tokens": 1}, "got no loss"),
    ],
)
def test_wrong_arguments_are_an_error_by_hand_too(
    report: Path, monkeypatch: pytest.MonkeyPatch, managed: bool, arguments: dict[str, Any], message: str
) -> None:
    if not managed:
        monkeypatch.delenv("ETALON_REPORT")
    with pytest.raises(TypeError, match=message):
        program.report(**arguments)
    assert not report.exists()


def test_only_rank_0_reports_but_every_rank_may_diverge_and_stops(
    report: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("ETALON_STOP", str(tmp_path / "stop"))
    told = [
        program.report(step=1, loss=3.0),
        program.saved("step-1", tokens=1),
        program.model(params=1),
        program.done(),
    ]
    assert told == [False] * 4
    assert not report.exists()
    assert not program.should_stop()
    (tmp_path / "stop").touch()
    assert program.should_stop()
    assert program.diverged("rank 1 saw NaN")
    monkeypatch.setenv("RANK", "0")
    assert program.report(step=1, loss=3.0)
    assert entries(report) == [{"diverged": "rank 1 saw NaN"}, {"step": 1, "loss": 3.0}]


def test_a_long_reason_is_cut_and_a_line_stays_below_8_kib(report: Path) -> None:
    assert program.diverged("\N{BOMB}" * 10_000)
    assert len(report.read_bytes()) < 8192
    assert not program.saved("x" * 9000, tokens=1)
    assert len(entries(report)) == 1


def test_lines_of_several_processes_do_not_mix(report: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", f"import etalon\nfor n in range(300): etalon.diverged('{x}' * 400, n)"]
        )
        for x in "abc"
    ]
    until(lambda: all(writer.poll() is not None for writer in writers))
    assert sorted((entry["diverged"], entry["tokens"]) for entry in entries(report)) == [
        (x * 400, n) for x in "abc" for n in range(300)
    ]


def test_a_full_disk_is_logged_once_and_ends_no_training() -> None:
    done = in_a_process(
        "print(etalon.report(step=1, loss=3.0), etalon.report(step=2, loss=3.0))", ETALON_REPORT="/dev/full"
    )
    assert (done.returncode, done.stdout) == (0, "False False\n")
    assert done.stderr.count("No space left on device") == 1
    assert "the training goes on" in done.stderr


def test_a_line_written_in_part_does_not_spoil_the_next(report: Path) -> None:
    done = in_a_process(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "print(etalon.report(step=1, loss=3.0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "print(etalon.report(step=2, loss=3.0))\n"
    )
    assert done.stdout == "False\nTrue\n", done.stderr
    torn, whole = report.read_text().splitlines()
    assert (len(torn), json.loads(whole)) == (10, {"step": 2, "loss": 3.0})


def test_a_report_to_a_folder_that_is_gone_ends_no_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ETALON_REPORT", str(tmp_path / "gone" / "report.jsonl"))
    assert not program.report(step=1, loss=3.0)


def test_run_holds_the_values_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"learning_rate": 1e-5, "steps": 100, "checkpoint": None, "optimizer": "adamw"}
    (tmp_path / "run.json").write_text(json.dumps(values))
    monkeypatch.setenv("ETALON_RUN", str(tmp_path / "run.json"))
    assert program.run == values
    with pytest.raises(TypeError):
        program.run["steps"] = 200  # type: ignore[index]
    done = in_a_process("print(etalon.run['learning_rate'], etalon.run.get('width', 64), dict(etalon.run))")
    assert done.stdout == f"1e-05 64 {values}\n"


def test_without_a_run_of_etalon_a_program_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ETALON_REPORT", "ETALON_RUN", "ETALON_STOP"):
        monkeypatch.delenv(name, raising=False)
    assert etalon.report(tokens=1e6, loss=3.1) is False
    assert etalon.report(step=10, validation_loss=3.0) is False
    assert etalon.saved("step-10", tokens=1e6) is False
    assert etalon.diverged("loss is NaN") is False
    assert etalon.model(params=1000) is False
    assert etalon.done(3.0) is False
    assert etalon.should_stop() is False
    assert dict(program.run) == {}


def test_a_copy_of_the_calls_beside_a_script_needs_no_etalon(tmp_path: Path, report: Path) -> None:
    (tmp_path / "etalon.py").write_text(Path(program.__file__).read_text())
    script = tmp_path / "train.py"
    script.write_text("import etalon\nprint(etalon.report(tokens=8, loss=2.0), etalon.should_stop())")
    for environment, written in (({}, "False False"), ({"ETALON_REPORT": str(report)}, "True False")):
        command = [sys.executable, "-S", str(script)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() == written
    assert entries(report) == [{"tokens": 8, "loss": 2.0}]
