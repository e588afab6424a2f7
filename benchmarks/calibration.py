"""Calibration of intervals and valleys on synthetic sweeps of every design."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.left_out import Errors
from benchmarks.synthetic import DESIGNS, World
from orchestrator.cells import Point
from orchestrator.errors import Refused
from orchestrator.law import FitOptions, Law, Prediction, fit
from orchestrator.law.bowl import Z95

Array = NDArray[np.float64]
ALLOWED = 1.001e-3  # a valley allows 0.1 %; the rest is rounding
HEADER = (
    "design        laws  refused  targets refused  95 % holds (per law)  mean sd  rms z  excess %  valley named  "
    "ends hold  ends lose %  in cells"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Predictions of one law at the targets that it does not refuse, shape [answered] each.

    Attributes:
        asked: How many targets there were.
        error: ln of the predicted rate over the true optimum.
        sd: Standard deviation of that error, by the law.
        excess: True excess loss of the predicted rate.
        ends: True excess losses at the two ends of the valley, shape [answered, 2].
        named: Whether a valley was named, shape [answered].
        cells: Whether law_learning_rate ± law_sd holds the truth in each cell that was run, shape [cells].
    """

    asked: int
    error: Array
    sd: Array
    excess: Array
    ends: Array
    named: NDArray[np.bool_]
    cells: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One design, in the order of HEADER."""

    laws: float
    refused: float
    targets_refused: float
    holds: float
    per_law: float
    sd: float
    rms: float
    excess: float
    named: float
    valley: float
    ends: float
    cells: float


def answers(world: World) -> Answers | None:
    """Fits a law and evaluates all its answers; None if there is no law."""
    try:
        law = fit(world.runs, options=FitOptions(heldout=False))
    except Refused:
        return None
    found = [ask(law, place) for place in world.places]
    answered = np.array([one is not None for one in found])
    given = [one for one in found if one is not None]
    rates = np.tile(world.optimum, (4, 1))  # of targets that are refused, for nothing but their places
    rates[:, answered] = np.log(
        [(p.learning_rate, p.valley_low, p.valley_high, p.high) for p in given] or np.ones((0, 4))
    ).T
    middle, low, high, top = rates
    return Answers(
        asked=answered.size,
        error=(middle - world.optimum)[answered],
        sd=(top - middle)[answered] / Z95,
        excess=world.excess(middle)[answered],
        ends=np.column_stack([world.excess(low), world.excess(high)])[answered],
        named=(high > low)[answered],
        cells=cells_held(world, law),
    )


def ask(law: Law, place: Array) -> Prediction | None:
    """The answer at (N, D, B); None if it is refused."""
    try:
        return law.predict(Point(params=place[0], tokens=place[1], batch_tokens=place[2]))
    except Refused:
        return None


def cells_held(world: World, law: Law) -> NDArray[np.bool_]:
    """Whether the interval of each cell that was run holds its true optimum."""
    return np.array(
        [
            abs(np.log(bowl.law_learning_rate) - world.cells[astuple(bowl.point)]) < Z95 * bowl.law_sd
            for bowl in law.bowls
        ]
    )


def judge(worlds: Iterable[World]) -> Row:
    """The row of a design."""
    return summed([answers(world) for world in worlds])


def summed(found: Sequence[Answers | None]) -> Row:
    """The row of the answers of several laws."""
    laws = [one for one in found if one is not None]
    given = [one for one in laws if one.error.size]
    error, sd, excess = (
        np.concatenate([getattr(one, name) for one in given]) for name in ("error", "sd", "excess")
    )
    ends = np.concatenate([one.ends for one in given])
    named = np.concatenate([one.named for one in given])
    return Row(
        laws=len(found),
        refused=len(found) - len(laws),
        targets_refused=1 - error.size / sum(one.asked for one in laws),
        holds=float((np.abs(error) < Z95 * sd).mean()),
        per_law=float(np.mean([(np.abs(one.error) < Z95 * one.sd).mean() for one in given])),
        sd=float(sd.mean()),
        rms=float(np.sqrt(((error / sd) ** 2).mean())),
        excess=100 * float(excess.mean()),
        named=float(named.mean()),
        valley=float((ends[named] < ALLOWED).mean()) if named.any() else np.nan,
        ends=100 * float(ends[named].mean()) if named.any() else np.nan,
        cells=float(np.concatenate([one.cells for one in laws]).mean()),
    )


def calibration(laws: int, names: Iterable[str]) -> dict[str, Errors]:
    """Prints a row for each design, and their mean.

    Returns:
        The errors at the targets of all designs, under one name.
    """
    print(HEADER)
    rows, every = [], []
    for name in names:
        found = [answers(DESIGNS[name](np.random.default_rng(seed))) for seed in range(laws)]
        every += [
            Errors(error=one.error, sd=one.sd, excess=100 * one.excess) for one in found if one is not None
        ]
        row = summed(found)
        rows.append(astuple(row))
        print(line(name, row), flush=True)
    if len(rows) > 1:
        print(line("all", Row(**dict(zip(Row.__slots__, np.nanmean(rows, axis=0).tolist(), strict=True)))))
    return {f"{len(rows)} synthetic designs": Errors.joined(every)}


def line(name: str, row: Row) -> str:
    """A row of the printed table."""
    return (
        f"{name:12s}  {row.laws:4.0f}  {row.refused:7.3g}  {row.targets_refused:15.3f}  {row.holds:9.3f} "
        f"({row.per_law:.3f})    {row.sd:7.3f}  {row.rms:5.2f}  {row.excess:8.3f}  {row.named:12.3f}  "
        f"{row.valley:9.3f}  {row.ends:11.3f}  {row.cells:8.3f}"
    )
