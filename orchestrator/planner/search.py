"""Greedy search for the runs that tell most about the target per FLOP, single or in pairs.

A pair matters where a cell is empty: one run there cannot tell the bottom's height from its place. What the batch
already holds counts as known, so the batch does not ask twice for one thing; and a run makes its trunk cheaper for
the other horizons of its rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.model import Array
from orchestrator.planner.ruling_out import Z95
from orchestrator.planner.values import Cell

REACH = 1.6
"""A rate farther from the believed bottom, in ln η beyond two standard deviations, is not considered."""
SHORTLIST = 8
"""Rates of a cell, spread evenly over its reach, from which pairs are formed."""
LONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best candidate: its number, and the largest share of the sd that any affordable candidate takes off."""

    candidate: int
    largest_share: float


class Search:
    """Candidates of one planning step.

    Args:
        draft: the batch that `take` fills.
        information: what is known; `take` updates it.
    """

    def __init__(self, draft: Draft, information: Information) -> None:
        self._draft, self._information = draft, information
        cells = information.cells
        rates = [self._within_reach(cell) for cell in cells]
        self._runs = [(cell, rate) for cell, found in zip(cells, rates, strict=True) for rate in found]
        self._run_cell = np.array([cell.number for cell, _ in self._runs], dtype=np.int64)
        self._cost = np.array([self._price(run) for run in range(len(self._runs))])
        self._pairs = _candidates([len(found) for found in rates])
        self._cell = self._run_cell[self._pairs[:, 0]]
        if self._runs:
            self._terms = information.terms(self._run_cell, np.log([rate for _, rate in self._runs]))
            self._gained = self._gain(np.arange(len(self._pairs)))

    def best(self) -> Choice | None:
        """The candidate with the largest expected drop of the variance per FLOP; None when nothing is left."""
        if not self._runs:
            return None
        first, second = self._pairs.T
        cost = self._cost[first] + np.where(second == LONE, 0.0, self._cost[second])
        drop = self._information.drop(self._cell, self._gained)
        allowed = (drop > 0) & np.isfinite(cost) & (cost <= self._draft.flops_left)
        if not allowed.any():
            return None
        return Choice(
            candidate=int(np.argmax(np.where(allowed, drop / cost, -1.0))),
            largest_share=float(drop[allowed].max() / self._information.variance() / 2),
        )

    def take(self, choice: Choice) -> None:
        """Ask for a candidate's runs, as far as the batch has room."""
        runs = [int(run) for run in self._pairs[choice.candidate] if run != LONE]
        before = self._information.variance()
        drop = self._information.drop(
            self._cell[choice.candidate : choice.candidate + 1],
            self._gained[choice.candidate : choice.candidate + 1],
        )
        reason = _reason(before, before - float(drop[0]))
        for run in runs:
            cell, rate = self._runs[run]
            seed = self._draft.free_seed(cell.number, rate)
            if seed is not None and self._draft.add(cell, rate, seed, reason):
                self._information.add(cell.number, rate)
        self._refresh(self._runs[runs[0]][0])

    def _refresh(self, taken: Cell) -> None:
        """Bring gains of the cell and prices of its trunk up to date."""
        here = np.flatnonzero(self._cell == taken.number)
        self._gained[here] = self._gain(here)
        for run, (cell, _) in enumerate(self._runs):
            if cell.number == taken.number or (cell.trunk is not None and cell.trunk == taken.trunk):
                self._cost[run] = self._price(run)

    def _within_reach(self, cell: Cell) -> list[float]:
        belief = self._information.belief
        reach = REACH + 2 * belief.sd[cell.number]
        near = np.abs(np.log(cell.rates) - belief.optimum[cell.number]) <= reach
        return [rate for rate, kept in zip(cell.rates, near, strict=True) if kept]

    def _price(self, run: int) -> float:
        cell, rate = self._runs[run]
        seed = self._draft.free_seed(cell.number, rate)
        return np.inf if seed is None else self._draft.cost(cell, rate, seed)

    def _gain(self, candidates: NDArray[np.int64]) -> Array:
        """Δ that candidates add to their cells, shape [m, nodes]."""
        first, second = self._pairs[candidates].T
        cell = self._cell[candidates]
        known = self._information.known[cell]
        more = known + self._terms[first]
        paired = second != LONE
        more[paired] += self._terms[second[paired]]
        gained = self._information.reaching(cell, more) - self._information.reaching(cell, known)
        return np.maximum(gained, 0.0)


def _candidates(counts: list[int]) -> NDArray[np.int64]:
    """All single runs, and pairs of a spread shortlist of each cell: rows of (run, other run or LONE)."""
    found: list[tuple[int, int]] = []
    start = 0
    for count in counts:
        found += [(start + place, LONE) for place in range(count)]
        short = sorted({int(place) for place in np.linspace(0, count - 1, min(count, SHORTLIST)).round()})
        found += [(start + one, start + other) for one, other in combinations(short, 2)]
        start += count
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _reason(before: float, after: float) -> str:
    now, then = (np.exp(Z95 * np.sqrt(max(variance, 0.0))) for variance in (before, after))
    return f"Expected to narrow the 95 % interval at the target from ×/÷ {now:.4g} to {then:.4g}, the most per FLOP."
