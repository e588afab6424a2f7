"""Runs and their learning curves as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.documents.runs import CurveDocument, RunDocument


def frame_of_runs(runs: Iterable[RunDocument]) -> Any:
    """One row for each run, with the fields of its document.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    return _frame([run.model_dump() for run in runs], list(RunDocument.model_fields))


def frame_of_points(curves: Iterable[tuple[RunDocument, CurveDocument]]) -> Any:
    """One row for each point of a learning curve; ``horizon`` is the D that its run trains to.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    rows = [
        {
            "run_id": run.id,
            "cell": run.cell,
            "params": run.params,
            "horizon": run.tokens,
            "batch_tokens": run.batch_tokens,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            **point.model_dump(),
        }
        for run, curve in curves
        for point in curve.points
    ]
    names = ("run_id", "cell", "params", "horizon", "batch_tokens", "learning_rate", "seed")
    return _frame(rows, [*names, "step", "tokens", "loss", "part"])


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> Any:
    try:
        from pandas import DataFrame  # noqa: PLC0415 - not a dependency of the client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("frame() needs pandas: pip install pandas") from error
    return DataFrame(rows, columns=columns)
