"""Submitting a sweep: its cells, what it would cost, and the row that starts it."""

from __future__ import annotations

from orchestrator.answers.prediction import target_document
from orchestrator.corpora import BUILT_IN, PreparedSource, corpus_names, find_corpus
from orchestrator.documents.previews import (
    CellDocument,
    Expected,
    ExpectedComparison,
    FullGrid,
    PreviewDocument,
)
from orchestrator.errors import BadInput, FieldProblem
from orchestrator.heldout.cost import Spent, cost_of, out_of_reach
from orchestrator.heldout.setting import Setting, held_out_cells, setting_of
from orchestrator.knowledge import recorded_runs, target_of
from orchestrator.planner.values import Cell, Cells, full_grid_flops
from orchestrator.settings import Settings
from orchestrator.spec import CommandTrainer, Grid, PriorRuns, ProxyTrainer, ReplayTrainer, SweepSpec
from orchestrator.spec.fields import FieldError
from orchestrator.spec.grid import check_size
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.submission.capacity import warnings_of
from orchestrator.submission.cells import fewest_repeats, narrowed, proxy_cells, table_cells
from orchestrator.submission.rehearsal import Forecast, forecast
from orchestrator.tables.pooled_columns import pooling_notices
from orchestrator.tables.run_table import RunTable


def cells_of(spec: SweepSpec, store: Store) -> Cells:
    """The cells that a sweep may run; none for a sweep that only fits prior runs.

    Raises:
        BadInput: an unknown table, a table of mixed recipes, a grid that asks for what is not recorded, more
            runs than a sweep may have, or a trainer that is not registered.
    """
    trainer = spec.trainer
    if isinstance(trainer, ProxyTrainer):
        return proxy_cells(spec.grid, trainer)
    if isinstance(trainer, ReplayTrainer):
        return _replayed(spec.grid, recorded_runs(store, trainer, "trainer"))
    if isinstance(trainer, CommandTrainer):
        message = f"no {trainer.kind} trainer {trainer.name!r} is registered with this service"
        raise _refusal("trainer.name", message)
    return Cells()


def _replayed(grid: Grid, table: RunTable) -> Cells:
    """The cells of a replay, which can answer with nothing but what is recorded."""
    if grid.scales:
        message = (
            "a replay has the sizes that its table records; leave scales out, or pick rows with trainer.where"
        )
        raise _refusal("grid.scales", message)
    cells = narrowed(table_cells(table), grid)
    if not cells:
        raise _refusal("grid", "no recorded run of the table lies on it; leave the grid out to use them all")
    try:
        check_size(len(cells), sum(len(cell.rates) for cell in cells) * grid.seeds)
    except FieldError as error:
        raise _refusal(error.path, str(error)) from error
    repeats = fewest_repeats(table, cells)
    if grid.seeds > repeats:
        message = f"{grid.seeds} is more than the table records of some learning rate on the grid; at most {repeats}"
        raise _refusal("grid.seeds", message)
    return cells


def table_warnings(spec: SweepSpec, store: Store) -> list[str]:
    """What the tables that a sweep names pool within one cell, with the field that can pick one value.

    Raises:
        BadInput: as ``recorded_runs``.
    """
    sources: list[tuple[str, ReplayTrainer | PriorRuns]] = []
    if isinstance(spec.trainer, ReplayTrainer):
        sources.append(("trainer", spec.trainer))
    if spec.prior_runs is not None:
        sources.append(("prior_runs", spec.prior_runs))
    return [
        f"{field}: {notice.message}"
        for field, source in sources
        for notice in pooling_notices(recorded_runs(store, source, field))
    ]


def check_corpus(spec: SweepSpec, settings: Settings) -> None:
    """Refuse a corpus that nobody registered or prepared, or whose file is not there: a request names data, never paths.

    Raises:
        BadInput: the name is not known here, or its file cannot be read as what it is known as.
    """
    trainer = spec.trainer
    if not isinstance(trainer, ProxyTrainer) or trainer.corpus == BUILT_IN:
        return
    try:
        source = find_corpus(trainer.corpus, settings)
    except BadInput as error:
        raise _refusal("trainer.corpus", error.detail.rstrip(".")) from error
    if source is None:
        known = ", ".join(corpus_names(settings))
        raise _refusal(
            "trainer.corpus",
            f"no corpus {trainer.corpus!r}; known here: {known}; `etalon corpus prepare SOURCE --name NAME` makes one "
            "of a folder of text",
        )
    reason = source.unreadable()
    if reason is not None:
        mend = (
            "prepare it again with `etalon corpus prepare SOURCE --again`"
            if isinstance(source, PreparedSource)
            else "its operator registers it in ETALON_CORPORA"
        )
        raise _refusal("trainer.corpus", f"the corpus {trainer.corpus!r} cannot be read: {reason}; {mend}")


def submit(
    spec: SweepSpec,
    store: Store,
    settings: Settings,
    *,
    idempotency_key: str | None = None,
    submitted_by: str | None = None,
) -> tuple[Sweep, bool]:
    """Write a sweep that the orchestrator will take up.

    Returns:
        The sweep, and whether it is new: the same key with the same spec gives the sweep of the first time.

    Raises:
        BadInput: as ``cells_of`` and ``check_corpus``; nothing is written then.
        Conflict: the key was used with another spec.
    """
    check_corpus(spec, settings)
    cells = cells_of(spec, store)
    if spec.prior_runs is not None:
        recorded_runs(store, spec.prior_runs, "prior_runs")
    every = Cells((*cells, *held_out_cells(spec, cells)))
    return store.sweeps.create(spec, cells=every, idempotency_key=idempotency_key, submitted_by=submitted_by)


def preview(spec: SweepSpec, store: Store, settings: Settings) -> PreviewDocument:
    """What a sweep would do and cost, without writing anything.

    Returns:
        Its target; its cells; runs, FLOPs and worker-seconds of the full grid of independent runs; and what
        the strategy is expected to spend, from a rehearsal (``orchestrator.submission.rehearsal``); and what the comparison at a
        held-out scale adds at most, where the sweep has one.
        Warnings tell what keeps its runs from starting on the cluster that is known now, and what its tables pool.
        Seconds are None, with a reason, until this service has measured runs of the same kind of trainer.

    Raises:
        BadInput: as ``submit``.
    """
    check_corpus(spec, settings)
    cells = cells_of(spec, store)
    places = tuple((cell.params, cell.tokens, cell.batch_tokens) for cell in cells)
    prior = None if spec.prior_runs is None else recorded_runs(store, spec.prior_runs, "prior_runs")
    if prior is not None:
        places += tuple(zip(prior.params, prior.tokens, prior.batch_tokens, strict=True))
    target = target_of(spec, places)
    flops = full_grid_flops(cells, spec.grid.seeds)
    expected = forecast(spec, cells, target, prior=None if prior is None else prior.observations())
    speed = store.runs.flops_per_second(spec.trainer.kind) if spec.trainer is not None else None
    compared = setting_of(spec, Cells((*cells, *held_out_cells(spec, cells))))
    return PreviewDocument(
        valid=True,
        name=spec.name,
        target=target_document(target),
        cells=[_cell_document(cell) for cell in cells],
        full_grid=FullGrid(
            runs=sum(len(cell.rates) for cell in cells) * spec.grid.seeds,
            flops=flops,
            worker_seconds=flops / speed if speed else None,
        ),
        expected=Expected(
            strategy=spec.search.strategy,
            runs=expected.runs,
            batches=expected.batches,
            flops=expected.flops,
            saved_fraction=1.0 - expected.flops / flops if flops else None,
            worker_seconds=expected.flops / speed if speed else None,
            ends_because=expected.reason,
        ),
        comparison=None if compared is None else _expected_comparison(compared, speed),
        warnings=[
            *warnings_of(store, spec),
            *table_warnings(spec, store),
            *_comparison_warnings(compared, spec, expected),
        ],
        seconds_reason=None if speed else "no run of this kind of trainer has been measured here yet",
    )


def _expected_comparison(setting: Setting, speed: float | None) -> ExpectedComparison:
    """What the comparison adds at most, once the search is over."""
    cost = cost_of(setting)
    return ExpectedComparison(
        held_out=target_document(setting.standard),
        base=target_document(setting.base),
        seeds=setting.seeds,
        runs=cost.runs,
        flops=cost.flops,
        worker_seconds=cost.flops / speed if speed else None,
    )


def _comparison_warnings(setting: Setting | None, spec: SweepSpec, expected: Forecast) -> list[str]:
    """Whether the budget may not reach for the comparison, if the search spends what it is expected to."""
    if setting is None:
        return []
    spent = Spent(runs=expected.runs, flops=expected.flops, seconds=0.0)
    reason = out_of_reach(cost_of(setting), spec.search.budget, spent)
    return [] if reason is None else [f"The comparison may not be run: {reason} after the search."]


def _refusal(path: str, message: str) -> BadInput:
    return BadInput(f"{path}: {message}.", fields=(FieldProblem(path=path, message=message),))


def _cell_document(cell: Cell) -> CellDocument:
    return CellDocument(
        number=cell.number,
        params=cell.params,
        params_total=cell.params_total,
        params_active=cell.params_active,
        tokens=cell.tokens,
        batch_tokens=cell.batch_tokens,
        learning_rates=list(cell.rates),
        flops_per_run=cell.flops,
    )
