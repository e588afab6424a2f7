"""A run whose registration changed while it was under way: nothing of the former program is handed to the new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workers.programs.tiny import (
    COMMAND,
    FORK,
    RESUME,
    by_run,
    carry_out,
    cells,
    job,
    registered,
    setup,
)
from workers.programs.journal import Started, read_journal
from workers.programs.program_runner import ProgramSetup
from workers.programs.renewal import RENEWED, renew
from workers.programs.trunk_folder import TrunkCheckpoint, TrunkFolder

SLOW = ("--keep_every=5", "--step_seconds=0.02")
OTHER = {"command": [*COMMAND, "--keep_every=5", "--seed=7"]}


def interrupt(worker: ProgramSetup) -> None:
    """Begin the run r0, and end it once it has a loss."""
    runner = worker.open_runner()
    runner.begin(job(0))
    while not runner.advance(0.1)[0].points:
        pass
    runner.save()


@pytest.mark.parametrize("when", [RESUME["when"], "kept/{run_id}.json"])
def test_a_changed_registration_begins_a_run_under_way_afresh(tmp_path: Path, when: str) -> None:
    keep = [f"--keep_in={when}"] if "kept" in when else []
    resume = {"when": when, "arguments": []}
    former = registered(tmp_path / "mine", *SLOW, *keep, resume=resume)
    interrupt(setup(former, cells(60), tmp_path / "a"))
    other = {"command": [*OTHER["command"], *keep]}
    renewed = setup(registered(tmp_path / "mine", resume=resume, **other), cells(60), tmp_path / "a")
    report = carry_out(renewed, job(0))
    alone = carry_out(
        setup(registered(tmp_path / "b", resume=resume, **other), cells(60), tmp_path / "c"), job(0)
    )
    assert report.results[0].loss == alone.results[0].loss
    assert report.results[0].flops == alone.results[0].flops
    assert RENEWED in report.notices
    entries = read_journal(tmp_path / "a" / "runs" / "r0" / "journal.jsonl")
    assert [one.attempt for one in entries if isinstance(one, Started)] == [1]


def test_an_end_under_a_former_registration_is_no_result_of_the_new_one(tmp_path: Path) -> None:
    carry_out(setup(registered(tmp_path / "mine"), cells(20), tmp_path / "a"), job(0))
    renewed = setup(registered(tmp_path / "mine", **OTHER), cells(20), tmp_path / "a")
    alone = setup(registered(tmp_path / "b", **OTHER), cells(20), tmp_path / "c")
    assert carry_out(renewed, job(0)).results[0].loss == carry_out(alone, job(0)).results[0].loss
    assert (tmp_path / "a" / "runs" / "r0" / "output.log").read_text().count("step 20 loss") == 2


def test_a_run_that_a_user_retries_begins_at_its_first_token_and_its_earlier_end_is_no_answer(
    tmp_path: Path,
) -> None:
    worker = setup(registered(tmp_path / "mine", resume=RESUME), cells(20), tmp_path / "a")
    first = carry_out(worker, job(0))
    assert carry_out(worker, job(0)).results == first.results, "the journal answers"
    retried = replace(job(0), runs=tuple(replace(run, retries=1) for run in job(0).runs))
    again = carry_out(worker, retried)
    assert again.results[0].loss == first.results[0].loss
    assert (tmp_path / "a" / "runs" / "r0" / "output.log").read_text().count("step 20 loss") == 2
    assert RENEWED not in again.notices
    assert carry_out(worker, retried).results == again.results, "its own journal answers the same retry"
    assert (tmp_path / "a" / "runs" / "r0" / "output.log").read_text().count("step 20 loss") == 2


def test_a_folder_that_was_half_cleared_is_cleared_by_the_next_call(tmp_path: Path) -> None:
    """The first call ends while it clears: one trunk is being changed by another worker."""
    folder, trunk = tmp_path / "r0", TrunkFolder(tmp_path / "trunk")
    folder.mkdir()
    renew(folder, "former", checkpoint=None, trunks=[])
    (folder / "own.json").write_text("{}")
    trunk.add_checkpoint(10, TrunkCheckpoint(path=str(folder / "x"), trunk_folder=str(folder / "trunk")))
    with FileLock(trunk.folder / "trunk.json.lock"), pytest.raises(TimeoutError):
        renew(folder, "new", checkpoint=None, trunks=[trunk])
    assert renew(folder, "former", checkpoint=None, trunks=[trunk])
    assert not (folder / "own.json").exists()
    assert not renew(folder, "former", checkpoint=None, trunks=[trunk])


def test_the_same_registration_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    worker = setup(registered(tmp_path / "mine", *SLOW, resume=RESUME), cells(60), tmp_path / "a")
    interrupt(worker)
    report = carry_out(worker, job(0))
    assert RENEWED not in report.notices
    entries = read_journal(tmp_path / "a" / "runs" / "r0" / "journal.jsonl")
    assert [one.attempt for one in entries if isinstance(one, Started)] == [1, 2]


def test_a_registration_that_is_put_back_has_no_trunk_of_the_one_between(tmp_path: Path) -> None:
    """Both write the trunk's checkpoints of a run to the same paths."""
    planned, place = cells(20, 40, 80, trunk="t"), tmp_path / "mine"
    for fields in ({}, OTHER):
        worker = setup(registered(place, fork=FORK, **fields), planned, tmp_path / "a")
        carry_out(worker, job(1, trunk_id="trunk"))
    worker = setup(registered(place, fork=FORK), planned, tmp_path / "a")
    report = carry_out(worker, job(2, trunk_id="trunk"))
    alone = setup(registered(tmp_path / "b"), cells(80), tmp_path / "c")
    assert by_run(report.results)["r2"].loss == carry_out(alone, job(0)).results[0].loss
