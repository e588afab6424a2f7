"""What the law would have cost at the largest cells, had it been fitted without them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from orchestrator.law.bowl import Bowl
from orchestrator.law.cells import CLOSE
from orchestrator.law.observations import Array, Observations
from orchestrator.law.status import BowlStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutCell:
    """One cell that the law had not seen: predicted rate and interval (95 %), the bowl's own rate, and the loss it cost."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rate: float
    low: float
    high: float
    measured: float
    excess_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out error of a law.

    Attributes:
        left_out: Which runs were left out, in words.
        mean: Mean excess loss over the cells (0.001 is 0.1 %).
        worst: The largest.
        coverage: Share of cells whose own rate lies in the interval.
        cells: The cells.
    """

    left_out: str
    mean: float
    worst: float
    coverage: float
    cells: tuple[HeldOutCell, ...]

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(**{**document, "cells": tuple(HeldOutCell(**cell) for cell in document["cells"])})


def largest_parts(
    observations: Observations, bowls: Sequence[Bowl]
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """The runs to leave out: the largest size that has a minimum and all beyond it, else the longest such horizon.

    A row far away from all others, mislabelled perhaps, has no minimum and so is never what a law is judged on.
    """
    interior = [bowl for bowl in bowls if bowl.status is BowlStatus.INTERIOR]
    for name in ("params", "tokens"):
        column = getattr(observations, name)
        top = max((getattr(bowl, name) for bowl in interior), default=0.0)
        left_out = column >= top * (1 - CLOSE)
        if not left_out.all():
            yield left_out, f"{name} = {top:.4g}"


def excess_loss(x: Array, loss: Array, at: float) -> float | None:
    """Excess loss of a rate by interpolating the recorded ones (PCHIP in ln η), None outside them.

    Args:
        x: ln η of the finished runs of one cell.
        loss: Their losses; of repeated rates the mean counts.
        at: ln η to judge.
    """
    rates, where = np.unique(x, return_inverse=True)
    if rates.size < 2 or not rates[0] <= at <= rates[-1]:
        return None
    mean = np.bincount(where, weights=loss) / np.bincount(where)
    return float(PchipInterpolator(rates, mean)(at) / mean.min() - 1)
