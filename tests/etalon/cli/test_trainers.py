"""Registered trainers and the output of runs from the command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from etalon.cli.log_lines import GAP
from etalon.cli.outcome import out
from orchestrator.cells import Cell
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.registry import read_trainers
from orchestrator.spec import parse_spec
from orchestrator.states import RunState
from orchestrator.store import Store, driver_lease
from orchestrator.store.outputs import OutputTail
from orchestrator.store.records import RunResult
from tests.api.servers import serving
from tests.bench import Bench
from tests.etalon.cli.running import answer_of, etalon, plain, refusal_of
from tests.waiting import until

REGISTERED = """\
mine:
  description: Our script
  command: [python, train.py, "--width={width}"]
  parameters:
    width: {type: int, min: 8, max: 64, description: of the model}
    optimizer: {type: choice, values: [adamw, muon], default: adamw}
  seeds: false
broken: {command: []}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETALON_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ETALON_TRAINERS", raising=False)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o700)
    return tmp_path / "home"


@pytest.fixture
def url(sqlite_url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with a good and a faulty registration."""
    (home / "trainers").mkdir(mode=0o700, parents=True)
    (home / "trainers" / "mine.yaml").write_text(REGISTERED)
    (home / "trainers" / "mine.yaml").chmod(0o600)
    with serving(sqlite_url, home) as server:
        monkeypatch.setenv("ETALON_URL", server.url)
        yield server.url


def test_trainers_are_listed_with_their_faults(url: str) -> None:
    text = plain(etalon("trainer", "list")[1])
    assert "mine command never width, optimizer Our script" in text
    assert "broken: " in text
    assert "give either command" in text
    assert [trainer["name"] for trainer in answer_of("trainer", "list")] == ["broken", "mine"]


def test_a_trainer_shows_its_parameters_and_its_check(url: str) -> None:
    text = plain(etalon("trainer", "show", "mine")[1])
    assert "width a whole number from 8 to 64 to be given of the model" in text
    assert "optimizer one of adamw, muon adamw" in text
    assert "takes no seed, so a sweep has one" in text
    assert "command python train.py '--width={width}'" in text
    assert "never checked as it is registered now; `etalon trainer check mine`" in text
    assert answer_of("trainer", "show", "mine")["parameters"][0]["min"] == 8
    assert "the nearest is mine" in refusal_of("trainer", "show", "min")


@pytest.mark.parametrize("preset", ["plain", "hf"])
def test_a_written_registration_is_private_and_can_be_read(home: Path, preset: str) -> None:
    status, text = etalon("trainer", "init", preset, "--name", "gpt-2.small")
    assert status == 0, text
    file = home / "trainers" / "gpt-2.small.yaml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert len(file.read_text().splitlines()) < 40
    found = read_trainers(file.parent).get("gpt-2.small")
    assert found.folder == Path.cwd()
    assert found.definition.parameters
    for step in (str(file), "etalon trainer show gpt-2.small", "etalon trainer check gpt-2.small"):
        assert step in plain(text)


@pytest.mark.parametrize("preset", ["plain", "hf"])
def test_every_commented_field_of_a_written_registration_can_be_used(home: Path, preset: str) -> None:
    assert etalon("trainer", "init", preset)[0] == 0
    file = home / "trainers" / "mine.yaml"
    commented = re.compile(
        rf"^( +)# (?=(?:{'|'.join(ProgramDefinition.model_fields)}|optimizer|validation): )", re.M
    )
    text, uncommented = commented.subn(r"\1", file.read_text())
    file.write_text(text)
    assert uncommented >= 2
    assert not read_trainers(file).faults


def test_a_registration_beside_the_program_names_its_folder_as_a_dot(tmp_path: Path) -> None:
    status, text = etalon("trainer", "init", "plain", "--out", "trainer.yaml")
    assert status == 0, text
    assert read_trainers(tmp_path / "trainer.yaml").get("mine").definition.folder == "."
    assert f"export ETALON_TRAINERS={tmp_path / 'trainer.yaml'}" in text


def test_a_file_that_is_not_there_yet_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "new" / "own.yaml"
    monkeypatch.setenv("ETALON_TRAINERS", str(file))
    status, text = etalon("trainer", "init", "plain")
    assert status == 0, text
    assert list(read_trainers(file).registered) == ["mine"]
    assert "A running service reads it" in text


@pytest.mark.parametrize(
    "name", ["MY_FOLDER", "NAME", "FOLDER", "2024", "1.5", "2024-01-01", "on", "null", "1e3"]
)
def test_any_name_is_written_as_the_service_reads_it(name: str, home: Path) -> None:
    status, text = etalon("trainer", "init", "hf", "--name", name)
    assert status == 0, text
    assert list(read_trainers(home / "trainers").registered) == [name]


def test_no_file_and_no_name_is_taken_twice(tmp_path: Path) -> None:
    (tmp_path / "kept.yaml").write_text("kept")
    assert "exists and stays as it is" in refusal_of("trainer", "init", "plain", "--out", "kept.yaml")
    assert (tmp_path / "kept.yaml").read_text() == "kept"
    assert etalon("trainer", "init", "plain")[0] == 0
    assert "registered once" in refusal_of("trainer", "init", "plain", "--out", "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nanogpt",), "must be hf or plain"),
        (("../cli/hf",), "must be hf or plain"),
        (("plain", "--name", "a/b"), "take up to 100 letters"),
        (("plain", "--out", "no/such/folder.yaml"), "cannot be written"),
    ],
)
def test_a_wrong_request_for_a_registration_is_refused(arguments: tuple[str, ...], says: str) -> None:
    assert says in refusal_of("trainer", "init", *arguments)


def test_a_registration_that_others_could_replace_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    status, text = etalon("trainer", "init", "plain", "--out", "trainer.yaml")
    assert status == 0
    assert "A service would refuse it" in text
    assert "chmod go-w" in text


class Printing(Bench):
    """One running run of a sweep, whose output is written by hand."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        spec = parse_spec(
            {
                "name": "printing",
                "trainer": {"kind": "proxy", "corpus": "stdlib"},
                "grid": {
                    "scales": [{"width": 32, "depth": 2}],
                    "tokens": [400_000],
                    "batch_tokens": [2048],
                    "learning_rates": [1e-3],
                },
                "target": {"params": 1e6, "tokens": 8e5, "batch_tokens": 2048},
            }
        )
        cell = Cell(number=0, params=1e5, tokens=4e5, batch_tokens=2048.0, rates=(1e-3,), decay_fraction=0.2)
        self.sweep = self.create(spec, [cell])
        self.ask(self.sweep.id, (0, 1e-3))
        self.driver = self.drive(self.sweep.id)
        (self.run,) = store.runs.claim(self.sweep.id, fence=self.driver)

    def print(self, text: str, *, lost: int = 0) -> None:
        """Keep this output; ``lost`` bytes of it, before, are not kept."""
        tail = OutputTail(text=text, end_byte=lost + len(text.encode()))
        self.store.logs.write({self.run.id: tail}, fence=self.driver, lease=driver_lease(self.sweep.id))

    def end(self) -> None:
        result = RunResult(run_id=self.run.id, state=RunState.COMPLETED, loss=3.0, flops=1.0, seconds=1.0)
        self.store.runs.finish([result], fence=self.driver)


def test_the_last_lines_of_a_run_are_printed(url: str, store: Store) -> None:
    printing = Printing(store)
    assert "has printed nothing so far" in etalon("sweep", "logs", printing.run.id)[1]
    printing.print("a\nb\nc\n")
    assert etalon("sweep", "logs", printing.run.id, "--tail", 2) == (0, "b\nc\n")
    assert answer_of("sweep", "logs", printing.run.id)["lines"] == 3
    assert "give one of them" in etalon("sweep", "logs", printing.run.id, "--follow", "--json")[1]
    assert "There is no run" in refusal_of("sweep", "logs", "x")


def test_a_listed_run_says_the_last_line_of_its_reason(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "_width", 200)
    printing = Printing(store)
    reason = "It ended with exit code 1. The last lines of its output:\nTraceback:\nMemoryError: [64 GB]\n"
    result = RunResult(run_id=printing.run.id, state=RunState.FAILED, reason=reason)
    store.runs.finish([result], fence=printing.driver)
    listed = etalon("sweep", "runs", printing.sweep.id)[1].splitlines()[-1]
    assert listed.rstrip().endswith("MemoryError: [64 GB]")
    assert "exit code" not in listed


def test_runs_are_listed_and_found_by_the_beginning_of_their_ids(url: str, store: Store) -> None:
    printing = Printing(store)
    assert f"{printing.run.id} 100" in etalon("sweep", "runs", printing.sweep.id)[1]
    (run,) = answer_of("sweep", "runs", printing.sweep.id)
    assert (run["id"], run["state"]) == (printing.run.id, "running")
    assert "No run is failed" in etalon("sweep", "runs", printing.sweep.id, "--state", "failed")[1]
    printing.print("a\nb\n")
    assert etalon("sweep", "logs", printing.run.id[:6]) == (0, "a\nb\n")


class Following:
    """``etalon sweep logs --follow`` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.out, self.err = folder / "followed.out", folder / "followed.err"
        command = [sys.executable, "-m", "etalon.cli.main", "sweep", "logs", "--follow", *arguments]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def has_printed(self, *lines: str) -> bool:
        return self.out.read_text().splitlines() == list(lines)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Following]]:
    with ExitStack() as running:

        def start(*arguments: str) -> Following:
            following = Following(tmp_path, *arguments)
            running.callback(following.process.wait)
            running.callback(following.process.kill)
            return following

        yield start


def test_a_log_is_followed_through_a_restart_until_the_run_ends(
    sqlite_url: str,
    home: Path,
    store: Store,
    follow: Callable[..., Following],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home.mkdir()
    printing = Printing(store)
    printing.print("a\nb\nhal")
    with serving(sqlite_url, home) as server:
        monkeypatch.setenv("ETALON_URL", server.url)
        following = follow(printing.run.id, "--tail", "1")
        until(lambda: following.has_printed("b"))
        server.process.kill()
        server.process.wait()
        printing.print("a\nb\nhalf\nc\n")
        with serving(sqlite_url, home, port=int(server.url.rpartition(":")[2])):
            until(lambda: following.has_printed("b", "half", "c"))
            printing.print("c\nc\nc\n", lost=9)
            until(lambda: following.has_printed("b", "half", "c", "c", "c"))
            printing.print("c\nc\n", lost=19)
            until(lambda: following.has_printed("b", "half", "c", "c", "c", GAP, "c", "c"))
            printing.print("c\nno end", lost=21)
            printing.end()
            assert following.process.wait(timeout=60) == 0
    assert following.has_printed("b", "half", "c", "c", "c", GAP, "c", "c", "no end")
    assert following.err.read_text() == "The run is completed.\n"


def test_an_interrupt_ends_following_quietly(
    url: str, store: Store, follow: Callable[..., Following]
) -> None:
    printing = Printing(store)
    printing.print("a\n")
    following = follow(printing.run.id)
    until(lambda: following.has_printed("a"))
    following.process.send_signal(signal.SIGINT)
    assert following.process.wait(timeout=60) == 0
    assert following.err.read_text() == ""
