"""The law of a run table and its predictions, without a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.answers.param_counts import SizeError, other_sizes, size_notices
from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.documents.fits import FitDocument, FitSizes, RefusedTarget
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.errors import FieldProblem, Refused
from orchestrator.law import Law, Observations, fit
from orchestrator.tables.picking import PYTHON
from orchestrator.tables.run_table import RunTable
from orchestrator.tables.table_notices import table_notices


def fit_table(table: RunTable, size: str, where: str = PYTHON) -> tuple[Law, tuple[SizeError, ...]]:
    """Fit the law of a run table of one recipe.

    Args:
        table: the runs.
        size: the column that is N.
        where: the option that picks rows, for messages.

    Returns:
        The law, with notices about the table; and the laws in the table's other counts of parameters.

    Raises:
        BadInput: the table has no such count.
        Refused: the runs give no law.
    """
    runs = table.sized(size)
    law = fit(runs.observations())
    others = other_sizes(table, law, size)
    notices = (*law.notices, *size_notices(size, others), *table_notices(runs, where))
    return replace(law, notices=notices), others


def fit_document(
    law: Law,
    targets: Sequence[Point],
    *,
    runs: Observations,
    size: str,
    others: Sequence[SizeError],
    budget_flops: float | None = None,
) -> FitDocument:
    """The document of a law and of its predictions; a refused target takes the place of its prediction.

    Args:
        law: the law of a run table.
        targets: where to predict.
        runs: what the law was fitted to.
        size: the column that is N.
        others: laws in other counts of parameters.
        budget_flops: FLOPs that may be spent on confirming a prediction.

    Raises:
        Refused: every target is refused.
    """
    answers: list[PredictionDocument | RefusedTarget] = []
    refusals = []
    for target in targets:
        try:
            answers.append(prediction(law, target, runs=lambda: runs, budget_flops=budget_flops))
        except Refused as refusal:
            refusals.append(refusal)
            answers.append(RefusedTarget.of_error(refusal, target=target))
    if refusals and len(refusals) == len(targets):
        raise _all_refused(refusals)
    fitted = law.to_document()
    return FitDocument.of(
        fitted,
        law=fitted,
        predictions=answers,
        size=FitSizes.of(used=size, others=others) if others else None,
    )


def _all_refused(refusals: Sequence[Refused]) -> Refused:
    """One refusal with the reasons of all."""
    if len(refusals) == 1:
        return refusals[0]
    return Refused(
        " ".join(refusal.detail for refusal in refusals),
        fields=tuple(
            FieldProblem(path=f"target.{number}", message=refusal.detail)
            for number, refusal in enumerate(refusals)
        ),
    )
