"""Sweeps that change while they run and after they have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.states import RUN_MEASURED, RunState, SweepState
from orchestrator.store import schema
from orchestrator.store.database import Database
from orchestrator.store.records import Run, Sweep
from orchestrator.submission.revision import revise


def change(house: Any, sweep_id: str, patch: dict[str, Any]) -> Sweep:
    return revise(house.store.sweeps.get(sweep_id), patch, house.store, Settings())[0]


def measured(house: Any, sweep_id: str) -> list[Run]:
    return [run for run in house.store.runs.of_sweep(sweep_id) if run.state is RunState.COMPLETED]


def known_runs(house: Any, sweep_id: str) -> dict[str, tuple[Any, ...]]:
    return {run.id: (run.loss, run.attempt, run.ended_at) for run in measured(house, sweep_id)}


def test_a_completed_sweep_runs_on_by_a_size_and_a_horizon(house: Any) -> None:
    sweep = house.submit()
    house.until_final(sweep.id)
    before, laws = known_runs(house, sweep.id), house.store.laws.of_sweep(sweep.id)
    grid = {
        "scales": [{"width": width, "depth": 2} for width in (32, 64, 96, 128)],
        "tokens": [100_352, 200_704, 401_408],
    }
    patch = {"grid": grid, "target": {"params": 600_000}, "search": {"budget": {"runs": 120}}}
    assert change(house, sweep.id, patch).state is SweepState.QUEUED
    final = house.until_final(sweep.id)

    assert (final.state, final.revision) == (SweepState.COMPLETED, 2)
    after = known_runs(house, sweep.id)
    assert before.items() < after.items(), "nothing is run twice"
    assert house.store.laws.of_sweep(sweep.id)[: len(laws)] == laws, "the law's history stays"
    assert house.store.laws.latest(sweep.id).prediction.target.params == 600_000
    cells = house.store.sweeps.cells(sweep.id)
    assert len(cells) == 12
    assert any(run.cell >= 6 for run in measured(house, sweep.id))


def test_a_grid_that_grows_runs_what_is_new_and_nothing_else(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.until_final(sweep.id)
    before = known_runs(house, sweep.id)
    lattice = {"min": 5e-4, "max": 6.4e-2, "per_octave": 1}
    change(
        house,
        sweep.id,
        {"grid": {"learning_rates": lattice, "seeds": 2, "tokens": [100_352, 200_704, 401_408]}},
    )
    house.until_final(sweep.id)
    assert len(house.store.runs.of_sweep(sweep.id)) == 9 * 8 * 2
    assert before.items() < known_runs(house, sweep.id).items()


def test_a_larger_budget_is_taken_up_by_a_sweep_that_runs(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid", "budget": {"runs": 5}})
    house.loop.step()
    change(house, sweep.id, {"search": {"budget": {"runs": 9}}})
    assert house.until_final(sweep.id).state is SweepState.COMPLETED
    assert sum(run.state is not RunState.PRUNED for run in house.store.runs.of_sweep(sweep.id)) == 9


def test_a_stopped_sweep_takes_up_the_runs_that_the_stop_cancelled(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.loop.step()
    house.driver.finish(house.driver.claim(sweep.id, most=3))
    house.store.sweeps.stop(sweep.id)
    assert house.until_final(sweep.id).state is SweepState.STOPPED
    change(house, sweep.id, {"resources": {"max_parallel": 4}})
    house.until_final(sweep.id)
    assert {run.state for run in house.store.runs.of_sweep(sweep.id)} == {
        RunState.COMPLETED,
        RunState.DIVERGED,
    }


def test_another_target_is_answered_at_once_while_runs_are_open(house: Any) -> None:
    sweep = house.submit()
    while house.store.sweeps.get(sweep.id).law_number is None:
        house.loop.step()
        house.driver.finish(house.driver.claim(sweep.id))
    house.loop.step()
    live = house.driver.claim(sweep.id)
    number = house.store.sweeps.get(sweep.id).law_number
    change(house, sweep.id, {"target": {"tokens": 300_000}})
    house.loop.step()
    law = house.store.laws.latest(sweep.id)
    assert law.number > number
    assert law.prediction.target.tokens == 300_000
    house.driver.finish(live)


def test_the_name_alone_starts_nothing(house: Any) -> None:
    sweep = house.submit()
    house.until_final(sweep.id)
    number = house.store.sweeps.get(sweep.id).law_number
    assert change(house, sweep.id, {"name": "renamed"}).state is SweepState.COMPLETED
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).law_number == number
    assert change(house, sweep.id, {"name": "renamed"}).revision == 2


def test_an_excluded_run_leaves_the_law_of_a_completed_sweep_at_once(house: Any) -> None:
    sweep = house.submit()
    final = house.until_final(sweep.id)
    laws = house.store.laws.of_sweep(sweep.id)
    run, other, *_ = measured(house, sweep.id)
    house.store.revisions.exclude(run.id, "a bad node")
    house.store.revisions.exclude(other.id, "a bad node")
    house.loop.step()

    law = house.store.laws.latest(sweep.id)
    assert (law.number, law.runs) == (laws[-1].number + 1, laws[-1].runs - 2)
    assert house.store.laws.of_sweep(sweep.id)[:-1] == laws
    assert house.store.sweeps.get(sweep.id).state is final.state
    house.loop.step()
    assert house.store.laws.latest(sweep.id) == law, "once is enough"

    house.store.revisions.include(run.id)
    house.store.revisions.include(other.id)
    house.loop.step()
    again = house.store.laws.latest(sweep.id)
    assert again.document == laws[-1].document


def test_an_excluded_run_is_not_run_again_unless_it_is_retried(house: Any) -> None:
    sweep = house.submit(search={"strategy": "grid"})
    house.until_final(sweep.id)
    run = measured(house, sweep.id)[5]
    house.store.revisions.exclude(run.id, "a bad node")
    change(house, sweep.id, {"grid": {"tokens": [100_352, 200_704, 401_408]}})
    house.until_final(sweep.id)
    there = house.store.runs.get(run.id)
    assert (there.attempt, there.excluded) == (1, "a bad node")

    house.store.revisions.retry(run.id)
    house.until_final(sweep.id)
    there = house.store.runs.get(run.id)
    assert (there.attempt, there.excluded, there.state) == (2, None, RunState.COMPLETED)
    assert house.store.laws.latest(sweep.id).runs == house.store.sweeps.results(sweep.id)


def test_a_sweep_whose_runs_are_all_excluded_has_no_law_and_says_so(house: Any) -> None:
    sweep = house.submit()
    house.until_final(sweep.id)
    laws = house.store.laws.of_sweep(sweep.id)
    for run in house.store.runs.of_sweep(sweep.id):
        if run.is_evidence:
            house.store.revisions.exclude(run.id, "a wrong corpus")
    house.loop.step()
    assert house.store.sweeps.get(sweep.id).law_number is None
    assert house.store.laws.latest(sweep.id) is None
    assert house.store.laws.of_sweep(sweep.id) == laws
    assert house.store.sweeps.to_refit() == []

    house.store.revisions.include(measured(house, sweep.id)[0].id)
    house.loop.step()
    for run in house.store.runs.of_sweep(sweep.id):
        if run.excluded is not None:
            house.store.revisions.include(run.id)
    house.loop.step()
    assert house.store.laws.latest(sweep.id).number > laws[-1].number


def test_time_between_an_end_and_a_revision_is_not_spent(house: Any, sqlite_url: str) -> None:
    sweep = house.submit(search={"strategy": "grid", "budget": {"runs": 3, "seconds": 600}})
    house.until_final(sweep.id)
    an_hour_ago(sqlite_url, sweep.id)
    change(house, sweep.id, {"search": {"budget": {"runs": 6}}})
    house.until_final(sweep.id)
    assert sum(run.state in RUN_MEASURED for run in house.store.runs.of_sweep(sweep.id)) == 6
    assert house.store.sweeps.span_seconds(sweep.id) < 600


def an_hour_ago(url: str, sweep_id: str) -> None:
    """Move all that has happened to a sweep back by an hour."""
    hour = timedelta(hours=1)
    with Database(url).write() as connection:
        for table, columns in ((schema.runs, ("started_at", "ended_at")), (schema.events, ("at",))):
            for row in connection.execute(select(table).where(table.c.sweep_id == sweep_id)).mappings().all():
                values = {name: row[name] - hour for name in columns}
                connection.execute(update(table).where(table.c.id == row["id"]).values(values))


def test_a_replay_grows_within_its_table(house: Any) -> None:
    sweep = house.submit_replay(strategy="grid", grid={"tokens": [100_352]}, search={"strategy": "grid"})
    house.until_final(sweep.id)
    assert len(house.store.sweeps.cells(sweep.id)) == 3
    with pytest.raises(BadInput) as refused:
        change(house, sweep.id, {"grid": {"tokens": [200_704]}})
    assert [field.path for field in refused.value.fields] == ["grid.tokens"]
    change(house, sweep.id, {"grid": {"tokens": None}})
    house.until_final(sweep.id)
    assert len(house.store.sweeps.cells(sweep.id)) == 6
    assert len(house.store.runs.of_sweep(sweep.id)) == 42
