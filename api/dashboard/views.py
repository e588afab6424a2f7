"""The content of each page as a value: documents, and what pages need beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import yaml

from api.dashboard.example_sweep import example_sweep
from api.dashboard.target_form import TargetForm, fill_form
from api.figures import FIGURES
from api.figures.entry import SweepFigure
from api.figures.savings import GridShares, grid_shares
from api.figures.selection import CellPage, cell_pages, cells_with_data
from api.figures.snapshot import FigureSnapshot, read_snapshot
from orchestrator.answers.formula import Formula, formula
from orchestrator.answers.run_logs import log_document
from orchestrator.answers.runs import run_document
from orchestrator.answers.stable_phase import Phase
from orchestrator.answers.sweeps import sweep_document, sweep_summaries
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.document import Page
from orchestrator.documents.events import SweepEvent
from orchestrator.documents.predictions import TargetDocument
from orchestrator.documents.runs import LogDocument, RunDocument
from orchestrator.documents.sweeps import SweepDocument, SweepSummary
from orchestrator.documents.trainers import TrainerDocument
from orchestrator.heldout.stages import comparison_document
from orchestrator.spec import SweepSpec
from orchestrator.states import (
    RUN_FINAL,
    RUN_MEASURED,
    RUN_OPEN,
    SWEEP_CHANGEABLE,
    SWEEP_LIVE,
    RunState,
    SweepState,
)
from orchestrator.store import Store
from orchestrator.store.records import Run, Sweep
from orchestrator.store.revisions import RETRIED
from orchestrator.submission.capacity import measured_cluster

SWEEPS_PER_PAGE: Final = 25
RUNS_PER_PAGE: Final = 25
LOG_TAILS: Final = (200, 1_000, 10_000)
"""Lines of a run's output that a reader may choose."""

BAR_ORDER: Final = (
    RunState.COMPLETED,
    RunState.DIVERGED,
    RunState.FAILED,
    RunState.CANCELLED,
    RunState.RUNNING,
    RunState.PENDING,
    RunState.PRUNED,
)
"""States in a bar of runs from left to right: what is done, what is open, what was ruled out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBar:
    """A bar of runs.

    Attributes:
        by_state: runs in each state that occurs, in the bar's order.
        rates: in the grid, each seed counted.
        untouched: rates of the grid that were neither requested nor ruled out.
        requested: runs requested so far.
        done: runs that have ended.
    """

    by_state: Mapping[str, int]
    rates: int
    untouched: int
    requested: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """One page of a sweep's runs, batch by batch: those in one state, or all that were requested.

    Attributes:
        page: the runs.
        state: None for all that were requested.
        first: whether it is the first page.
        pruned: rates that were ruled out; only a page of this state lists them.
    """

    page: Page[RunDocument]
    state: str | None
    first: bool
    pruned: int
    several_batches: bool
    several_seeds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureChoice:
    """The reader's choices in the figures of the bowls and of the law.

    Attributes:
        cells: how many have data.
        pages: the pages of bowls that can be chosen; none if all cells fit.
        query: the chosen page as part of an address; empty for cells at even steps.
        phases: the phases that can be chosen; none if the runs have only one.
        phase: the chosen one.
    """

    cells: int
    pages: tuple[CellPage, ...]
    query: str
    phases: tuple[Phase, ...]
    phase: Phase

    @property
    def phase_query(self) -> str:
        """The phase as part of an address; empty for annealed losses."""
        return "" if self.phase is Phase.ANNEALED else f"phase={self.phase}"

    @property
    def bowls_query(self) -> str:
        """The query of the address of the figure of bowls."""
        return "&".join(part for part in (self.query, self.phase_query) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepList:
    """One page of the list of sweeps, of all states or of one."""

    page: Page[SweepSummary]
    state: SweepState | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """A sweep's page.

    Attributes:
        target: of the newest law's prediction or refusal; None before the first law.
        has_trunks: whether horizons share a trunk.
        last_event: number of the newest event when the page was read.
        span_seconds: from the start of its first run to the end of its last.
        actor: the token that moved the sweep to its state, if one did.
        spec: the specification as submitted, in YAML.
    """

    sweep: SweepDocument
    target: TargetDocument | None
    live: bool
    last_event: int
    bar: RunBar
    formula: Formula | None
    shares: GridShares
    has_trunks: bool
    comparison: ComparisonDocument | None
    span_seconds: float
    actor: str | None
    form: TargetForm
    figures: tuple[SweepFigure, ...]
    choice: FigureChoice
    runs: RunsPage
    spec: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run's page.

    Attributes:
        log: its output; None where its trainer prints none.
        tail: lines of the log that the reader chose.
        lenses: whether its trainer records lenses.
    """

    run: RunDocument
    sweep: Sweep
    open: bool
    log: LogDocument | None
    tail: int
    lenses: bool

    @property
    def verbs(self) -> tuple[str, ...]:
        """What may be done with the run: as ``orchestrator.store.revisions`` allows it."""
        if self.run.arm is not None:
            return ()
        can_retry = self.sweep.state in SWEEP_CHANGEABLE and (
            self.run.state in RETRIED or (self.run.excluded is not None and self.run.state not in RUN_OPEN)
        )
        marked = ("include",) if self.run.excluded is not None else ("exclude",)
        return (*(("retry",) if can_retry else ()), *(marked if self.run.state in RUN_MEASURED else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitView:
    """The page that submits a sweep.

    Attributes:
        trainers: the registered ones that can be used.
        faulty: registrations that cannot.
        chosen: the one that the sweep is written for; None for proxies.
        text: a sweep to edit; None for the example of proxies.
    """

    trainers: tuple[TrainerDocument, ...]
    faulty: tuple[TrainerDocument, ...]
    chosen: TrainerDocument | None
    text: str | None
    now: datetime


def run_bar(sweep: SweepSummary) -> RunBar:
    """The bar of a sweep's runs."""
    by_state, rates = sweep.progress.runs_by_state, sweep.progress.grid_rates
    known = sum(by_state.values())
    return RunBar(
        by_state={str(state): by_state[state] for state in BAR_ORDER if by_state.get(state)},
        rates=rates,
        untouched=max(rates - known + sweep.progress.comparison_runs, 0),
        requested=known - by_state.get(RunState.PRUNED, 0),
        done=sum(by_state.get(state, 0) for state in RUN_FINAL - {RunState.CANCELLED}),
    )


def sweep_list(store: Store, *, state: SweepState | None, cursor: str | None) -> SweepList:
    """One page of sweeps, newest first, of all states or of one.

    Raises:
        BadInput: the cursor is not one.
    """
    sweeps, following, total = store.sweeps.page(state=state, limit=SWEEPS_PER_PAGE, cursor=cursor)
    page = Page(items=sweep_summaries(store, sweeps), next_cursor=following, total=total)
    return SweepList(page=page, state=state, now=store.now())


def sweep_view(store: Store, sweep_id: str, query: Mapping[str, str]) -> SweepView:
    """Gather a sweep's page.

    Args:
        store: where it is recorded.
        sweep_id: the sweep.
        query: the page's query: the form's target, which bowls to draw, and which runs to list.

    Raises:
        NotFound: there is no such sweep.
    """
    last_event = store.events.last_id()
    snapshot = read_snapshot(store, sweep_id)
    sweep, record = snapshot.sweep, snapshot.record
    document = sweep_document(store, sweep)
    target = None if record is None else record.prediction.target
    moved = store.events.latest(sweep_id, SweepEvent)
    return SweepView(
        sweep=document,
        target=target,
        live=sweep.state in SWEEP_LIVE,
        last_event=last_event,
        bar=run_bar(document),
        formula=None if snapshot.law is None else formula(snapshot.law),
        shares=grid_shares(snapshot),
        has_trunks=any(cell.trunk is not None for cell in snapshot.cells),
        comparison=None if sweep.spec.comparison is None else comparison_document(store, sweep),
        span_seconds=store.sweeps.span_seconds(sweep_id),
        actor=None if moved is None else moved.actor,
        form=fill_form(store, sweep, target or sweep.spec.target, query),
        figures=_figures(document),
        choice=_figure_choice(snapshot, query),
        runs=_runs_page(snapshot, query),
        spec=spec_yaml(sweep.spec),
        now=store.now(),
    )


def _figures(sweep: SweepDocument) -> tuple[SweepFigure, ...]:
    has = {"grid": sweep.progress.grid_rates > 0, "comparison": sweep.spec.comparison is not None}
    return tuple(figure for figure in FIGURES.values() if figure.needs is None or has[figure.needs])


def _figure_choice(snapshot: FigureSnapshot, query: Mapping[str, str]) -> FigureChoice:
    pages = cell_pages(snapshot)
    wanted, phase = query.get("bowls", ""), query.get("phase", "")
    phases = tuple(Phase) if snapshot.sweep.spec.training.no_stable_phase is None else ()
    return FigureChoice(
        cells=len(cells_with_data(snapshot)),
        pages=pages,
        query=wanted if any(wanted == page.query for page in pages) else "",
        phases=phases,
        phase=Phase(phase) if phase in phases else Phase.ANNEALED,
    )


def _is_listed(run: Run, state: RunState | None) -> bool:
    return run.state is not RunState.PRUNED if state is None else run.state is state


def _runs_page(snapshot: FigureSnapshot, query: Mapping[str, str]) -> RunsPage:
    chosen, cursor = query.get("state"), query.get("cursor")
    state = RunState(chosen) if chosen in set(RunState) else None
    found = sorted(
        (run for run in snapshot.every_run if _is_listed(run, state)), key=lambda run: run.batch or 0
    )
    start = next((number for number, run in enumerate(found, 1) if run.id == cursor), 0)
    shown = found[start : start + RUNS_PER_PAGE]
    return RunsPage(
        page=Page(
            items=[run_document(run, snapshot.every_cell) for run in shown],
            next_cursor=shown[-1].id if len(found) > start + len(shown) else None,
            total=len(found),
        ),
        state=state,
        first=start == 0,
        pruned=sum(run.state is RunState.PRUNED for run in snapshot.runs),
        several_batches=snapshot.several_batches,
        several_seeds=any(run.seed for run in found),
    )


def spec_yaml(spec: SweepSpec) -> str:
    """A specification as submitted, in YAML."""
    fields = spec.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=90)


def run_view(store: Store, run_id: str, tail: str) -> RunView:
    """Gather a run's page.

    Args:
        store: where it is recorded.
        run_id: the run.
        tail: lines of its log as asked for; anything but one of ``LOG_TAILS`` is the first of them.

    Raises:
        NotFound: there is no such run.
    """
    run = store.runs.get(run_id)
    sweep = store.sweeps.get(run.sweep_id)
    has_log = sweep.spec.training.program is not None
    lines = next((each for each in LOG_TAILS if str(each) == tail), LOG_TAILS[0])
    return RunView(
        run=run_document(run, store.sweeps.cells(run.sweep_id)),
        sweep=sweep,
        open=run.state in RUN_OPEN,
        log=log_document(run.id, store.logs.get(run.id), tail=lines) if has_log else None,
        tail=lines,
        lenses=not has_log,
    )


def submit_view(store: Store, trainers: Sequence[TrainerDocument], chosen: str) -> SubmitView:
    """Gather the page that submits a sweep.

    Args:
        store: for the size of the cluster.
        trainers: all registrations.
        chosen: name of a trainer; any other text chooses proxies.
    """
    usable = tuple(trainer for trainer in trainers if trainer.fault is None)
    trainer = next((each for each in usable if each.name == chosen), None)
    return SubmitView(
        trainers=usable,
        faulty=tuple(each for each in trainers if each.fault is not None),
        chosen=trainer,
        text=None if trainer is None else example_sweep(trainer, measured_cluster(store)),
        now=store.now(),
    )
