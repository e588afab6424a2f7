"""Orders of runs: arguments, environment and files, for the first start, a fork and a resumed run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cells import Cell
from orchestrator.programs.registry import Registration, read_trainers
from orchestrator.programs.run_values import RunPlace, Start, values_of
from orchestrator.spec import Resources
from workers.programs.order import KeeperOrder
from workers.programs.orders import fork_checkpoint, make_order, own_checkpoint

CELL = Cell(
    number=0,
    params=10.6e6,
    tokens=1_048_576,
    batch_tokens=32_768,
    rates=(1e-3,),
    with_values='{"n_layer": 6}',
)
REGISTRATION: dict[str, Any] = {
    "command": [
        "python",
        "train.py",
        "--lr={learning_rate}",
        "--min_lr={final_learning_rate}",
        "--iters={steps}",
        "--warmup={warmup_steps}",
        "--decay={decay_steps}",
        "--layers={n_layer}",
        "--opt={optimizer}",
        "--accum={batch_tokens/(16*1024*processes)}",
        "--seed={seed}",
        "--out={run_folder}",
    ],
    "environment": {"RATE": "{learning_rate}", "API_KEY": "sesame-open", "PYTHONPATH": "/mine"},
    "pass_environment": ["FROM_OUTSIDE", "NOT_SET"],
    "files": [
        {"from": "base.yaml", "to": "{run_folder}/config.yaml", "set": {"optimizer.lr": "{learning_rate}"}}
    ],
    "parameters": {
        "n_layer": {"type": "int", "min": 1},
        "optimizer": {"type": "choice", "values": ["adamw", "muon"], "default": "adamw"},
    },
    "schedule": {"warmup_tokens": 65_000, "decay_fraction": 0.25, "final_fraction": 0.1},
    "losses": {"training": {"jsonl": "{run_folder}/metrics.jsonl", "loss": "loss", "step": "step"}},
    "resume": {"when": "{run_folder}/ckpt.pt", "arguments": ["--resume={run_folder}/ckpt.pt"]},
    "fork": {
        "save": ["--save_at={fork_steps}"],
        "checkpoint": "{trunk_folder}/step-{fork_step}",
        "arguments": ["--init_from={checkpoint}"],
    },
    "limits": {"silence": "5m", "run": "2h"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mine"
    place.mkdir(mode=0o700)
    (place / "base.yaml").write_text("optimizer: {lr: 0.1}\n")
    return place


def registered(folder: Path, **changes: Any) -> Registration:
    file = folder / "trainers.yaml"
    fields = {name: value for name, value in (REGISTRATION | changes).items() if value is not None}
    file.write_text(json.dumps({"mine": fields}))
    file.chmod(0o600)
    return read_trainers(file).get("mine")


def order_of(
    registration: Registration, tmp_path: Path, start: Start | None = None, *, gpus: float = 0
) -> KeeperOrder:
    place = RunPlace(
        run_id="r1", folder=tmp_path / "runs" / "r1", trunk_folder=tmp_path / "runs" / "r1" / "trunk"
    )
    start = Start() if start is None else start
    values = values_of(
        registration, {"optimizer": "muon"}, CELL, place, learning_rate=3e-05, seed=7, gpus=gpus, start=start
    )
    resources = Resources(cpus_per_run=2, gpus_per_run=gpus)
    return make_order(registration, values, CELL, place, start=start, resources=resources, seconds_left=100.0)


def test_the_arguments_are_filled_one_by_one(folder: Path, tmp_path: Path) -> None:
    order = order_of(registered(folder), tmp_path)
    assert order.argv == (
        sys.executable,
        "train.py",
        "--lr=3.0e-05",
        f"--min_lr={3e-05 * 0.1!r}".replace("3e-06", "3.0e-06"),
        "--iters=32",
        "--warmup=2",
        "--decay=8",
        "--layers=6",
        "--opt=muon",
        "--accum=2",
        "--seed=7",
        f"--out={tmp_path}/runs/r1",
    )
    assert order.cwd == folder
    assert (order.silence_seconds, order.run_seconds) == (300.0, 100.0)
    assert order.training == {"jsonl": f"{tmp_path}/runs/r1/metrics.jsonl", "loss": "loss", "step": "step"}


def test_config_files_and_the_runs_values_are_written_for_the_owner_alone(
    folder: Path, tmp_path: Path
) -> None:
    order = order_of(registered(folder), tmp_path)
    assert yaml.safe_load((order.folder / "config.yaml").read_text()) == {"optimizer": {"lr": 3e-05}}
    values = json.loads((order.folder / "run.json").read_text())
    assert (values["learning_rate"], values["n_layer"], values["checkpoint"]) == (3e-05, 6, None)
    assert {path.stat().st_mode & 0o077 for path in (order.folder, *order.folder.rglob("*"))} == {0}


def test_links_that_an_earlier_attempt_left_are_replaced_and_not_followed(
    folder: Path, tmp_path: Path
) -> None:
    run, outside = tmp_path / "runs" / "r1", tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("of somebody else")
    run.mkdir(parents=True)
    for name in ("config.yaml", "run.json"):
        (run / name).symlink_to(outside / "file")
    (run / "python").symlink_to(outside)
    order = order_of(registered(folder), tmp_path)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "of somebody else"}
    assert "lr" in (run / "config.yaml").read_text()
    assert json.loads((run / "run.json").read_text())["seed"] == 7
    program_path = Path(order.environment["PYTHONPATH"].split(":")[0])
    assert (program_path / "etalon" / "program.py").resolve().is_relative_to(run)


def test_no_secret_of_the_service_reaches_the_program(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "ETALON_TOKEN": "secret-1",
        "ETALON_DATABASE_URL": "postgresql://secret-2",
        "RAY_AUTH_TOKEN": "secret-3",
        "AWS_SECRET_ACCESS_KEY": "secret-4",
        "PYTHONPATH": "/service",
        "FROM_OUTSIDE": "passed",
        "NCCL_DEBUG": "INFO",
        "CUDA_VISIBLE_DEVICES": "3",
    }.items():
        monkeypatch.setenv(name, value)
    order = order_of(registered(folder), tmp_path)
    environment = dict(order.environment)
    assert not any("secret-" in value for value in environment.values())
    assert environment["FROM_OUTSIDE"] == "passed"
    assert environment["NCCL_DEBUG"] == "INFO"
    assert "NOT_SET" not in environment
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["RATE"] == environment["ETALON_LEARNING_RATE"] == "3.0e-05"
    assert environment["PYTHONPATH"].split(":")[1:] == ["/mine"]
    assert environment["OMP_NUM_THREADS"] == "2"
    assert order.secrets == ("sesame-open",)
    assert order_of(registered(folder), tmp_path, gpus=1).environment["CUDA_VISIBLE_DEVICES"] == "3"


def test_no_parameter_becomes_a_setting_of_etalon_itself(folder: Path, tmp_path: Path) -> None:
    taken = ("token", "url", "home", "database_url")
    more = {name: {"type": "text", "pattern": ".*", "default": "mine"} for name in taken}
    order = order_of(registered(folder, parameters=REGISTRATION["parameters"] | more), tmp_path)
    assert not {f"ETALON_{name.upper()}" for name in taken} & order.environment.keys()
    assert json.loads((order.folder / "run.json").read_text())["token"] == "mine"
    assert order.environment["ETALON_OPTIMIZER"] == "muon"


def test_a_trunk_saves_a_fork_begins_and_a_resumed_run_goes_on(folder: Path, tmp_path: Path) -> None:
    registration = registered(folder)
    trunk = order_of(registration, tmp_path, Start(fork_steps=(12, 24)))
    assert trunk.argv[-1] == "--save_at=12,24"
    fork = order_of(registration, tmp_path, Start(tokens=24 * 32_768, checkpoint="/trunk/step-24"))
    assert fork.argv[-1] == "--init_from=/trunk/step-24"
    assert fork.start_tokens == 24 * 32_768
    resumed = order_of(registration, tmp_path, Start(tokens=5, resumes=True, fork_steps=(24,)))
    assert resumed.argv[-2:] == ("--save_at=24", f"--resume={tmp_path}/runs/r1/ckpt.pt")


def test_checkpoints_are_found_where_the_registration_says(folder: Path, tmp_path: Path) -> None:
    registration = registered(folder)
    values = {"run_folder": str(tmp_path), "trunk_folder": "/trunk"}
    assert fork_checkpoint(registration, values, 24) == Path("/trunk/step-24")
    assert not own_checkpoint(registration, values)
    (tmp_path / "ckpt.pt").write_text("")
    assert own_checkpoint(registration, values)


def test_relative_paths_begin_where_the_program_runs(folder: Path, tmp_path: Path) -> None:
    registration = registered(
        folder,
        files=[
            {
                "from": "base.yaml",
                "to": "out/{run_id}/config.yaml",
                "set": {"optimizer.lr": "{learning_rate}"},
            }
        ],
        resume={"when": "out/{run_id}/ckpt.pt", "arguments": []},
        fork={"save": [], "checkpoint": "out/{run_id}/step-{fork_step}", "arguments": []},
    )
    order_of(registration, tmp_path)
    assert yaml.safe_load((folder / "out" / "r1" / "config.yaml").read_text()) == {"optimizer": {"lr": 3e-05}}
    values = {"run_id": "r1"}
    assert fork_checkpoint(registration, values, 24) == folder / "out" / "r1" / "step-24"
    assert not own_checkpoint(registration, values)
    (folder / "out" / "r1" / "ckpt.pt").write_text("")
    assert own_checkpoint(registration, values)


def test_a_fork_is_given_the_trunk_folder_of_the_run_that_saved_its_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    arguments = ["--load={trunk_folder}", "--step={start_step}"]
    fork = {
        "save": ["--to={trunk_folder}"],
        "checkpoint": "{trunk_folder}/{fork_step}",
        "arguments": arguments,
    }
    order = order_of(
        registered(folder, fork=fork),
        tmp_path,
        Start(
            tokens=12 * 32_768, checkpoint="/other/trunk/12", trunk_folder="/other/trunk", fork_steps=(24,)
        ),
    )
    assert order.argv[-3:] == (f"--to={tmp_path}/runs/r1/trunk", "--load=/other/trunk", "--step=12")


def test_torchrun_starts_a_process_for_each_gpu(folder: Path, tmp_path: Path) -> None:
    order = order_of(registered(folder, launch="torchrun"), tmp_path, gpus=2)
    assert order.argv[:3] == (sys.executable, "-m", "torch.distributed.run")
    assert "--nproc-per-node=2" in order.argv
    assert "--accum=1" in order.argv
    at = order.argv.index("--no-python")
    assert order.argv[at + 1 : at + 3] == (sys.executable, "train.py")


def test_a_function_is_called_in_the_programs_own_interpreter(folder: Path, tmp_path: Path) -> None:
    environment = folder / "venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").write_text("")
    (environment / "pyvenv.cfg").write_text("")
    registration = registered(
        folder, command=None, entry="mine.training:train", python="venv", prefix=["nice", "-n", "5"]
    )
    order = order_of(registration, tmp_path)
    python = str(environment / "bin" / "python")
    assert order.argv == ("nice", "-n", "5", python, "-m", "etalon.entry", "mine.training:train")
    assert order.environment["PATH"].startswith(f"{environment}/bin:")
    assert order.environment["VIRTUAL_ENV"] == str(environment)
