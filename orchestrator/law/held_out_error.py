"""Held-out error: the excess loss at the largest cells of a law fitted without them, and smaller laws judged by it.

The full law shrinks the terms that the runs do not need, so leaving terms out rarely helps: a smaller law is taken only if
its excess loss at the cells held out is less, by more than chance. Its fit to the runs it has seen does not count.

Cells that are horizons of common trunks share their noise, so chance is judged by groups of cells that share none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from orchestrator.amounts import cells_in_words, percent, sized
from orchestrator.cells import CLOSE, Point
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.features import FEATURES
from orchestrator.law.notices import Notice
from orchestrator.law.observations import OWN, Array, Index, Mask, Observations

FEWEST_CELLS, STANDARD_ERRORS = 6, 3.0
"""Least number of independent groups of cells, and of standard errors of the paired difference, for a smaller law to be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutCell(Point):
    """One cell held out: predicted rate and 95 % interval, the rate of its own bowl, and the excess loss of the prediction.

    Cells of one `group`, not negative, share trunks.
    """

    learning_rate: float
    low: float
    high: float
    measured: float
    excess_loss: float
    group: int = OWN


def groups(cells: Sequence[HeldOutCell]) -> Index:
    """The number of each cell's independent group, from 0: a cell that shares no trunk is one of its own, shape [cells]."""
    group = np.array([cell.group for cell in cells], dtype=np.int64)
    alone = group < 0
    group[alone] = group.max(initial=OWN) + 1 + np.arange(int(alone.sum()))
    return np.unique(group, return_inverse=True)[1].ravel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A smaller law at the cells held out.

    Attributes:
        name: Its difference from the full law.
        mean: Its mean excess loss there (0.001 is 0.1 %).
        gain: Mean excess loss of the full law minus its own.
        gain_sd: Standard error of the gain, by groups of cells that share trunks; None with fewer than two.
        cells: Number of cells.
        groups: Number of those groups; at most `cells`.
    """

    name: str
    mean: float
    gain: float
    gain_sd: float | None
    cells: int
    groups: int

    @property
    def better(self) -> bool:
        """Whether its gain is more than chance."""
        return (
            self.groups >= FEWEST_CELLS
            and self.gain_sd is not None
            and self.gain > STANDARD_ERRORS * self.gain_sd
        )

    @property
    def in_words(self) -> str:
        """The cells, for people."""
        return cells_in_words(self.cells, self.groups)

    @property
    def notice(self) -> Notice:
        """Reports that it was taken."""
        message = (
            f"This is a law {self.name}: at the {self.in_words} its excess loss was {percent(self.mean)}, "
            f"{percent(self.gain)} less than that of the full law."
        )
        return Notice(code="smaller_law", message=message)

    @classmethod
    def against(cls, name: str, cells: Sequence[HeldOutCell], full: Sequence[HeldOutCell]) -> Self:
        """Compares a law with the full one, cell by cell; the standard error sums the differences of each group first."""
        own = np.array([cell.excess_loss for cell in cells])
        gain = np.array([cell.excess_loss for cell in full]) - own
        apart = np.bincount(groups(full), weights=gain - gain.mean())
        spread = float(np.sqrt(apart.size / (apart.size - 1) * (apart @ apart))) if apart.size > 1 else None
        return cls(
            name=name,
            mean=float(own.mean()),
            gain=float(gain.mean()),
            gain_sd=None if spread is None else spread / gain.size,
            cells=gain.size,
            groups=apart.size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestPart:
    """The largest runs of a table: those with at least `least` on `axis` ("params" or "tokens")."""

    axis: str
    least: float

    @property
    def in_words(self) -> str:
        """For people: ``cells of 1 B parameters or more``."""
        return f"cells of {sized(self.axis, self.least, 4)} or more"

    def holds(self, runs: Observations) -> Mask:
        """Whether each run belongs to it, shape [runs]."""
        return np.asarray(getattr(runs, self.axis) >= self.least * (1 - CLOSE))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Held-out error of a law.

    Attributes:
        left_out: The runs left out.
        mean: Mean excess loss over the cells (0.001 is 0.1 %).
        worst: The largest.
        coverage: Share of cells whose own rate lies in the interval.
        groups: Number of groups of cells that share no trunk.
        cells: The cells.
        alternatives: Smaller laws at the same cells.
    """

    left_out: LargestPart
    mean: float
    worst: float
    coverage: float
    groups: int
    cells: tuple[HeldOutCell, ...]
    alternatives: tuple[Alternative, ...] = ()

    @classmethod
    def of(
        cls, left_out: LargestPart, cells: Sequence[HeldOutCell], alternatives: Sequence[Alternative]
    ) -> Self:
        """Averages over the cells, at least one, that were left out."""
        lost = np.array([cell.excess_loss for cell in cells])
        return cls(
            left_out=left_out,
            mean=float(lost.mean()),
            worst=float(lost.max()),
            coverage=float(np.mean([cell.low <= cell.measured <= cell.high for cell in cells])),
            groups=int(groups(cells).max()) + 1,
            cells=tuple(cells),
            alternatives=tuple(alternatives),
        )

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping; `left_out` for people, and its axis and value."""
        return {**asdict(self), **asdict(self.left_out), "left_out": self.left_out.in_words}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_document`."""
        return cls(
            left_out=LargestPart(axis=document["axis"], least=document["least"]),
            mean=document["mean"],
            worst=document["worst"],
            coverage=document["coverage"],
            groups=document["groups"],
            cells=tuple(HeldOutCell(**cell) for cell in document["cells"]),
            alternatives=tuple(Alternative(**law) for law in document["alternatives"]),
        )


def largest_parts(observations: Observations, bowls: Sequence[Bowl]) -> Iterator[LargestPart]:
    """The runs to leave out: from the largest size with a minimum upwards, else from the longest such horizon upwards.

    A row far away from all others, perhaps mislabelled, has no minimum and so does not define the part.
    """
    interior = [bowl for bowl in bowls if bowl.status is BowlStatus.INTERIOR]
    for axis in ("params", "tokens"):
        part = LargestPart(axis=axis, least=max((getattr(bowl, axis) for bowl in interior), default=0.0))
        if not part.holds(observations).all():
            yield part


WITHOUT_BENDS: Final = tuple(sorted(feature.name for feature in FEATURES if feature.bends))
WITHOUT_BATCHES: Final = tuple(feature.name for feature in FEATURES if feature.bends or feature.powers[2])


def smaller_laws(points: Array) -> dict[str, tuple[str, ...]]:
    """The smaller laws of cells at these (N, D, B), shape [cells, 3], by name: the terms that each leaves out."""
    found = {"without bends": WITHOUT_BENDS}
    if np.ptp(np.log(points[:, 2])) > CLOSE:
        found["without terms in batch_tokens"] = WITHOUT_BATCHES
    return found
