"""The largest cell affordable: where runs narrow the target's interval most when the target itself costs too much.

Cells on the ways from the cheapest and the costliest one that the law knows to the target (with N or D left where it is,
or at the target's own size and batch with shorter horizons), and with the runs at hand also the law's own costliest cells. In each the best few rates that the FLOPs pay for are judged by
the exact update of planner/information.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from orchestrator.law import Law, Observations, Point
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import half_widths
from orchestrator.law.law import VALLEY
from orchestrator.planner.information import Information
from orchestrator.planner.linear_model import Array
from orchestrator.planner.values import TRAINING_FLOPS_PER_PARAM_TOKEN, Cell, Cells, PlanRequest, RunHistory

STEPS = 8
"""Cells on each way to the target."""
OWN = 4
"""Of the cells that have runs, so many of the costliest are considered."""
MOST_RUNS = 3
"""Runs of one cell: two tell a slope, three a bottom."""
PLACES = np.linspace(-1.5, 1.5, 7)
"""Rates considered, round the predicted optimum in units of its 95 % reach and the valley's half-width together."""
WORTHWHILE = 0.01
"""Least share of ln of the interval's factor that is worth telling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affordable:
    """A cell to run instead of the target.

    Attributes:
        cell: its N, D and B.
        rates: η to run there, ascending.
        flops: of all of them, 6·N·D each, N the active parameters.
        factor_before, factor_after: the target's 95 % interval is within ×/÷ this, now and as expected after.
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
) -> Affordable | None:
    """The cell whose runs are expected to narrow the target's interval most for these FLOPs.

    Args:
        law: the newest law.
        target: where the rate is wanted.
        flops: that may be spent, in all.
        observations: what the law was fitted to; without them cells that have runs are not considered.
        active_share: active parameters over N.

    Returns:
        The cell and its rates; None where no cell that the FLOPs pay for narrows the interval by 1 % of its logarithm.
    """
    cells = Cells(_cells(law, target, flops, active_share, own=observations is not None))
    if not cells:
        return None
    information = Information(law, RunHistory(cells=cells, prior=observations), PlanRequest(target=target))
    variance = information.variance()
    drop, cell, rates = max((_best(information, cell, flops) for cell in cells), key=lambda found: found[0])
    place = [np.array([value]) for value in (target.params, target.tokens, target.batch_tokens)]
    reach = Z95 * float(law.optimum(*place)[1][0])
    left = float(np.sqrt(max(1 - drop / variance, 0.0)))
    if left > 1 - WORTHWHILE:
        return None
    return Affordable(
        cell=cell.point,
        rates=rates,
        flops=cell.flops * len(rates),
        factor_before=float(np.exp(reach)),
        factor_after=float(np.exp(reach * left)),
    )


def _cells(law: Law, target: Point, flops: float, share: float, *, own: bool) -> Iterator[Cell]:
    """The cells that a run can be paid in, each with the rates considered there."""

    def paid(place: tuple[float, float, float]) -> bool:
        return TRAINING_FLOPS_PER_PARAM_TOKEN * share * place[0] * place[1] <= flops

    ways = np.array(_places(law, target))
    run, _ = law.known_cells(*ways.T)
    places = [(n, d, b) for n, d, b in np.delete(ways, run, axis=0).tolist()]
    if own:
        known = [(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in law.bowls]
        places += sorted(filter(paid, known), key=lambda place: -place[0] * place[1])[:OWN]
    for number, (params, tokens, batch_tokens) in enumerate(filter(paid, places)):
        yield Cell(
            number=number,
            params=params,
            tokens=tokens,
            batch_tokens=batch_tokens,
            rates=_rates(law, (params, tokens, batch_tokens)),
            params_active=share * params,
        )


def _places(law: Law, target: Point) -> list[tuple[float, float, float]]:
    """(N, D, B) on the ways from the cheapest and the costliest cell to the target, none larger or longer than the target."""
    order = sorted(law.bowls, key=lambda bowl: (bowl.params * bowl.tokens, bowl.batch_tokens))
    far = np.array([target.params, target.tokens, target.batch_tokens])
    found: dict[tuple[float, float, float], None] = {}
    for start, s in product((order[0], order[-1]), (np.arange(STEPS + 1) / STEPS).tolist()):
        near = np.array([start.params, start.tokens, start.batch_tokens])
        ways = near * (far / near) ** np.array([(s, s, s), (s, 0, s), (0, s, s), (1, s, 1)])
        for place in ways[(ways[:, :2] <= far[:2] * (1 + 1e-9)).all(axis=1)]:
            found[tuple(place.tolist())] = None
    return list(found)


def _rates(law: Law, place: tuple[float, float, float]) -> tuple[float, ...]:
    """Rates round the predicted optimum, as far apart as it is uncertain and its valley wide."""
    at = [np.array([value]) for value in place]
    mean, sd = (float(value[0]) for value in law.optimum(*at))
    below, above = half_widths(VALLEY / law.curvature(*at), law.asymmetry)
    reach = np.hypot(Z95 * sd, float(above[0] - below[0]) / 2)
    return tuple(np.exp(mean + reach * PLACES).tolist())


def _best(information: Information, cell: Cell, flops: float) -> tuple[float, Cell, tuple[float, ...]]:
    """The most that the variance at the target is expected to drop by runs in a cell, and their rates."""
    count = min(MOST_RUNS, int(flops / cell.flops))
    chosen = np.array(list(combinations(range(len(cell.rates)), count)))
    row = information.cells.row_of(cell.number)
    terms = information.terms(np.full(len(cell.rates), row), cell.rates)
    at = np.full(len(chosen), row)
    known = information.known[at]
    before = information.reaching(at, known)
    gained: Array = np.maximum(information.reaching(at, known + terms[chosen].sum(axis=1)) - before, 0.0)
    drops = information.drop(at, gained)
    best = int(np.argmax(drops))
    return float(drops[best]), cell, tuple(cell.rates[place] for place in chosen[best])
