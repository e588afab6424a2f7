"""What each page shows, gathered from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import yaml

from api.dashboard.asking import Asked, ask
from api.figures.numbers.savings import Split, split
from api.figures.numbers.selection import Group, groups, showing
from api.figures.numbers.snapshot import Snapshot, read_snapshot
from orchestrator.answers.formula import Formula, formula
from orchestrator.answers.laws import NO_LAW, law_summary
from orchestrator.answers.stable_phase import Phase
from orchestrator.answers.sweeps import waits_because
from orchestrator.cells import Cell
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.events import SweepEvent
from orchestrator.documents.laws import LawSummary
from orchestrator.documents.predictions import (
    PredictionDocument,
    RefusalDocument,
    TargetDocument,
    read_answer,
)
from orchestrator.heldout.stages import comparison_document
from orchestrator.states import RUN_FINAL, SWEEP_LIVE, RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep, Tally

SWEEPS_PER_PAGE: Final = 25
RUNS_PER_PAGE: Final = 25

BAR_ORDER: Final = (
    RunState.COMPLETED,
    RunState.DIVERGED,
    RunState.FAILED,
    RunState.CANCELLED,
    RunState.RUNNING,
    RunState.PENDING,
    RunState.PRUNED,
)
"""What a bar of runs shows from left to right: what is done, what is open, what never need be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The prediction at a sweep's target, or the reason why there is none; ``target`` is None without a law."""

    prediction: PredictionDocument | None = None
    refusal: str | None = None
    target: TargetDocument | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a sweep is.

    Attributes:
        by_state: runs in each state that occurs, in the order in which a bar shows them.
        rates: rates in the grid: cells × lattice × seeds.
        compared: runs of the comparison at a held-out scale, which is no part of the grid.
        done: runs that have said their last word.
        asked: runs asked for so far.
    """

    by_state: Mapping[str, int]
    rates: int
    compared: int
    done: int
    asked: int

    @property
    def untouched(self) -> int:
        """Rates of the grid that were neither asked for nor ruled out."""
        return max(self.rates - sum(self.by_state.values()) + self.compared, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """A sweep in the list."""

    sweep: Sweep
    progress: Progress
    answer: Answer
    spent: float | None
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepList:
    """One page of the list of sweeps."""

    rows: tuple[SweepRow, ...]
    state: str | None
    next_cursor: str | None
    total: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run in the table, with its cell."""

    run: Run
    cell: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """One page of a sweep's runs, batch by batch: those in one state, or all that were asked for.

    Attributes:
        pruned: how many rates were ruled out; they are shown only where their state is chosen.
    """

    rows: tuple[RunRow, ...]
    state: str | None
    pruned: int
    next_cursor: str | None
    first_page: bool
    total: int
    several_batches: bool
    several_seeds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChoice:
    """What the figures of the bowls and of the law show: which cells, where there is no room for all, and which phase.

    Attributes:
        cells: how many have something to show.
        groups: the pages of bowls that can be chosen; none where all cells fit.
        query: the page that was chosen, as part of an address; empty for cells at even steps.
        phases: the phases that can be chosen; none where the runs have one alone.
        phase: the one that was chosen.
    """

    cells: int
    groups: tuple[Group, ...]
    query: str
    phases: tuple[Phase, ...]
    phase: Phase

    @property
    def phase_query(self) -> str:
        """The phase as part of an address; empty for the usual one."""
        return "" if self.phase is Phase.ANNEALED else f"phase={self.phase}"

    @property
    def bowls_query(self) -> str:
        """Of the address of the figure of bowls."""
        return "&".join(part for part in (self.query, self.phase_query) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """A sweep's page."""

    sweep: Sweep
    waits_because: str | None
    live: bool
    last_event: int
    progress: Progress
    answer: Answer
    law: LawSummary | None
    formula: Formula | None
    law_warnings: tuple[str, ...]
    split: Split
    compared_flops: float
    compared: ComparisonDocument | None
    seconds: float | None
    span_seconds: float
    actor: str | None
    asked: Asked
    figures: FigureChoice
    runs: RunTable
    spec: str
    now: datetime

    @property
    def runs_something(self) -> bool:
        """Whether there is a grid to run; a sweep without one fits earlier runs."""
        return self.progress.rates > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run's page."""

    run: Run
    cell: Cell
    sweep: Sweep
    open: bool


def sweep_list(store: Store, *, state: SweepState | None, cursor: str | None) -> SweepList:
    """Gather one page of sweeps, newest first.

    Raises:
        BadInput: a cursor that cannot be.
    """
    sweeps, following, total = store.sweeps.page(state=state, limit=SWEEPS_PER_PAGE, cursor=cursor)
    ids = [sweep.id for sweep in sweeps]
    tallies, answers = store.sweeps.tallies(ids), store.laws.predictions(ids)
    return SweepList(
        rows=tuple(_row(sweep, tallies[sweep.id], answers.get(sweep.id)) for sweep in sweeps),
        state=state,
        next_cursor=following,
        total=total,
        now=store.now(),
    )


def _row(sweep: Sweep, tally: Tally, answer: Mapping[str, Any] | None) -> SweepRow:
    full = sweep.full_grid_flops
    return SweepRow(
        sweep=sweep,
        progress=_progress(sweep, tally),
        answer=_answer(answer),
        spent=tally.spent_flops / full if full else None,
        live=sweep.state in SWEEP_LIVE,
    )


def _answer(answer: Mapping[str, Any] | None) -> Answer:
    if answer is None:
        return Answer(refusal=NO_LAW)
    found = read_answer(answer)
    if isinstance(found, RefusalDocument):
        return Answer(refusal=found.detail, target=found.target)
    return Answer(prediction=found, target=found.target)


def _progress(sweep: Sweep, tally: Tally) -> Progress:
    by_state = tally.by_state
    return Progress(
        by_state={str(state): by_state[state] for state in BAR_ORDER if by_state[state]},
        rates=tally.rates * sweep.spec.grid.seeds,
        compared=tally.compared,
        done=sum(by_state[state] for state in RUN_FINAL - {RunState.CANCELLED}),
        asked=sum(count for state, count in by_state.items() if state is not RunState.PRUNED),
    )


def sweep_view(store: Store, sweep_id: str, query: Mapping[str, str]) -> SweepView:
    """Gather a sweep's page.

    Args:
        store: where it is recorded.
        sweep_id: the sweep.
        query: the page's query: the form's question, which bowls to draw, and which runs to list.

    Raises:
        NotFound: there is no such sweep.
    """
    last_event = store.events.last_id()
    snapshot = read_snapshot(store, sweep_id)
    sweep, law = snapshot.sweep, snapshot.record
    tally = store.sweeps.tallies([sweep_id])[sweep_id]
    moved = store.events.latest(sweep_id, SweepEvent)
    return SweepView(
        sweep=sweep,
        waits_because=waits_because(store, sweep),
        live=sweep.state in SWEEP_LIVE,
        last_event=last_event,
        progress=_progress(sweep, tally),
        answer=_answer(None if law is None else law.prediction),
        law=None if law is None else law_summary(law),
        formula=None if snapshot.law is None else formula(snapshot.law),
        law_warnings=() if snapshot.law is None else snapshot.law.warnings,
        split=split(snapshot),
        compared_flops=tally.compared_flops,
        compared=None if sweep.spec.comparison is None else comparison_document(store, sweep),
        seconds=tally.seconds,
        span_seconds=store.sweeps.span_seconds(sweep_id),
        actor=None if moved is None else moved.actor,
        asked=ask(store, sweep, law, query),
        figures=_figure_choice(snapshot, query),
        runs=_run_table(snapshot, query),
        spec=spec_yaml(sweep),
        now=store.now(),
    )


def _figure_choice(snapshot: Snapshot, query: Mapping[str, str]) -> FigureChoice:
    found = groups(snapshot)
    wanted, phase = query.get("bowls", ""), query.get("phase", "")
    phases = tuple(Phase) if snapshot.sweep.spec.training.no_stable_phase is None else ()
    return FigureChoice(
        cells=len(showing(snapshot)),
        groups=found,
        query=wanted if any(wanted == group.query for group in found) else "",
        phases=phases,
        phase=Phase(phase) if phase in phases else Phase.ANNEALED,
    )


def _listed(run: Run, state: RunState | None) -> bool:
    return run.state is not RunState.PRUNED if state is None else run.state is state


def _run_table(snapshot: Snapshot, query: Mapping[str, str]) -> RunTable:
    chosen = query.get("state") or None
    state = RunState(chosen) if chosen in set(RunState) else None
    cursor = query.get("cursor") or None
    found = sorted((run for run in snapshot.every_run if _listed(run, state)), key=lambda run: run.batch or 0)
    start = next((place for place, run in enumerate(found, 1) if run.id == cursor), 0)
    shown = found[start : start + RUNS_PER_PAGE]
    return RunTable(
        rows=tuple(RunRow(run=run, cell=snapshot.every_cell[run.cell]) for run in shown),
        state=state,
        pruned=sum(run.state is RunState.PRUNED for run in snapshot.runs),
        next_cursor=shown[-1].id if len(found) > start + len(shown) else None,
        first_page=start == 0,
        total=len(found),
        several_batches=snapshot.several_batches,
        several_seeds=any(run.seed for run in found),
    )


def spec_yaml(sweep: Sweep) -> str:
    """The sweep as it was submitted, in YAML."""
    fields = sweep.spec.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=90)


def run_view(store: Store, run_id: str) -> RunView:
    """Gather a run's page.

    Raises:
        NotFound: there is no such run.
    """
    run = store.runs.get(run_id)
    return RunView(
        run=run,
        cell=store.sweeps.cells(run.sweep_id)[run.cell],
        sweep=store.sweeps.get(run.sweep_id),
        open=run.state in (RunState.PENDING, RunState.RUNNING),
    )
