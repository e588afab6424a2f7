"""What the driver of a registered program keeps of its runs."""

from __future__ import annotations

from typing import Any

from tests.workers.test_program_driver import Programs
from workers.command import CommandJobFactory
from workers.command_jobs import ProgramJob
from workers.kinds import job_factory


def driver_of(stage: Any, sweep_id: str) -> CommandJobFactory:
    """The jobs' side of a new driver."""
    factory = job_factory(stage.store.sweeps.get(sweep_id), stage.store, stage.settings)
    assert isinstance(factory, CommandJobFactory)
    return factory


def jobs_of(stage: Any, sweep_id: str, factory: CommandJobFactory) -> tuple[ProgramJob, ...]:
    return factory.jobs(stage.store.runs.pending(sweep_id), {}, 1)


def test_a_new_driver_counts_on_how_often_the_workers_of_a_run_were_lost(stage: Any) -> None:
    programs = Programs(stage)
    programs.register()
    sweep_id = programs.sweep(rates=(0.005, 0.01))
    first = driver_of(stage, sweep_id)
    lost, other = jobs_of(stage, sweep_id, first)
    assert [first.note_loss(lost), first.note_loss(lost)] == [1, 2]
    second = driver_of(stage, sweep_id)
    assert [second.note_loss(lost), second.note_loss(other)] == [3, 1]


def test_losses_are_counted_where_the_folder_of_a_run_cannot_be_made(stage: Any) -> None:
    programs = Programs(stage)
    programs.register()
    sweep_id = programs.sweep(rates=(0.005,))
    factory = driver_of(stage, sweep_id)
    (job,) = jobs_of(stage, sweep_id, factory)
    folder = stage.settings.checkpoints / sweep_id
    folder.mkdir(parents=True)
    (folder / "runs").write_text("no folder")
    assert [factory.note_loss(job), factory.note_loss(job)] == [1, 2]
