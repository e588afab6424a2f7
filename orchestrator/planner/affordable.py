"""The affordable cell whose runs narrow the target's interval most, if a run at the target costs too much.

Candidates are cells on the paths from the cheapest and from the costliest known cell to the target (all of N, D and B
scaled, or without N or D, or at the target's size and batch with shorter horizons), and, with the runs at hand, the
costliest known cells. In each, the best few rates that the FLOPs pay for are judged by the exact update of
planner/information.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product

import numpy as np

from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Cell, Cells, Point
from orchestrator.law import Law, Observations
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths
from orchestrator.law.law import VALLEY
from orchestrator.law.observations import Array, point_array, point_list, rows_among
from orchestrator.planner.information import Information
from orchestrator.planner.values import PlanRequest, RunHistory

STEPS = 8
"""Cells on each path to the target."""
OWN = 4
"""Number of known cells considered, the costliest first."""
MOST_RUNS = 3
"""Runs of one cell: two show a slope, three a bottom."""
POSITIONS = np.linspace(-1.5, 1.5, 7)
"""Rates considered round the predicted optimum, in units of its 95 % half-width and the valley's half-width together."""
WORTHWHILE = 0.01
"""Least share of ln of the interval's factor that is worth reporting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AffordableCell:
    """A cell to run instead of the target.

    Attributes:
        cell: its N, D and B.
        rates: η to run there, ascending.
        flops: of all of them, 6·N·D each, N the active parameters.
        factor_before, factor_after: the target's 95 % interval is within ×/÷ this, now and as expected afterwards.
    """

    cell: Point
    rates: tuple[float, ...]
    flops: float
    factor_before: float
    factor_after: float


def affordable(
    law: Law,
    target: Point,
    flops: float,
    *,
    observations: Observations | None = None,
    active_share: float = 1.0,
) -> AffordableCell | None:
    """Find the cell whose runs are expected to narrow the target's interval most for these FLOPs.

    Args:
        law: the newest law.
        target: the (N, D, B) of the model to train.
        flops: to spend in all.
        observations: the runs of the law; without them no known cell is considered.
        active_share: active parameters over N.

    Returns:
        The cell and its rates; None if no affordable cell narrows the interval by 1 % of its logarithm.
    """
    cells = Cells(_cells(law, target, flops, active_share, own=observations is not None))
    if not cells:
        return None
    information = Information(law, RunHistory(cells=cells, prior=observations), PlanRequest(target=target))
    variance = information.variance()
    drop, cell, rates = max((_best(information, cell, flops) for cell in cells), key=lambda found: found[0])
    half_width = Z95 * float(law.optimum(point_array([target]))[1][0])
    left = float(np.sqrt(max(1 - drop / variance, 0.0)))
    if left > 1 - WORTHWHILE:
        return None
    return AffordableCell(
        cell=cell.point,
        rates=rates,
        flops=cell.flops * len(rates),
        factor_before=float(np.exp(half_width)),
        factor_after=float(np.exp(half_width * left)),
    )


def _cells(law: Law, target: Point, flops: float, share: float, *, own: bool) -> Iterator[Cell]:
    """The cells in which the FLOPs pay for a run, each with the rates considered there."""

    def is_paid(point: Point) -> bool:
        return TRAINING_FLOPS_PER_PARAM_TOKEN * share * point.params * point.tokens <= flops

    ways = list(_ways(law, target))
    rows = rows_among(law.points, point_array(ways)).tolist()
    points = [point for point, row in zip(ways, rows, strict=True) if row < 0]
    if own:
        costliest = sorted((bowl.point for bowl in law.bowls), key=lambda point: -point.params * point.tokens)
        points += list(filter(is_paid, costliest))[:OWN]
    for number, point in enumerate(filter(is_paid, points)):
        yield Cell(
            number=number,
            **asdict(point),
            rates=_rates(law, point),
            params_active=share * point.params,
        )


def _ways(law: Law, target: Point) -> dict[Point, None]:
    """Points on the paths to the target, each once and in order; none is larger or longer than the target."""
    order = sorted(law.bowls, key=lambda bowl: (bowl.params * bowl.tokens, bowl.batch_tokens))
    (far,) = point_array([target])
    found: dict[Point, None] = {}
    for start, s in product((order[0], order[-1]), (np.arange(STEPS + 1) / STEPS).tolist()):
        (near,) = point_array([start])
        ways = near * (far / near) ** np.array([(s, s, s), (s, 0, s), (0, s, s), (1, s, 1)])
        found |= dict.fromkeys(point_list(ways[(ways[:, :2] <= far[:2] * (1 + 1e-9)).all(axis=1)]))
    return found


def _rates(law: Law, point: Point) -> tuple[float, ...]:
    """Rates round the predicted optimum, spaced by its uncertainty and the width of its valley."""
    at = point_array([point])
    mean, sd = (float(value[0]) for value in law.optimum(at))
    below, above = half_widths(VALLEY / law.curvature(at), law.asymmetry)
    half_width = np.hypot(Z95 * sd, float(above[0] - below[0]) / 2)
    return tuple(np.exp(mean + half_width * POSITIONS).tolist())


def _best(information: Information, cell: Cell, flops: float) -> tuple[float, Cell, tuple[float, ...]]:
    """The largest expected drop of the variance at the target by runs in a cell, the cell and their rates."""
    count = min(MOST_RUNS, int(flops / cell.flops))
    chosen = np.array(list(combinations(range(len(cell.rates)), count)))
    row = information.cells.row_of(cell.number)
    terms = information.terms(np.full(len(cell.rates), row), cell.rates)
    at = np.full(len(chosen), row)
    known = information.known[at]
    before = information.delta(at, known)
    gained: Array = np.maximum(information.delta(at, known + terms[chosen].sum(axis=1)) - before, 0.0)
    drops = information.drop(at, gained)
    best = int(np.argmax(drops))
    return float(drops[best]), cell, tuple(cell.rates[at] for at in chosen[best])
