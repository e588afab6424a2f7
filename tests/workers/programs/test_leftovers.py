"""What is removed of a run's folder when its job has ended, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.programs.tiny import registered
from workers.programs.leftovers import drop_leftovers


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run's folder with temporary files and two checkpoints."""
    folder = tmp_path / "runs" / "r1"
    for name in (
        "tmp/scratch",
        "ck/step-16/weights",
        "ck/step-30/weights",
        "ck/latest.txt",
        "own.pt",
        "output.log",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def drop(tmp_path: Path, folder: Path, when: str, *kept: Path) -> None:
    """Drop the leftovers of a program with this ``resume.when``, and wait until they are deleted."""
    registration = registered(tmp_path / "mine", resume={"when": when, "arguments": []})
    thread = drop_leftovers(registration, folder, checkpoint=True, kept=kept)
    assert thread is not None
    assert not (folder / "tmp").exists()  # at once
    thread.join(10)


CHECKPOINTS = {"ck/step-16/weights", "ck/step-30/weights", "ck/latest.txt"}


@pytest.mark.parametrize(
    ("when", "gone"),
    [
        ("{run_folder}/own.pt", {"own.pt"}),
        ("{run_folder}/ck", CHECKPOINTS),
        ("{run_folder}/nothing", set()),
        ("{run_folder}", set()),
        ("{run_folder}/../r1", set()),
        ("elsewhere/{run_id}", set()),
        ("{run_folder}/own.pt/inside", set()),
    ],
)
def test_temporary_files_and_the_own_checkpoint_are_removed(
    tmp_path: Path, run_folder: Path, when: str, gone: set[str]
) -> None:
    before = left(run_folder)
    drop(tmp_path, run_folder, when)
    assert left(run_folder) == before - gone - {"tmp/scratch"}


@pytest.mark.parametrize("when", ["{run_folder}/ck", "{run_folder}/ck/latest.txt", "{run_folder}/ck/step-16"])
def test_a_checkpoint_of_the_trunk_stays_with_what_lies_beside_it(
    tmp_path: Path, run_folder: Path, when: str
) -> None:
    drop(tmp_path, run_folder, when, run_folder / "trunk" / ".." / "ck" / "step-16")
    assert left(run_folder) >= CHECKPOINTS


def test_what_another_process_did_not_delete_to_its_end_is_deleted(tmp_path: Path, run_folder: Path) -> None:
    (run_folder / ".dropped-before").mkdir()
    (run_folder / ".dropped-before" / "weights").write_text("")
    drop(tmp_path, run_folder, "{run_folder}/own.pt", run_folder / "ck" / "step-16")
    assert left(run_folder) == CHECKPOINTS | {"output.log"}
