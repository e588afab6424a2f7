"""Runs, their learning curves and their lenses: the documents of what the store keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.cells import Cells
from orchestrator.documents.lenses import LensesDocument, LensPointDocument, ModuleDocument
from orchestrator.documents.runs import CurveDocument, LossDocument, RunDocument
from orchestrator.lenses import MODULES
from orchestrator.states import RunState
from orchestrator.store.losses import thinned
from orchestrator.store.records import LensPoint, LossPoint, Run, Sweep


def run_document(run: Run, cells: Cells) -> RunDocument:
    """The document of a stored run.

    Args:
        run: the run.
        cells: the cells of its sweep.
    """
    cell = cells[run.cell]
    return RunDocument.of(run, cell, arm=cell.role, trunk=run.trunk_id)


def curve_document(run: Run, points: list[LossPoint], *, max_points: int) -> CurveDocument:
    """The learning curve of a run, the trunk's part first as in ``points``, thinned to ``max_points``."""
    return CurveDocument(
        run_id=run.id,
        recorded=len(points),
        points=[
            LossDocument.of(point, part=_part(run, point.curve)) for point in thinned(points, max_points)
        ],
    )


def lenses_document(run: Run, sweep: Sweep, points: Sequence[LensPoint]) -> LensesDocument:
    """The lenses' records of a run of ``sweep``, the trunk's part first as in ``points``."""
    return LensesDocument(
        run_id=run.id,
        points=[_lens_point(run, point) for point in points],
        reason=None if points else why_unseen(run, sweep),
    )


def why_unseen(run: Run, sweep: Sweep) -> str:
    """The reason why the lenses recorded nothing of a run of ``sweep``, in a sentence."""
    reason = sweep.spec.training.no_lenses
    if reason is not None:
        return reason
    if run.state is RunState.PRUNED:
        return "The run was ruled out before it began."
    if run.state in (RunState.PENDING, RunState.RUNNING):
        return "The first numbers appear when the run reports its first steps."
    return "Nothing was recorded of this run besides its losses."


def _lens_point(run: Run, point: LensPoint) -> LensPointDocument:
    values = {name: value for name, value in point.values.items() if math.isfinite(value)}
    spikes = values.get("loss_spikes")
    return LensPointDocument(
        step=point.step,
        tokens=point.tokens,
        part=_part(run, point.curve),
        gradient_norm=values.get("gradient_norm"),
        gradient_norm_max=values.get("gradient_norm_max"),
        loss_spikes=None if spikes is None else int(spikes),
        attention_logit=values.get("attention_logit"),
        output_logit_rms=values.get("head.activation"),
        expert_imbalance=values.get("expert_imbalance"),
        modules={
            module: ModuleDocument(
                activation=values.get(f"{module}.activation"),
                change=values.get(f"{module}.change"),
                update=values.get(f"{module}.update"),
            )
            for module in MODULES
            if f"{module}.update" in values
        },
    )


def _part(run: Run, curve: str) -> str:
    return "trunk" if curve == run.trunk_id else "branch"
