"""Changes of a submitted sweep: merge patches of its specification, and clones with another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from orchestrator.cells import Cells
from orchestrator.errors import BadInput, Stale
from orchestrator.heldout.comparison_setup import held_out_cells
from orchestrator.knowledge import prior_of
from orchestrator.law.notices import Notice
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, grown_cells, patched, revised
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.store.revisions import Revision, check_changeable, stale
from orchestrator.submission.capacity import capacity_notices
from orchestrator.submission.catalogue import ServiceCatalogue, program_notices
from orchestrator.submission.preview import Submitted, submit
from orchestrator.submission.resumption import program_of_sweep

ATTEMPTS: Final = 10
"""Times that a patch without a revision is applied anew because another one came first."""


def revise(
    sweep: Sweep,
    patch: Mapping[str, Any],
    store: Store,
    settings: Settings,
    *,
    revisions: frozenset[int] | None = None,
    actor: str | None = None,
) -> tuple[Sweep, list[Notice]]:
    """Change a sweep by a JSON merge patch. One that has ended runs on, unless only its name changes.

    Args:
        sweep: the sweep.
        patch: of its specification.
        store: where it is recorded.
        settings: of the service.
        revisions: those that the patch may be applied to; None for whichever is the present one.
        actor: name of the token.

    Returns:
        The sweep, and what its user should know. A patch that changes nothing makes no revision.

    Raises:
        BadInput: with the path of each field that is not valid or may not change.
        Conflict: the sweep is cancelled or has failed, or its program is not registered as it was.
        Stale: its revision is none of ``revisions``.
    """
    for _ in range(ATTEMPTS):
        check_changeable(sweep)
        if revisions is not None and sweep.revision not in revisions:
            raise stale(sweep)
        spec = revised(sweep.spec, patch)
        if spec == sweep.spec:
            return sweep, []
        revision, notices = _revision(sweep, spec, patch, store, settings)
        try:
            return store.revisions.revise(sweep, revision, actor=actor), notices
        except Stale:
            sweep = store.sweeps.get(sweep.id)
    raise stale(sweep)


def clone(
    sweep: Sweep,
    patch: Mapping[str, Any],
    store: Store,
    settings: Settings,
    *,
    idempotency_key: str | None = None,
    submitted_by: str | None = None,
) -> Submitted:
    """Submit a new sweep with the specification of another one after a JSON merge patch.

    Raises:
        BadInput: as ``submit``.
        Conflict: the key was used with another specification.
    """
    spec = patched(sweep.spec, patch)
    return submit(spec, store, settings, idempotency_key=idempotency_key, submitted_by=submitted_by)


def _revision(
    sweep: Sweep, spec: SweepSpec, patch: Mapping[str, Any], store: Store, settings: Settings
) -> tuple[Revision, list[Notice]]:
    known, grid_grows = store.sweeps.cells(sweep.id), spec.grid != sweep.spec.grid
    program = program_of_sweep(replace(sweep, spec=spec), store, settings)
    cells = known
    if grid_grows:
        asked = spec.training.cells(spec.grid, ServiceCatalogue(store, settings))
        cells = grown_cells(known, asked)
        _check_comparison(sweep.spec, spec, known, cells)
    prior_of(store, spec)
    revision = Revision(
        spec=spec,
        cells=cells,
        changes=patch,
        runs_on=spec.model_copy(update={"name": sweep.spec.name}) != sweep.spec,
        refits=grid_grows or spec.target != sweep.spec.target,
        program=None if program is None else program.event,
    )
    return revision, [*capacity_notices(store, spec), *program_notices(spec, program)]


def _check_comparison(before: SweepSpec, after: SweepSpec, known: Cells, cells: Cells) -> None:
    """Refuse a grid that moves the base or the held-out scale of a comparison.

    Raises:
        BadInput: at ``grid``.
    """
    if before.comparison is None:
        return
    old, new = held_out_cells(before, known.searched), held_out_cells(after, cells.searched)
    if [replace(cell, number=0) for cell in old] != [replace(cell, number=0) for cell in new]:
        raise BadInput.at(
            "grid",
            "moves the base or the held-out scale of the comparison; give comparison.base its scale in a clone",
        )
