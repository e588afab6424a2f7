"""A point (N, D, B): parameters, training tokens and batch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import sized
from orchestrator.law.observations import Array, Observations
from orchestrator.law.refusal import LawRefusal, Refused


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """One (N, D, B): params N without embeddings, training tokens D, batch_tokens B per optimizer step, each > 0.

    Raises:
        Refused: A value is not a positive finite number.
    """

    params: float
    tokens: float
    batch_tokens: float

    @property
    def in_words(self) -> str:
        """For people: ``1 B parameters, 20 B tokens, 1.05 M tokens a batch``."""
        return ", ".join(sized(name, getattr(self, name)) for name in ("params", "tokens", "batch_tokens"))

    def __post_init__(self) -> None:
        for name in ("params", "tokens", "batch_tokens"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise Refused(LawRefusal.BAD_TARGET, name=name, value=value)


def columns_of(points: Iterable[Point]) -> tuple[Array, Array, Array]:
    """N, D and B of points as arrays, shape [points] each: what the functions of a law take."""
    rows = np.array([(point.params, point.tokens, point.batch_tokens) for point in points], dtype=np.float64)
    params, tokens, batch_tokens = rows.reshape(-1, 3).T
    return params, tokens, batch_tokens


def points_of(runs: Observations) -> list[Point]:
    """The different points of some runs, sorted."""
    rows = np.unique(np.column_stack([runs.params, runs.tokens, runs.batch_tokens]), axis=0)
    return [Point(params=n, tokens=d, batch_tokens=b) for n, d, b in rows.tolist()]
