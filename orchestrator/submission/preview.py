"""Submission of a sweep: its plan and cost, and the row that starts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.amounts import count
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Cell, Cells
from orchestrator.corpora import BUILT_IN, PreparedSource, corpus_names, find_corpus
from orchestrator.documents.predictions import TargetDocument
from orchestrator.documents.previews import (
    CellDocument,
    Expected,
    ExpectedComparison,
    FullGrid,
    PreviewDocument,
)
from orchestrator.documents.trainers import CheckDocument
from orchestrator.errors import BadInput
from orchestrator.heldout.comparison_setup import ComparisonSetup, held_out_cells, setup_of
from orchestrator.heldout.line_up import Spent, cost_of, out_of_reach
from orchestrator.knowledge import prior_of, recorded_runs, target_of
from orchestrator.law.notices import Notice
from orchestrator.planner.values import full_grid_flops
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.submission.capacity import capacity_notices
from orchestrator.submission.catalogue import (
    CheckedProgram,
    ServiceCatalogue,
    check_program,
    program_notices,
    program_of,
)
from orchestrator.submission.rehearsal import Rehearsal, rehearse
from orchestrator.tables.table_notices import table_notices


def cells_of(spec: SweepSpec, store: Store, settings: Settings) -> Cells:
    """The cells of a sweep; none if it only fits prior runs.

    Raises:
        BadInput: the table is unknown or mixes recipes, the grid has no recorded run or more runs than a sweep may
            have, or the trainer is not registered.
    """
    return _cells_and_program(spec, ServiceCatalogue(store, settings))[0]


def _cells_and_program(spec: SweepSpec, catalogue: ServiceCatalogue) -> tuple[Cells, CheckedProgram | None]:
    cells = spec.training.cells(spec.grid, catalogue)
    program = program_of(spec, catalogue)
    if program is not None:
        check_program(spec, cells, program)
    return cells, program


def notices_of_tables(spec: SweepSpec, store: Store) -> list[Notice]:
    """The notices of the tables that a sweep reads.

    Raises:
        BadInput: as ``recorded_runs``.
    """
    sources = (("trainer", spec.training.recorded), ("prior_runs", spec.prior_runs))
    return [
        notice
        for field, source in sources
        if source is not None
        for notice in table_notices(recorded_runs(store, source, field), f"{field}.where")
    ]


def check_corpus(spec: SweepSpec, settings: Settings) -> None:
    """Refuse a corpus that is not registered or prepared, or whose file is unreadable. Requests name data, never paths.

    Raises:
        BadInput: the name is unknown, or the file cannot be read.
    """
    name = spec.training.corpus_name
    if name is None or name == BUILT_IN:
        return
    try:
        source = find_corpus(name, settings)
    except BadInput as error:
        raise BadInput.at("trainer.corpus", error.detail.removesuffix(".")) from error
    if source is None:
        known = ", ".join(corpus_names(settings))
        raise BadInput.at(
            "trainer.corpus",
            f"no corpus {name!r}; known: {known}; `etalon corpus prepare SOURCE --name NAME` makes one "
            "from a folder of text",
        )
    reason = source.unreadable()
    if reason is not None:
        mend = (
            "prepare it again with `etalon corpus prepare SOURCE --again`"
            if isinstance(source, PreparedSource)
            else "its operator registers it in ETALON_CORPORA"
        )
        raise BadInput.at("trainer.corpus", f"the corpus {name!r} cannot be read: {reason}; {mend}")


class Submitted(NamedTuple):
    """A submitted sweep.

    Attributes:
        sweep: as it is recorded.
        is_new: whether this request created it.
        notices: what its user should know of it.
    """

    sweep: Sweep
    is_new: bool
    notices: Sequence[Notice]


def submit(
    spec: SweepSpec,
    store: Store,
    settings: Settings,
    *,
    idempotency_key: str | None = None,
    submitted_by: str | None = None,
) -> Submitted:
    """Write a sweep for the orchestrator to run. The same key with the same specification returns the first sweep.

    Raises:
        BadInput: as ``cells_of`` and ``check_corpus``; nothing is written.
        Conflict: the key was used with another specification.
    """
    if idempotency_key is not None:
        earlier = store.sweeps.repeated(spec, idempotency_key=idempotency_key, submitted_by=submitted_by)
        if earlier is not None:
            return Submitted(earlier, is_new=False, notices=_notices_again(spec, store, settings))
    check_corpus(spec, settings)
    cells, program = _cells_and_program(spec, ServiceCatalogue(store, settings))
    prior_of(store, spec)
    notices = [*notices_of_tables(spec, store), *program_notices(spec, program)]
    sweep, is_new = store.sweeps.create(
        spec,
        cells=Cells((*cells, *held_out_cells(spec, cells))),
        idempotency_key=idempotency_key,
        submitted_by=submitted_by,
        program=None if program is None else program.event,
    )
    return Submitted(sweep, is_new, notices)


def _notices_again(spec: SweepSpec, store: Store, settings: Settings) -> list[Notice]:
    """The notices of a sweep that was submitted before; none if what it names cannot be read any more."""
    try:
        program = program_of(spec, ServiceCatalogue(store, settings))
        return [*notices_of_tables(spec, store), *program_notices(spec, program)]
    except BadInput:
        return []


def preview(spec: SweepSpec, store: Store, settings: Settings) -> PreviewDocument:
    """Plan a sweep without writing anything.

    The expected cost comes from a rehearsal (``orchestrator.submission.rehearsal``). Worker seconds are None, with a
    reason, until this service has measured runs of the same kind of trainer.

    Raises:
        BadInput: as ``submit``.
    """
    check_corpus(spec, settings)
    cells, program = _cells_and_program(spec, ServiceCatalogue(store, settings))
    prior = prior_of(store, spec)
    target = target_of(spec, cells, prior)
    flops = full_grid_flops(cells, spec.grid.seeds)
    expected = rehearse(spec, cells, target, prior=prior)
    measured = store.runs.flops_per_second(spec.trainer.measured_as) if spec.trainer is not None else None
    check = None if program is None or measured is not None else program.check
    speed = measured if check is None else _checked_speed(check)
    compared = setup_of(spec, Cells((*cells, *held_out_cells(spec, cells))))
    notices = (
        *capacity_notices(store, spec),
        *notices_of_tables(spec, store),
        *program_notices(spec, program),
        *([] if check is None or speed is None else [_by_check(check)]),
        *_comparison_notices(compared, spec, expected),
    )
    return PreviewDocument.of(
        valid=True,
        name=spec.name,
        target=TargetDocument.of(target),
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
        notices=notices,
        seconds_reason=None if speed else "no run of this kind of trainer has been measured here yet",
    )


def _checked_speed(check: CheckDocument) -> float | None:
    """FLOPs a second of the check's run; None if its speed or N is not known."""
    if check.tokens_per_second is None or check.known_params is None:
        return None
    return TRAINING_FLOPS_PER_PARAM_TOKEN * check.known_params * check.tokens_per_second


def _by_check(check: CheckDocument) -> Notice:
    message = (
        f"No run of this trainer has been measured here yet: worker time is by its check, {count(check.tokens_per_second)} tokens "
        f"a second at N = {count(check.known_params)}. Larger models mostly use a machine better."
    )
    return Notice(code="priced_by_check", message=message)


def _expected_comparison(setup: ComparisonSetup, speed: float | None) -> ExpectedComparison:
    """The most that the comparison adds after the search."""
    cost = cost_of(setup)
    return ExpectedComparison(
        held_out=TargetDocument.of(setup.standard),
        base=TargetDocument.of(setup.base),
        seeds=setup.seeds,
        runs=cost.runs,
        flops=cost.flops,
        worker_seconds=cost.flops / speed if speed else None,
    )


def _comparison_notices(setup: ComparisonSetup | None, spec: SweepSpec, expected: Rehearsal) -> list[Notice]:
    """A notice if the budget is too small for the comparison after the expected cost of the search."""
    if setup is None:
        return []
    spent = Spent(runs=expected.runs, flops=expected.flops, seconds=0.0)
    reason = out_of_reach(cost_of(setup), spec.search.budget, spent)
    if reason is None:
        return []
    message = f"The comparison may not be run: {reason} after the search."
    return [Notice(code="comparison_out_of_reach", message=message)]


def _cell_document(cell: Cell) -> CellDocument:
    return CellDocument.of(cell, learning_rates=cell.rates, flops_per_run=cell.flops)
