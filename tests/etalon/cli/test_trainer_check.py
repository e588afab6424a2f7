"""``etalon trainer check``: what it prints and keeps, and what is left when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from etalon.cli.admin import open_store
from orchestrator.documents.trainers import CheckDocument
from orchestrator.programs.registry import read_trainers
from orchestrator.settings import Settings
from tests.etalon.cli.running import answer_of, etalon, plain, refusal_of
from tests.waiting import until
from tests.workers.programs.test_checking import FIELDS
from workers.programs.descendants import find_marked

SWEEP = {
    "name": "breakable",
    "trainer": {"kind": "command", "name": "breakable", "parameters": {"pause": 0.002}},
    "grid": {
        "scales": [{"params": 2000, "with": {"breaks": "no"}}, {"params": 1000, "with": {"breaks": ""}}],
        "tokens": [20_000],
        "batch_tokens": [200, 100],
        "learning_rates": {"min": 0.05, "max": 0.2, "per_octave": 1},
    },
    "search": {"strategy": "grid"},
    "resources": {"max_parallel": 1},
    "target": {"params": 4000, "tokens": 40_000},
}
GIVEN = (
    "--scale",
    "pause=0.005",
    "--params",
    "1k",
    "--batch-tokens",
    100,
    "--tokens",
    "4k",
    "--learning-rate",
    0.1,
)


@pytest.fixture(autouse=True)
def trainers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "trainers.yaml"
    path.write_text(yaml.safe_dump({"breakable": FIELDS}))
    path.chmod(0o600)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("ETALON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ETALON_TRAINERS", str(path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return path


def kept(trainers: Path) -> CheckDocument | None:
    with open_store(Settings()) as store:
        return store.trainer_checks.get(read_trainers(trainers).get("breakable").digest)


def test_the_smallest_run_of_a_sweep_is_checked_and_its_plan_priced(tmp_path: Path, trainers: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(SWEEP))

    answer = answer_of("trainer", "check", "breakable", "--sweep", file, "--tokens", "4k")

    messages = {step["name"]: step["message"].replace("\u00a0", " ") for step in answer["steps"]}
    assert answer["passed"]
    assert "40 steps of 100 tokens at a rate of 0.1" in messages["training"]
    assert "1000, and 1000 are declared" in messages["model size"]
    assert "expected 12 runs" in messages["speed"]
    assert "at a rate of 200" in messages["high rate"].lower()
    found = kept(trainers)
    assert found is not None
    assert found.to_json() == answer
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("scale", "said"),
    [("breaks=no", ["--declared=2000"]), ("pause=0.002", ["--declared=1000"]), ("pause=0.003", None)],
)
def test_a_scale_that_the_sweep_has_keeps_its_n(
    scale: str, said: list[str] | None, tmp_path: Path, trainers: Path
) -> None:
    command = [*FIELDS["command"], "--declared={params}"]
    trainers.write_text(yaml.safe_dump({"breakable": {**FIELDS, "command": command}}))
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump(SWEEP))
    arguments = ("trainer", "check", "breakable", "--sweep", file, "--scale", scale, "--dry-run")

    if said is None:
        assert "--params is missing" in refusal_of(*arguments)
    else:
        assert answer_of(*arguments)["argv"][-1:] == said


def test_a_check_that_has_not_passed_shows_the_last_lines(trainers: Path) -> None:
    code, text = etalon("trainer", "check", "breakable", *GIVEN, "--scale", "breaks=ends_early")

    assert code == 1
    assert "it ended at 2 k of 4 k tokens" in plain(text)
    assert "step 20 loss" in text
    assert "has not passed" in text
    found = kept(trainers)
    assert found is not None
    assert not found.passed


def test_a_dry_run_shows_everything_and_starts_nothing(tmp_path: Path, trainers: Path) -> None:
    made = answer_of("trainer", "check", "breakable", *GIVEN, "--dry-run")
    code, text = etalon("trainer", "check", "breakable", *GIVEN, "--dry-run", "--keep")

    assert "--rate=0.1" in made["argv"]
    assert made["environment"]["ETALON_STEPS"] == "40"
    assert code == 0
    assert "--steps=40" in text
    (folder,) = (tmp_path / "temporary").iterdir()
    assert not (folder / "training" / "output.log").exists()
    assert kept(trainers) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere",), "No trainer 'nowhere' is registered"),
        (("breakable", "--scale", "pause"), "--scale 'pause': write it as name=value"),
        (("breakable", "--scale", "pause=soon"), "--scale: pause is 'soon'"),
        (("breakable", "--tokens", "many"), "--tokens"),
        (("breakable", "--learning-rate", "0"), "from 1e-12 to 1000"),
        (("breakable", "--minutes", "nan"), "--minutes nan: it must be from"),
        (("breakable", "--sweep", "nowhere.yaml"), "nowhere.yaml cannot be read"),
        (("breakable", "--gpus", "100000"), "less than or equal to 1024"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments: tuple[str, ...], says: str, trainers: Path) -> None:
    assert says in refusal_of("trainer", "check", *arguments)
    assert kept(trainers) is None


def test_a_registration_that_cannot_be_read_is_named(trainers: Path) -> None:
    trainers.chmod(0o666)

    assert "may be written by others" in refusal_of("trainer", "check", "breakable")


def test_a_sweep_of_another_trainer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({**SWEEP, "trainer": {"kind": "command", "name": "other"}}))

    assert "names the trainer other" in refusal_of("trainer", "check", "breakable", "--sweep", file)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_of_an_interrupted_check(
    number: signal.Signals, tmp_path: Path, trainers: Path
) -> None:
    temporary = tmp_path / "temporary"
    given = (
        *GIVEN,
        "--scale",
        "breaks=ignores_stop,ignores_sigterm",
        "--scale",
        "breaks=ignores_stop,ignores_sigterm",
    )
    command = ("-m", "etalon.cli.main", "trainer", "check", "breakable", *map(str, given))
    check = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until(
            lambda: "step 3 " in "".join(log.read_text() for log in temporary.glob("*/training/output.log"))
        )
        (folder,) = temporary.iterdir()
        marker = str(folder / "training" / "run.json")
        assert find_marked(marker)
        check.send_signal(number)
        assert check.wait(20) not in {0, 2}
    finally:
        check.kill()
        check.communicate()

    assert find_marked(marker) == []
    assert not folder.exists()
    assert kept(trainers) is None
