"""Runs and their learning curves as pandas data frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from orchestrator.documents.runs import CurveDocument, RunDocument


def frame_of_runs(runs: Iterable[RunDocument]) -> Any:
    """One row for each run, with the fields of its document."""
    return _frame([run.model_dump() for run in runs], list(RunDocument.model_fields))


def frame_of_points(curves: Iterable[tuple[RunDocument, CurveDocument]]) -> Any:
    """One row for each point of a learning curve; ``horizon`` is the D that its run trains to.

    A ``UserWarning`` names each run whose curve the service has thinned.
    """
    rows = []
    for run, curve in curves:
        if len(curve.points) < curve.recorded:
            warnings.warn(
                f"Run {run.id} has {curve.recorded} points; the service sends {len(curve.points)} of them.",
                stacklevel=3,
            )
        of_run = {
            "run_id": run.id,
            "cell": run.cell,
            "params": run.params,
            "horizon": run.tokens,
            "batch_tokens": run.batch_tokens,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
        }
        rows += [of_run | point.model_dump() for point in curve.points]
    names = ("run_id", "cell", "params", "horizon", "batch_tokens", "learning_rate", "seed")
    return _frame(rows, [*names, "step", "tokens", "loss", "part"])


def require_pandas() -> None:
    """Refuse before anything is asked for.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise ModuleNotFoundError("frame() needs pandas: pip install pandas")


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> Any:
    from pandas import DataFrame  # noqa: PLC0415 - not a dependency of the client

    return DataFrame(rows, columns=columns)
