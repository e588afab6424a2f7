"""Small sweeps as values, without a database: what the numbers of figures are tested on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from api.figures.snapshot import FigureSnapshot, rounded
from orchestrator.cells import Cell, Cells
from orchestrator.documents.predictions import (
    Interval,
    PredictionDocument,
    PublishedRate,
    RefusalDocument,
    TargetDocument,
    Valley,
)
from orchestrator.law import Law, fit
from orchestrator.planner.values import full_grid_flops
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store.records import LawRecord, LossPoint, Run, Sweep
from tests.api.dashboard.seeding import bowl_loss, spec_fields
from tests.known_law import observed

TARGET = TargetDocument(params=1e15, tokens=1e15, batch_tokens=256.0)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RATES = tuple(float(f"{1e-3 * 2 ** (i / 1.5):.6g}") for i in range(10))


def make_cells(
    sizes: Sequence[float] = (1e4, 4e4),
    horizons: Sequence[float] = (1e5, 2e5, 4e5),
    batches: Sequence[float] = (256.0,),
) -> Cells:
    places = [(n, b, d) for n in sizes for b in batches for d in horizons]
    return Cells(
        Cell(
            number=number,
            params=n,
            tokens=d,
            batch_tokens=b,
            rates=RATES,
            trunk=f"{n:g}-{b:g}",
            decay_fraction=0.2,
        )
        for number, (n, b, d) in enumerate(places)
    )


def make_run(cell: int, rate: float, state: RunState = RunState.COMPLETED, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": f"run-{cell}-{rate:g}-{state}",
        "sweep_id": "sweep",
        "cell": cell,
        "learning_rate": rate,
        "seed": 0,
        "state": state,
        "trunk_id": f"trunk-{cell}-{rate:g}",
        "batch": None if state is RunState.PRUNED else 1,
        "attempt": 1,
        "loss": 2.0 if state is RunState.COMPLETED else None,
        "trunk_loss": None,
        "flops": 0.0,
        "seconds": None,
        "reason": None,
        "created_at": MOMENT,
        "started_at": None if state in (RunState.PRUNED, RunState.PENDING) else MOMENT,
        "ended_at": None,
    }
    return Run(**{**fields, **changes})


def full_bowls(cells: Iterable[Cell]) -> list[Run]:
    """Every rate of every cell, completed."""
    return [
        make_run(cell.number, rate, loss=bowl_loss(cell, rate), flops=cell.flops)
        for cell in cells
        for rate in cell.rates
    ]


def fitted(cells: Cells, runs: Sequence[Run]) -> Law:
    return fit(observed(cells, [run for run in runs if run.loss is not None]))


def make_answer(*, valley: tuple[float, float] = (7e-4, 1.4e-3)) -> PredictionDocument:
    """A rate of 1e-3 within ×/÷ 2, between one published law near it and one far away."""
    return PredictionDocument(
        sweep_id=None,
        law_number=None,
        target=TargetDocument(params=1e6, tokens=1e7, batch_tokens=256),
        learning_rate=1e-3,
        interval=Interval(level=0.95, low=5e-4, high=2e-3),
        valley=Valley(low=valley[0], high=valley[1], excess_loss=0.001),
        expected_loss=None,
        extrapolation={},
        warnings=[],
        published=[
            PublishedRate(law="near", learning_rate=3e-3, source="a paper"),
            PublishedRate(law="far", learning_rate=1.0, source="another"),
        ],
    )


def make_record(
    law: Law | None = None, prediction: PredictionDocument | None = None, number: int = 1
) -> LawRecord:
    return LawRecord(
        sweep_id="sweep",
        number=number,
        document={} if law is None else law.to_document(),
        prediction=RefusalDocument(target=TARGET, detail="too far") if prediction is None else prediction,
        ruled_out=(),
        runs=10,
        spent_flops=1.0,
        batch=number,
        created_at=MOMENT,
    )


def make_snapshot(
    cells: Cells,
    runs: Sequence[Run] = (),
    *,
    law: Law | None = None,
    prediction: PredictionDocument | None = None,
    state: SweepState = SweepState.RUNNING,
    target: Mapping[str, float] | None = None,
) -> FigureSnapshot:
    spec = parse_spec(spec_fields(**({} if target is None else {"target": target})))
    sweep = Sweep(
        id="sweep",
        name="a sweep",
        state=state,
        spec=spec,
        reason=None,
        batches=1,
        law_number=None if law is None else 1,
        full_grid_flops=full_grid_flops(cells, 1),
        submitted_by=None,
        created_at=MOMENT,
        updated_at=MOMENT,
    )
    bowls = () if law is None else law.bowls
    return FigureSnapshot(
        sweep=sweep,
        cells=cells,
        runs=tuple(runs),
        record=None if law is None else make_record(law, prediction),
        law=law,
        bowls={rounded(bowl): bowl for bowl in bowls},
    )


def make_points(curve: str, losses: Sequence[float], start: int = 1) -> list[LossPoint]:
    return [
        LossPoint(curve=curve, step=start + i, tokens=256 * (start + i), loss=loss)
        for i, loss in enumerate(losses)
    ]
