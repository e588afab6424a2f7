"""A law from finished runs, without a service."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final

from threadpoolctl import threadpool_limits

from etalon.arguments import Amount, amount, flops_amount, naming_file, read_bytes
from orchestrator import law as maths
from orchestrator.answers.batch_costs import batch_answer
from orchestrator.answers.fits import fit_document, fit_table
from orchestrator.answers.formula import Formula, formula
from orchestrator.answers.param_counts import SizeError
from orchestrator.answers.prediction import prediction
from orchestrator.cells import Point
from orchestrator.documents.fits import FitDocument
from orchestrator.documents.laws import BowlDocument, CoefficientDocument
from orchestrator.documents.predictions import BatchAnswer, PredictionDocument
from orchestrator.errors import BadInput
from orchestrator.tables.data_frame import table_of
from orchestrator.tables.formats import read_table
from orchestrator.tables.picking import PYTHON
from orchestrator.tables.run_table import RunTable

_LIMIT: Final = RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit the linear algebra library to one thread: the law's matrices are small, and several threads are slower.

    The limit is the process's, so concurrent calls take turns; the earlier limit is restored at the end.
    """
    with _LIMIT, threadpool_limits(limits=1, user_api="blas"):
        yield


def fit(
    table: Any,
    where: Mapping[str, object] | None = None,
    size: str | None = None,
    *,
    ignore: Collection[str] = (),
) -> Law:
    """Fit the law of the best learning rate to finished runs.

    Args:
        table: a run table: the path of a file, a data frame (pandas, Polars, PyArrow), or a mapping of columns.
        where: values of columns, such as ``{"optimizer": "muon"}``; only rows that have them all are fitted.
        size: the column that is N: ``params`` (by default), ``params_total`` or ``params_active``.
        ignore: columns that are no part of the recipe, such as ``["host"]``.

    Raises:
        BadInput: no run table, a condition that no row meets, several recipes, or no such size or column.
        Refused: the runs give no law.
    """
    if not isinstance(where, Mapping | None):
        raise BadInput(f'where is a mapping such as {{"optimizer": "muon"}}, not {type(where).__name__}.')
    ignored = [ignore] if isinstance(ignore, str) else ignore
    if not isinstance(ignored, Collection):
        raise BadInput(f'ignore is a list of columns such as ["host"], not {type(ignore).__name__}.')
    conditions = {str(name): str(value) for name, value in (where or {}).items()}
    return law_of(read_runs(table).one_recipe(conditions, ignored), size or "params")


@one_thread()
def law_of(recipe: RunTable, size: str, where: str = PYTHON) -> Law:
    """Fit the law of the runs of one recipe.

    Args:
        recipe: the runs.
        size: the column that is N.
        where: the option that picks rows, for messages.

    Raises:
        BadInput: no such size.
        Refused: the runs give no law.
    """
    fitted, others = fit_table(recipe, size, where)
    return Law(fitted=fitted, runs=recipe.sized(size), size=size, others=others)


def read_runs(table: Any) -> RunTable:
    """Read a run table: the path of a file, a data frame, or a mapping of columns.

    Raises:
        BadInput: no such file, or no run table.
    """
    if not isinstance(table, str | os.PathLike):
        return table_of(table)
    data = read_bytes(table)
    with naming_file(table):
        return read_table(data)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Law:
    """The law of a run table: made by ``fit``, asked by ``predict``.

    Attributes:
        fitted: the law as mathematics.
        runs: what it was fitted to.
        size: the column that is N.
        others: the laws in the table's other counts of parameters.
    """

    fitted: maths.Law
    runs: RunTable
    size: str
    others: Sequence[SizeError]

    @one_thread()
    def predict(
        self,
        *,
        params: Amount,
        tokens: Amount,
        batch_tokens: Amount | None = None,
        budget_flops: Amount | None = None,
    ) -> PredictionDocument:
        """Predict the learning rate at a target, with its interval and warnings.

        Args:
            params: N of the target, such as ``1e9`` or ``"1B"``.
            tokens: D of the target.
            batch_tokens: B of the target; by default the best batch there, which ``target.batch_tokens`` of the answer
                names.
            budget_flops: FLOPs that may be spent on confirming the prediction.

        Raises:
            BadInput: an argument is not a positive number.
            Refused: the runs cannot support a prediction there.
        """
        target = self.target(params=params, tokens=tokens, batch_tokens=batch_tokens)
        budget = flops_amount("budget_flops", budget_flops)
        return prediction(self.fitted, target, runs=self.runs.observations, budget_flops=budget)

    def target(self, *, params: Amount, tokens: Amount, batch_tokens: Amount | None = None) -> Point:
        """The (N, D, B) to predict at; the batch is by default the best one there.

        Where the runs do not show which batch is best, it is the one of the least loss at the nearest size and horizon.

        Raises:
            BadInput: an argument is not a positive number.
        """
        return self.fitted.completed(
            params=amount("params", params),
            tokens=amount("tokens", tokens),
            batch_tokens=None if batch_tokens is None else amount("batch_tokens", batch_tokens),
        )

    @one_thread()
    def batch(self, *, params: Amount, tokens: Amount) -> BatchAnswer:
        """The best batch at a size and horizon, with its interval, and what any other batch costs.

        Args:
            params: N of the target, such as ``1e9`` or ``"1B"``.
            tokens: D of the target.

        Returns:
            The answer; its ``best`` is None, with the ``reason``, where the runs do not show it.

        Raises:
            BadInput: an argument is not a positive number.
            Refused: the data do not determine the rate there within ×/÷ 3.
        """
        target = self.target(params=params, tokens=tokens)
        self.fitted.predict(target)
        return batch_answer(self.fitted, target)[0]

    @one_thread()
    def with_predictions(self, targets: Sequence[Point], *, budget_flops: float | None = None) -> FitDocument:
        """The law's document with an answer for each target: a prediction, or a refusal in its place.

        Raises:
            Refused: every target is refused.
        """
        runs = self.runs.observations()
        return fit_document(
            self.fitted, targets, runs=runs, size=self.size, others=self.others, budget_flops=budget_flops
        )

    @property
    def document(self) -> FitDocument:
        """The law with its bowls, coefficients, covariance and held-out error."""
        return self.with_predictions([])

    @property
    def coefficients(self) -> list[CoefficientDocument]:
        """The terms of ln η* at the law's reference point."""
        return self.document.law.coefficients

    @property
    def bowls(self) -> list[BowlDocument]:
        """Loss against ln η, cell by cell."""
        return self.document.bowls

    @property
    def warnings(self) -> list[str]:
        """What the runs left open."""
        return self.document.warnings

    @property
    def formula(self) -> Formula:
        """The law as a formula; ``print`` shows it."""
        return formula(self.fitted)

    def __repr__(self) -> str:
        first, *_ = self.formula.lines
        runs = len(self.runs) - int(self.runs.failed.sum())
        return f"<Law of {runs} runs in {len(self.fitted.bowls)} cells: {first}>"
