"""The callback for Hugging Face's ``Trainer``, driven by a stand-in with the library's own calls and arguments.

``examples/own/huggingface`` runs it with the library itself.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAND_IN = """
class TrainerCallback:
    pass
"""

TRAINING = """
from types import SimpleNamespace

import torch
import etalon


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(10, 4)
        self.positions = torch.nn.Embedding(8, 4)
        self.middle = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 10, bias=False)
        self.head.weight = self.tokens.weight

    def get_input_embeddings(self):
        return self.tokens

    def get_output_embeddings(self):
        return self.head


callback = etalon.HuggingFace()
args = SimpleNamespace(output_dir="out", logging_nan_inf_filter=True)
state = SimpleNamespace(global_step=10, is_world_process_zero=True)
control = SimpleNamespace(should_save=False, should_training_stop=False)
callback.on_train_begin(args, state, control, model=Model(), optimizer=None)
callback.on_log(args, state, control, logs={"loss": float("nan"), "learning_rate": 0.1}, model=None)
callback.on_evaluate(args, state, control, metrics={"eval_loss": 2.5, "epoch": 1.0})
callback.on_save(args, state, control)
callback.on_log(args, state, control, logs={"train_loss": 2.0, "train_runtime": 1.0})
callback.on_step_end(args, state, control)
print(args.logging_nan_inf_filter, control.should_save, control.should_training_stop)
"""


def trained(folder: Path, *, stop: bool = False, **environment: str) -> tuple[str, list[dict[str, Any]]]:
    """What the training printed, and its report."""
    if stop:
        (folder / "stop").touch()
    done, report = called(folder, TRAINING, **environment)
    return done.stdout, report


def called(
    folder: Path, script: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """A script that was run as a program of Etalon's, and its report."""
    (folder / "transformers.py").write_text(STAND_IN)
    (folder / "run.json").write_text(json.dumps({"batch_tokens": 64}))
    report = folder / "report.jsonl"
    managed = {
        "ETALON_REPORT": str(report),
        "ETALON_RUN": str(folder / "run.json"),
        "ETALON_STOP": str(folder / "stop"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | managed | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = report.read_text().splitlines() if report.exists() else []
    return done, [json.loads(line) for line in lines]


def test_it_reports_size_losses_and_checkpoints(tmp_path: Path) -> None:
    printed, (model, nan, evaluated, saved) = trained(tmp_path)
    assert printed == "False False False\n"
    assert model == {"model": {"params": 4 * 4 + 4, "params_total": 4 * 4 + 4 + 40 + 32}}
    assert (nan["step"], math.isnan(nan["loss"])) == (10, True)
    assert evaluated == {"step": 10, "validation_loss": 2.5}
    assert saved == {"saved": str(tmp_path / "out" / "checkpoint-10"), "tokens": 640}


def test_it_saves_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    printed, _ = trained(tmp_path, stop=True)
    assert printed == "False True True\n"


@pytest.mark.parametrize("environment", [{"RANK": "1"}, {"ETALON_REPORT": "", "ETALON_RUN": ""}])
def test_other_ranks_and_runs_by_hand_report_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    assert trained(tmp_path, **environment) == ("False False False\n", [])


UNCOUNTED = """
from types import SimpleNamespace

import torch
import etalon


class FullyShardedDataParallel(torch.nn.Module):
    def get_input_embeddings(self):
        return None

    get_output_embeddings = get_input_embeddings


args = SimpleNamespace(logging_nan_inf_filter=True)
for model in (torch.nn.Linear(2, 2), FullyShardedDataParallel()):
    etalon.HuggingFace().on_train_begin(args, None, None, model=model)
"""


def test_a_model_whose_parameters_cannot_be_counted_is_trained_without_a_size(tmp_path: Path) -> None:
    done, report = called(tmp_path, UNCOUNTED)
    assert done.stderr.count("cannot be counted") == 2
    assert report == []


SHARED = """
from types import SimpleNamespace

import torch
import etalon


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.middle = torch.nn.Linear(4, 4, bias=False)
        self.middle.weight.ds_numel = 1600

    def get_input_embeddings(self):
        return None

    get_output_embeddings = get_input_embeddings


etalon.HuggingFace().on_train_begin(SimpleNamespace(), None, None, model=Model())
"""


def test_weights_that_processes_share_are_counted_whole(tmp_path: Path) -> None:
    assert called(tmp_path, SHARED)[1] == [{"model": {"params": 1600, "params_total": 1600}}]


RANK = """
import os
from pathlib import Path
from types import SimpleNamespace

import torch
import etalon

rank = int(os.environ["RANK"])
torch.distributed.init_process_group("gloo", init_method=f"file://{os.getcwd()}/meeting", rank=rank, world_size=2)
callback, args = etalon.HuggingFace(), SimpleNamespace(device="cpu")
control = SimpleNamespace(should_save=False, should_training_stop=False)
step = 0
while not control.should_training_stop:
    step += 1
    if rank == 0 and step == 3:
        Path(os.environ["ETALON_STOP"]).touch()
    callback.on_step_end(args, SimpleNamespace(global_step=step), control)
print(step)
"""


def test_all_ranks_end_at_the_step_at_which_rank_0_sees_the_stop(tmp_path: Path) -> None:
    """Each rank has a stop file of its own; rank 1's is there from the beginning."""
    (tmp_path / "transformers.py").write_text(STAND_IN)
    (tmp_path / "stop1").touch()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "RANK": rank, "ETALON_STOP": str(tmp_path / f"stop{rank}")},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        assert [rank.communicate(timeout=60)[0] for rank in ranks] == ["3\n", "3\n"]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
