"""Sweeps: submitted once, moved only along the table of states, listed in stable pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cells import Cells
from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.spec import ProxyTrainer, SweepSpec, parse_spec
from orchestrator.states import SWEEP_LIVE, SWEEP_TRANSITIONS, RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.identity import new_id
from orchestrator.store.records import LossPoint, RunResult
from orchestrator.store.sweeps import MOST_NAMED

UNKNOWN = "0" * 32


def submit(store: Store, spec: SweepSpec, **names: Any) -> Any:
    assert isinstance(spec.trainer, ProxyTrainer)
    return store.sweeps.create(spec, cells=spec.trainer.cells(spec.grid), **names)


def test_a_sweep_comes_back_as_it_was_submitted(store: Store, spec: SweepSpec) -> None:
    sweep, new = submit(store, spec, submitted_by="ada")
    assert new
    assert store.sweeps.get(sweep.id) == sweep
    assert (sweep.spec, sweep.state, sweep.submitted_by) == (spec, SweepState.QUEUED, "ada")
    assert sweep.created_at.utcoffset() is not None


def test_its_cells_come_back_exactly(store: Store, spec: SweepSpec) -> None:
    sweep, _ = submit(store, spec)
    assert isinstance(spec.trainer, ProxyTrainer)
    assert store.sweeps.cells(sweep.id) == spec.trainer.cells(spec.grid)


def test_a_cell_keeps_both_counts_of_parameters_and_its_role(store: Store, spec: SweepSpec) -> None:
    assert isinstance(spec.trainer, ProxyTrainer)
    first, *others = spec.trainer.cells(spec.grid)
    cells = (replace(first, params_total=9e6, params_active=1e6, role="transfer"), *others)
    sweep, _ = store.sweeps.create(spec, cells=cells)
    assert store.sweeps.cells(sweep.id) == Cells(cells)


def test_numbers_of_cells_may_have_holes(bench: Any) -> None:
    spec = bench.sweep().spec
    assert isinstance(spec.trainer, ProxyTrainer)
    first, second = spec.trainer.cells(spec.grid)
    cells = Cells([replace(second, number=7), replace(first, number=3)])
    sweep, _ = bench.store.sweeps.create(spec, cells=cells)
    bench.store.sweeps.move(sweep.id, SweepState.RUNNING)
    bench.ask(sweep.id, (7, 1e-3), (3, 2e-3))
    (short, long), driver = bench.store.runs.pending(sweep.id), bench.drive(sweep.id)
    bench.store.runs.claim(sweep.id, fence=driver)
    ends = [RunResult(run_id=run.id, state=RunState.COMPLETED, loss=2.0, flops=1.0) for run in (short, long)]
    bench.store.runs.finish(ends, fence=driver)
    bench.store.losses.append([LossPoint(curve=run.id, step=1, tokens=64, loss=3.0) for run in (short, long)])
    assert bench.store.sweeps.cells(sweep.id) == cells
    assert [bench.store.sweeps.cells(sweep.id)[run.cell].tokens for run in (short, long)] == [131_072, 65_536]
    assert bench.store.sweeps.results(sweep.id) == 2
    assert bench.store.sweeps.tallies([sweep.id])[sweep.id].rates == 6
    assert set(bench.store.losses.of_sweep(sweep.id)) == {short.id, long.id}


def test_the_cost_of_the_full_grid_is_kept_with_it(store: Store, spec: SweepSpec) -> None:
    sweep, _ = submit(store, spec)
    assert sweep.full_grid_flops == sum(3 * cell.flops for cell in store.sweeps.cells(sweep.id))


def test_a_sweep_is_found_by_its_id_and_by_a_name_that_no_other_has(store: Store, spec: SweepSpec) -> None:
    sweep, _ = store.sweeps.create(spec, cells=())
    other, _ = store.sweeps.create(spec.model_copy(update={"name": sweep.id}), cells=())
    assert store.sweeps.find(sweep.id) == sweep
    assert store.sweeps.find(spec.name) == sweep
    assert store.sweeps.page(name=sweep.id)[0] == [other]
    for unknown in ("nobody", "two\0horizons", new_id()):
        with pytest.raises(NotFound, match="There is no sweep"):
            store.sweeps.find(unknown)


def test_a_name_of_several_sweeps_lists_the_newest(store: Store, spec: SweepSpec) -> None:
    ids = [store.sweeps.create(spec, cells=())[0].id for _ in range(MOST_NAMED + 1)]
    with pytest.raises(Conflict, match="use an id") as refused:
        store.sweeps.find(spec.name)
    assert ids[-1] in refused.value.detail
    assert ids[0] not in refused.value.detail
    assert refused.value.detail.endswith(" UTC), ….")
    assert f"{ids[-1]} (queued, created 20" in refused.value.detail


def test_the_same_key_and_spec_give_the_sweep_of_the_first_time(store: Store, spec: SweepSpec) -> None:
    first, _ = submit(store, spec, idempotency_key="k")
    again, new = submit(store, spec, idempotency_key="k")
    assert not new
    assert again.id == first.id
    assert store.sweeps.page()[2] == 1
    assert len(store.events.after(0)) == 1


def test_the_same_key_with_another_spec_is_a_conflict(store: Store, spec: SweepSpec) -> None:
    submit(store, spec, idempotency_key="k")
    with pytest.raises(Conflict, match="'k' was already used"):
        submit(store, spec.model_copy(update={"name": "another"}), idempotency_key="k")


def test_keys_of_two_submitters_do_not_meet(store: Store, spec: SweepSpec) -> None:
    first, _ = submit(store, spec, idempotency_key="k", submitted_by="ada")
    other, new = submit(store, spec, idempotency_key="k", submitted_by="grace")
    assert new
    assert other.id != first.id


def test_a_sweep_that_only_fits_has_no_cells_and_costs_nothing(store: Store) -> None:
    spec = parse_spec({"name": "a fit", "prior_runs": {"table": "tbl-1"}})
    sweep, _ = store.sweeps.create(spec, cells=())
    assert store.sweeps.cells(sweep.id) == Cells()
    assert sweep.full_grid_flops == 0.0


def test_an_unknown_sweep_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match=UNKNOWN):
        store.sweeps.get(UNKNOWN)
    with pytest.raises(NotFound, match=UNKNOWN):
        store.sweeps.move(UNKNOWN, SweepState.RUNNING)


@pytest.mark.parametrize("state", SweepState)
def test_every_move_of_the_table_and_no_other_is_possible(bench: Any, state: SweepState) -> None:
    for to in SweepState:
        sweep = bench.sweep(state)
        if to in SWEEP_TRANSITIONS[state]:
            assert bench.store.sweeps.move(sweep.id, to, reason="because").state is to
            assert bench.store.sweeps.get(sweep.id).reason == "because"
        else:
            events = len(bench.store.events.after(0))
            with pytest.raises(Conflict, match=f"is {state} and cannot become {to}"):
                bench.store.sweeps.move(sweep.id, to)
            assert bench.store.sweeps.get(sweep.id) == sweep
            assert len(bench.store.events.after(0)) == events


def test_a_move_writes_an_event_with_reason_and_actor(bench: Any) -> None:
    sweep = bench.sweep(SweepState.RUNNING)
    bench.store.sweeps.move(sweep.id, SweepState.PAUSED, actor="ada", reason="lunch")
    event = bench.store.events.after(0, sweep_id=sweep.id)[-1]
    assert (event.kind, event.data) == ("sweep", {"state": "paused", "reason": "lunch", "actor": "ada"})


def with_open_runs(bench: Any) -> str:
    """A running sweep with one run completed, one running and one pending."""
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3), (0, 4e-3))
    fence = bench.drive(sweep.id)
    first, second, _ = bench.store.runs.pending(sweep.id)
    bench.store.runs.claim(sweep.id, fence=fence, run_ids=[first.id, second.id])
    bench.store.runs.finish([RunResult(run_id=first.id, state=RunState.COMPLETED, loss=2.0)], fence=fence)
    return sweep.id


def counts(store: Store, sweep_id: str) -> dict[str, int]:
    return {state: count for state, count in store.sweeps.progress(sweep_id).items() if count}


@pytest.mark.parametrize("to", [SweepState.CANCELLED, SweepState.FAILED, SweepState.COMPLETED])
def test_a_final_state_cancels_what_is_open(bench: Any, to: SweepState) -> None:
    sweep_id = with_open_runs(bench)
    bench.store.sweeps.move(sweep_id, to)
    assert counts(bench.store, sweep_id) == {"completed": 1, "cancelled": 2}


def test_stopping_drops_the_pending_runs_and_lets_the_live_ones_end(bench: Any) -> None:
    sweep_id = with_open_runs(bench)
    bench.store.sweeps.move(sweep_id, SweepState.STOPPING)
    assert counts(bench.store, sweep_id) == {"completed": 1, "cancelled": 1, "running": 1}


def test_pausing_leaves_every_run_as_it_is(bench: Any) -> None:
    sweep_id = with_open_runs(bench)
    bench.store.sweeps.move(sweep_id, SweepState.PAUSED)
    assert counts(bench.store, sweep_id) == {"completed": 1, "pending": 1, "running": 1}


@pytest.mark.parametrize("state", SweepState)
def test_a_stop_goes_by_the_state_that_it_finds(bench: Any, state: SweepState) -> None:
    sweep = bench.sweep(state)
    if state is SweepState.QUEUED:
        assert bench.store.sweeps.stop(sweep.id, actor="ada").state is SweepState.STOPPED
    elif state in {SweepState.RUNNING, SweepState.PAUSED}:
        assert bench.store.sweeps.stop(sweep.id, actor="ada").state is SweepState.STOPPING
    else:
        with pytest.raises(Conflict, match="cannot become stopping"):
            bench.store.sweeps.stop(sweep.id)


@pytest.mark.parametrize("state", SweepState)
def test_only_a_paused_sweep_is_resumed(bench: Any, state: SweepState) -> None:
    sweep = bench.sweep(state)
    if state is SweepState.PAUSED:
        assert bench.store.sweeps.resume(sweep.id, actor="ada").state is SweepState.QUEUED
        assert bench.store.events.after(0)[-1].data["actor"] == "ada"
    else:
        with pytest.raises(Conflict, match=f"is {state}; only a paused"):
            bench.store.sweeps.resume(sweep.id)


def test_a_sweep_that_had_begun_is_resumed_as_running(bench: Any) -> None:
    sweep_id = with_open_runs(bench)
    bench.store.sweeps.move(sweep_id, SweepState.PAUSED)
    assert bench.store.sweeps.resume(sweep_id).state is SweepState.RUNNING


def test_a_pause_does_not_count_as_time_spent(bench: Any) -> None:
    sweep_id = with_open_runs(bench)
    bench.store.sweeps.move(sweep_id, SweepState.PAUSED)
    spent, paused_at = bench.store.sweeps.span_seconds(sweep_id), bench.store.now()
    while (bench.store.now() - paused_at).total_seconds() < 0.05:
        assert bench.store.sweeps.span_seconds(sweep_id) == pytest.approx(spent, abs=1e-9)
    bench.store.sweeps.resume(sweep_id)
    counted, now = bench.store.sweeps.span_seconds(sweep_id), bench.store.now()
    began = min(run.started_at for run in bench.store.runs.of_sweep(sweep_id) if run.started_at)
    assert spent <= counted <= (now - began).total_seconds() - 0.05


def test_progress_names_every_state(bench: Any) -> None:
    assert bench.store.sweeps.progress(bench.sweep().id) == dict.fromkeys(RunState, 0)


def test_what_was_spent_is_summed_over_finished_runs(bench: Any) -> None:
    sweep = bench.sweep()
    bench.ask(sweep.id, (0, 1e-3), (0, 2e-3))
    assert bench.store.sweeps.spent_flops(sweep.id) == 0.0
    assert bench.store.sweeps.span_seconds(sweep.id) == 0.0
    fence = bench.drive(sweep.id)
    bench.store.runs.finish(
        [
            RunResult(run_id=run.id, state=RunState.COMPLETED, loss=2.0, flops=1e9, seconds=1.5)
            for run in bench.store.runs.claim(sweep.id, fence=fence)
        ],
        fence=fence,
    )
    assert bench.store.sweeps.spent_flops(sweep.id) == 2e9
    assert 0.0 <= bench.store.sweeps.span_seconds(sweep.id) < 60.0


def test_live_sweeps_are_those_that_need_the_orchestrator(bench: Any) -> None:
    sweeps = {state: bench.sweep(state).id for state in SweepState}
    assert [sweep.id for sweep in bench.store.sweeps.live()] == [
        sweep_id for state, sweep_id in sweeps.items() if state in SWEEP_LIVE
    ]


def test_pages_are_newest_first_and_hold_every_sweep_once(bench: Any) -> None:
    made = [bench.sweep(SweepState.QUEUED).id for _ in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page, cursor, total = bench.store.sweeps.page(limit=2, cursor=cursor)
        seen += [sweep.id for sweep in page]
        assert total == 5
    assert cursor is None
    assert seen == made[::-1]


def test_pages_stay_in_place_while_sweeps_come_in(bench: Any) -> None:
    made = [bench.sweep(SweepState.QUEUED).id for _ in range(4)]
    first, cursor, _ = bench.store.sweeps.page(limit=2)
    late = bench.sweep(SweepState.QUEUED).id
    second, end, total = bench.store.sweeps.page(limit=2, cursor=cursor)
    assert [sweep.id for sweep in [*first, *second]] == made[::-1]
    assert end is None
    assert total == 5
    assert bench.store.sweeps.page(limit=1)[0][0].id == late


def test_pages_can_be_of_one_state(bench: Any) -> None:
    bench.sweep(SweepState.QUEUED)
    paused = bench.sweep(SweepState.PAUSED)
    page, cursor, total = bench.store.sweeps.page(state=SweepState.PAUSED, limit=1)
    assert ([sweep.id for sweep in page], cursor, total) == ([paused.id], None, 1)


@pytest.mark.parametrize(("limit", "cursor", "field"), [(0, None, "limit"), (10, "'; --", "cursor")])
def test_a_page_that_cannot_be_is_refused(store: Store, limit: int, cursor: str | None, field: str) -> None:
    with pytest.raises(BadInput) as refused:
        store.sweeps.page(limit=limit, cursor=cursor)
    assert refused.value.fields[0].path == field


def test_ids_sort_by_the_order_they_were_made_in() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
