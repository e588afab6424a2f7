"""What the law would have cost at the largest cells, had it been fitted without them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from orchestrator.amounts import sized
from orchestrator.cells import CLOSE
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.features import FEATURES
from orchestrator.law.notices import Notice
from orchestrator.law.observations import Observations

FEWEST_CELLS, STANDARD_ERRORS = 6, 3.0
"""A smaller law is taken from so many cells on, and from so many standard errors of the paired difference."""


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
class Alternative:
    """A smaller law at the cells held out.

    Attributes:
        name: How it differs from the full law.
        mean: Its mean excess loss there (0.001 is 0.1 %).
        gain: By how much less than the full law it loses, on average.
        gain_sd: Standard error of that; None with fewer than two cells.
        cells: How many cells.
    """

    name: str
    mean: float
    gain: float
    gain_sd: float | None
    cells: int

    @property
    def better(self) -> bool:
        """Whether it loses less than the full law by more than chance."""
        return (
            self.cells >= FEWEST_CELLS
            and self.gain_sd is not None
            and self.gain > STANDARD_ERRORS * self.gain_sd
        )

    @property
    def notice(self) -> Notice:
        """Why it was taken."""
        message = (
            f"This is a law {self.name}: at the {self.cells} cells held out it lost {100 * self.mean:.2g} %, "
            f"{100 * self.gain:.2g} % less than the full law."
        )
        return Notice(code="smaller_law", message=message)

    @classmethod
    def against(cls, name: str, cells: Sequence[HeldOutCell], full: Sequence[HeldOutCell]) -> Self:
        """Compares a law with the full one, cell by cell."""
        own = np.array([cell.excess_loss for cell in cells])
        gain = np.array([cell.excess_loss for cell in full]) - own
        spread = float(gain.std(ddof=1) / np.sqrt(gain.size)) if gain.size > 1 else None
        return cls(
            name=name, mean=float(own.mean()), gain=float(gain.mean()), gain_sd=spread, cells=gain.size
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out error of a law.

    Attributes:
        left_out: Which runs were left out, in words.
        mean: Mean excess loss over the cells (0.001 is 0.1 %).
        worst: The largest.
        coverage: Share of cells whose own rate lies in the interval.
        cells: The cells.
        alternatives: What smaller laws would have lost there.
    """

    left_out: str
    mean: float
    worst: float
    coverage: float
    cells: tuple[HeldOutCell, ...]
    alternatives: tuple[Alternative, ...] = ()

    @classmethod
    def of(cls, left_out: str, cells: Sequence[HeldOutCell], alternatives: Sequence[Alternative]) -> Self:
        """Sums up the cells, at least one, that were left out."""
        lost = np.array([cell.excess_loss for cell in cells])
        return cls(
            left_out=left_out,
            mean=float(lost.mean()),
            worst=float(lost.max()),
            coverage=float(np.mean([cell.low <= cell.measured <= cell.high for cell in cells])),
            cells=tuple(cells),
            alternatives=tuple(alternatives),
        )

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        parts = {
            "cells": tuple(HeldOutCell(**cell) for cell in document["cells"]),
            "alternatives": tuple(Alternative(**law) for law in document["alternatives"]),
        }
        return cls(**{**document, **parts})


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
            yield left_out, sized(name, top, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """A law without some of the terms; `varying` names the column without which they say nothing."""

    name: str
    without: tuple[str, ...]
    varying: str | None = None


BENT = {"s"} | {feature.name for feature in FEATURES if feature.degree > 1}
SMALLER = (
    Smaller(name="without bends", without=tuple(sorted(BENT))),
    Smaller(
        name="without terms in batch_tokens",
        without=tuple(feature.name for feature in FEATURES if feature.name in BENT or feature.name == "ln B"),
        varying="batch_tokens",
    ),
)


def matters(smaller: Smaller, bowls: Sequence[Bowl]) -> bool:
    """Whether the cells of these bowls vary in what a smaller law leaves out."""
    if smaller.varying is None:
        return True
    values = np.log([getattr(bowl, smaller.varying) for bowl in bowls])
    return bool(np.ptp(values) > CLOSE)


def best(alternatives: Mapping[Smaller, Alternative]) -> Smaller | None:
    """The smaller law that gains most among those that are better than the full one; None where none is."""
    better = [smaller for smaller, alternative in alternatives.items() if alternative.better]
    return max(better, key=lambda smaller: alternatives[smaller].gain, default=None)
