"""Trunks, laws, events, tables and tokens: kept exactly, guarded by fences, found again."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.documents.comparisons import (
    BaseOptimum,
    ComparisonPlan,
    ExpectedBowl,
    LeftOutDocument,
    LineUp,
    PlannedContender,
)
from orchestrator.documents.events import (
    ComparisonEvent,
    EventPayload,
    LawEvent,
    ProgressEvent,
    SweepEvent,
    UnreadableEvent,
)
from orchestrator.documents.laws import RuledOut, SizesDocument
from orchestrator.documents.predictions import RefusalDocument, TargetDocument
from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.spec import CellRole
from orchestrator.states import SweepState
from orchestrator.store import Store, schema
from orchestrator.store.database import Database, clock

REFUSAL = RefusalDocument(
    target=TargetDocument(params=1e6, tokens=2e7, batch_tokens=2048),
    refused="too_few",
    detail="Too few runs.",
)
LAW: dict[str, Any] = {
    "document": {"coefficients": [{"name": "ln_params", "value": -0.3}]},
    "prediction": REFUSAL,
    "ruled_out": [RuledOut(cell=0, learning_rate=4e-3, reason="too high")],
    "runs": 7,
    "spent_flops": 1e12,
    "batch": 2,
}


AT = TargetDocument(params=1e6, tokens=2e7, batch_tokens=2048)
PLAN = ComparisonPlan(
    search="It is enough.",
    law_number=2,
    held_out=AT,
    base=AT,
    base_optimum=BaseOptimum(learning_rate=3e-3, sd=0.1, origin="a test"),
    seeds=2,
    line_up=LineUp(
        contenders=(
            PlannedContender(
                name="Fitting",
                arm=CellRole.STANDARD,
                learning_rate=2e-3,
                module_rates="head=2",
                origin="a test",
            ),
        ),
        reference=(1e-3,),
        left_out=(LeftOutDocument(name="Joint MoE", reason="a test"),),
        expected=ExpectedBowl(curvature=0.03, asymmetry=0.7, noise=0.0015),
    ),
)


def test_laws_are_numbered_and_the_newest_is_current(bench: Any) -> None:
    sweep = bench.sweep()
    assert bench.store.laws.latest(sweep.id) is None
    first = bench.store.laws.add(sweep.id, **LAW, fence=bench.fence)
    second = bench.store.laws.add(sweep.id, **LAW, fence=bench.fence)
    assert (first.number, second.number) == (1, 2)
    assert bench.store.laws.latest(sweep.id) == second
    assert bench.store.laws.of_sweep(sweep.id) == [first, second]
    assert bench.store.laws.get(sweep.id, 1) == first
    assert bench.store.sweeps.get(sweep.id).law_number == 2


def test_a_law_keeps_its_document_and_its_prediction_by_number(bench: Any) -> None:
    sweep = bench.sweep()
    law = bench.store.laws.add(sweep.id, **LAW, fence=bench.fence)
    assert (law.document, law.ruled_out) == (LAW["document"], tuple(LAW["ruled_out"]))
    event = bench.store.events.after(0, sweep_id=sweep.id)[-1]
    answer = REFUSAL.model_copy(update={"law_number": 1})
    assert (event.kind, event.data) == (
        "law",
        {"number": 1, "prediction": answer.model_dump(mode="json"), "runs": 7},
    )
    assert law.prediction == answer


def test_laws_of_two_sweeps_are_numbered_apart(bench: Any) -> None:
    numbers = [bench.store.laws.add(bench.sweep().id, **LAW, fence=bench.fence).number for _ in range(2)]
    assert numbers == [1, 1]


def test_a_leader_that_was_replaced_cannot_add_a_law(bench: Any) -> None:
    sweep, stale = bench.sweep(), bench.fence
    bench.lead("another")
    with pytest.raises(Conflict, match=f"fence {stale}"):
        bench.store.laws.add(sweep.id, **LAW, fence=stale)
    assert bench.store.laws.of_sweep(sweep.id) == []


def test_a_law_that_is_no_json_is_refused_on_every_database(bench: Any) -> None:
    sweep = bench.sweep()
    with pytest.raises(Exception, match="not JSON compliant"):
        bench.store.laws.add(sweep.id, **(LAW | {"document": {"value": float("nan")}}), fence=bench.fence)
    assert bench.store.laws.of_sweep(sweep.id) == []


def test_an_unknown_law_or_sweep_is_not_found(bench: Any) -> None:
    with pytest.raises(NotFound, match="no law 3"):
        bench.store.laws.get(bench.sweep().id, 3)
    with pytest.raises(NotFound):
        bench.store.laws.add("nothing", **LAW, fence=bench.fence)


def test_events_come_in_one_order_over_all_sweeps(bench: Any) -> None:
    first, second = bench.sweep(SweepState.QUEUED), bench.sweep(SweepState.QUEUED)
    bench.store.events.append(first.id, ProgressEvent(points=5))
    events = bench.store.events.after(0)
    assert [event.sweep_id for event in events] == [first.id, second.id, first.id]
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert bench.store.events.last_id() == events[-1].id
    assert events[-1].data == {"points": 5}


def test_events_can_be_read_from_any_place_of_one_sweep(bench: Any) -> None:
    sweep = bench.sweep()
    bench.sweep()
    every = bench.store.events.after(0, sweep_id=sweep.id)
    assert bench.store.events.after(every[0].id, sweep_id=sweep.id) == every[1:]
    assert bench.store.events.after(0, sweep_id=sweep.id, limit=1) == every[:1]
    assert bench.store.events.after(every[-1].id, sweep_id=sweep.id) == []


def test_the_newest_event_of_a_kind_is_found(bench: Any) -> None:
    sweep = bench.sweep()
    assert bench.store.events.latest(sweep.id, LawEvent) is None
    for number in (1, 2):
        bench.store.events.append(sweep.id, LawEvent(number=number, runs=7))
    assert bench.store.events.latest(sweep.id, LawEvent) == LawEvent(number=2, runs=7)
    assert bench.store.events.latest(sweep.id, SweepEvent, LawEvent) == LawEvent(number=2, runs=7)
    assert bench.store.events.latest(sweep.id, SweepEvent).state is SweepState.RUNNING


def append_as_stored(bench: Any, database_url: str, kind: str, data: dict[str, Any]) -> str:
    """A sweep whose newest event another version of Etalon wrote."""
    sweep = bench.sweep()
    database = Database(database_url)
    with database.write() as connection:
        row = {"sweep_id": sweep.id, "kind": kind, "data": data, "at": clock(connection)}
        connection.execute(schema.events.insert(), row)
    database.engine.dispose()
    event = bench.store.events.after(0, sweep_id=sweep.id)[-1]
    assert (event.kind, event.data) == (kind, data)
    return str(sweep.id)


def test_an_event_of_an_unknown_kind_has_no_payload(bench: Any, database_url: str) -> None:
    sweep_id = append_as_stored(bench, database_url, "weather", {"rain": True})
    assert bench.store.events.after(0, sweep_id=sweep_id)[-1].payload is None
    assert bench.store.events.latest(sweep_id, LawEvent) is None
    assert bench.store.sweeps.span_seconds(sweep_id) == 0.0


@pytest.mark.parametrize(
    ("model", "data"),
    [(LawEvent, {"law": 3}), (SweepEvent, {"state": "archived"}), (ComparisonEvent, {"stage": "dreaming"})],
)
def test_a_decision_never_takes_an_event_of_another_shape_for_none(
    bench: Any, database_url: str, model: type[EventPayload], data: dict[str, Any]
) -> None:
    sweep_id = append_as_stored(bench, database_url, model.KIND, data)
    with pytest.raises(UnreadableEvent, match=f"kind {model.KIND} "):
        bench.store.events.latest(sweep_id, model)


def test_no_events_no_last_number(store: Store) -> None:
    assert store.events.last_id() == 0


def test_the_same_table_uploaded_again_is_the_same(store: Store) -> None:
    first = store.tables.add(b"params,tokens\n1,2\n", rows=1, cells=1)
    assert store.tables.add(b"params,tokens\n1,2\n", rows=1, cells=1) == first
    assert store.tables.get(first.id) == first
    assert first.id.startswith("tbl-")
    assert store.tables.add(b"other", rows=1, cells=1).id != first.id


def test_an_unknown_table_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="tbl-0"):
        store.tables.get("tbl-0")


def test_a_token_opens_until_it_is_revoked(store: Store) -> None:
    assert not store.tokens.any()
    token, secret = store.tokens.create("ada", ["submit", "read"])
    assert token.scopes == {"read", "submit"}
    assert store.tokens.authenticate(secret) == token
    store.tokens.revoke(token.id)
    assert store.tokens.authenticate(secret) is None
    (revoked,) = store.tokens.list()
    assert revoked.revoked_at is not None
    store.tokens.revoke(token.id)
    assert store.tokens.list() == [revoked]


def test_revoking_the_last_token_does_not_open_the_service(store: Store) -> None:
    store.tokens.revoke(store.tokens.create("ada", ["read"])[0].id)
    assert store.tokens.any()


def test_a_guess_opens_nothing(store: Store) -> None:
    _, secret = store.tokens.create("ada", ["read"])
    for guess in ("", secret[:-1], secret + "x", secret.upper()):
        assert store.tokens.authenticate(guess) is None


def test_an_unknown_token_cannot_be_revoked(store: Store) -> None:
    with pytest.raises(NotFound):
        store.tokens.revoke("nothing")


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:"])
def test_only_sqlite_files_and_postgresql_are_databases(url: str) -> None:
    with pytest.raises(BadInput):
        Store.open(url)


def test_a_database_knows_its_time(store: Store) -> None:
    assert store.now().utcoffset() is not None


def test_a_law_in_both_counts_of_parameters_keeps_them(bench: Any) -> None:
    sweep = bench.sweep()
    sizes = SizesDocument(
        used="params_active", proportional=True, laws=[], paired=None, better=None, summary="Both are one."
    )
    assert bench.store.laws.add(sweep.id, **LAW, fence=bench.fence).sizes is None
    law = bench.store.laws.add(sweep.id, **LAW, fence=bench.fence, sizes=sizes)
    assert [kept.sizes for kept in bench.store.laws.of_sweep(sweep.id)] == [None, sizes]
    assert bench.store.laws.latest(sweep.id) == law


def test_a_comparison_is_kept_beside_its_runs_with_an_event(bench: Any, new_run: Any) -> None:
    sweep = bench.sweep()
    assert bench.store.comparisons.get(sweep.id) is None
    bench.store.runs.add_batch(sweep.id, [new_run(0, 1e-3)], fence=bench.fence, comparison=PLAN)
    assert bench.store.comparisons.get(sweep.id) == PLAN
    event = bench.store.events.after(0, sweep_id=sweep.id)[-1]
    assert (event.kind, event.data) == ("comparison", {"stage": "running", "search": "It is enough."})


def test_a_comparison_never_changes(bench: Any, new_run: Any) -> None:
    sweep = bench.sweep()
    for changed in (PLAN, PLAN.model_copy(update={"seeds": 5})):
        bench.store.runs.add_batch(sweep.id, [new_run(0, 1e-3)], fence=bench.fence, comparison=changed)
    assert bench.store.comparisons.get(sweep.id) == PLAN


def test_a_leader_that_was_replaced_keeps_neither_a_comparison_nor_its_runs(bench: Any, new_run: Any) -> None:
    sweep, stale = bench.sweep(), bench.fence
    bench.lead("another")
    with pytest.raises(Conflict, match=f"fence {stale}"):
        bench.store.runs.add_batch(sweep.id, [new_run(0, 1e-3)], fence=stale, comparison=PLAN)
    assert bench.store.comparisons.get(sweep.id) is None
    assert bench.store.runs.of_sweep(sweep.id) == []
