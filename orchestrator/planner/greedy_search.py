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

from orchestrator.law.bowl import Z95
from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information
from orchestrator.planner.linear_model import Array
from orchestrator.planner.values import Cell

REACH = 1.6
"""A rate farther from the believed bottom, in ln η beyond two standard deviations, is not considered."""
SHORTLIST = 8
"""Rates of a cell, spread evenly over its reach, from which pairs are formed."""
LONE = -1
UNKNOWN = 100.0
"""An interval of ×/÷ this or wider is told as no knowledge at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best candidate.

    Attributes:
        candidate: its number.
        share_per_flop: the share of the target's sd that it is expected to take off, per FLOP; below 0 where the
            budget allows nothing.
        largest_share: the largest share that any affordable candidate is expected to take off.
        priced_out: FLOPs of the cheapest candidate that takes off more than ``worthwhile`` and that the budget
            does not allow; None where the budget hinders nothing.
    """

    candidate: int
    share_per_flop: float
    largest_share: float
    priced_out: float | None


class GreedySearch:
    """Candidates of one planning step.

    Args:
        draft: the batch that `take` fills.
        information: what is known; `take` updates it.
        where: what its interval is narrowed at, in words.
    """

    def __init__(self, draft: Draft, information: Information, where: str = "at the target") -> None:
        self._draft, self._information, self._where = draft, information, where
        self._runs = self._within_reach()
        self._run_row = information.cells.rows_of(cell.number for cell, _ in self._runs)
        self._cost = np.array([self._price(run) for run in range(len(self._runs))])
        self._pairs = _candidates(np.bincount(self._run_row, minlength=len(information.cells)))
        self._row = self._run_row[self._pairs[:, 0]]
        if self._runs:
            self._terms = information.terms(self._run_row, [rate for _, rate in self._runs])
            self._gained = self._gain(np.arange(len(self._pairs)))

    def best(self, worthwhile: float) -> Choice | None:
        """The candidate with the largest expected drop of the variance per FLOP; None when nothing is left.

        Args:
            worthwhile: share of the target's sd, for `Choice.priced_out`.
        """
        if not self._runs:
            return None
        first, second = self._pairs.T
        cost = self._cost[first] + np.where(second == LONE, 0.0, self._cost[second])
        drop = self._information.drop(self._row, self._gained)
        share = drop / self._information.variance() / 2
        possible = (drop > 0) & np.isfinite(cost)
        allowed = possible & (cost <= self._draft.flops_left)
        dear = cost[possible & ~allowed & (share >= worthwhile)]
        if not possible.any():
            return None
        share_per_flop = np.where(allowed, share / cost, -1.0)
        return Choice(
            candidate=int(np.argmax(share_per_flop)),
            share_per_flop=float(share_per_flop.max()),
            largest_share=float(share[allowed].max(initial=0.0)),
            priced_out=float(dear.min()) if dear.size else None,
        )

    def take(self, choice: Choice) -> None:
        """Ask for a candidate's runs, as far as the batch has room."""
        runs = [int(run) for run in self._pairs[choice.candidate] if run != LONE]
        before = self._information.variance()
        drop = self._information.drop(
            self._row[choice.candidate : choice.candidate + 1],
            self._gained[choice.candidate : choice.candidate + 1],
        )
        reason = self._reason(before, before - float(drop[0]))
        for run in runs:
            cell, rate = self._runs[run]
            seed = self._draft.free_seed(cell, rate)
            if seed is not None and self._draft.add(cell, rate, seed, reason):
                self._information.add(cell.number, rate)
        self._refresh(self._runs[runs[0]][0])

    def _reason(self, before: float, after: float) -> str:
        now, then = (format_interval(np.sqrt(max(variance, 0.0))) for variance in (before, after))
        return f"Expected to narrow the 95 % interval {self._where} from {now} to {then}, the most per FLOP."

    def _refresh(self, taken: Cell) -> None:
        """Bring gains of the cell and prices of its trunk up to date."""
        cells = self._information.cells
        row = cells.row_of(taken.number)
        again = np.flatnonzero(self._run_row == row)
        rates = [self._runs[run][1] for run in again.tolist()]
        self._terms[again] = self._information.terms(self._run_row[again], rates)
        here = np.flatnonzero(self._row == row)
        self._gained[here] = self._gain(here)
        sharing = [
            cells.row_of(cell.number)
            for cell in cells
            if cell.number == taken.number or (cell.trunk is not None and cell.trunk == taken.trunk)
        ]
        for run in np.flatnonzero(np.isin(self._run_row, sharing)):
            self._cost[run] = self._price(int(run))

    def _within_reach(self) -> list[tuple[Cell, float]]:
        """All (cell, η) worth considering, cell by cell."""
        cells, belief = tuple(self._information.cells), self._information.belief
        lengths = [len(cell.rates) for cell in cells]
        x = np.log(np.concatenate([cell.rates for cell in cells]))
        at = np.repeat(np.arange(len(cells)), lengths)
        near = np.flatnonzero(np.abs(x - belief.optimum[at]) <= REACH + 2 * belief.sd[at])
        place = near - (np.cumsum(lengths) - lengths)[at[near]]
        found = zip(at[near].tolist(), place.tolist(), strict=True)
        return [(cells[row], cells[row].rates[which]) for row, which in found]

    def _price(self, run: int) -> float:
        cell, rate = self._runs[run]
        seed = self._draft.free_seed(cell, rate)
        return np.inf if seed is None else self._draft.cost(cell, rate, seed)

    def _gain(self, candidates: NDArray[np.int64]) -> Array:
        """Δ that candidates add to their cells, shape [m, nodes]."""
        first, second = self._pairs[candidates].T
        row = self._row[candidates]
        known = self._information.known[row]
        more = known + self._terms[first]
        paired = second != LONE
        more[paired] += self._terms[second[paired]]
        gained = self._information.reaching(row, more) - self._information.reaching(row, known)
        return np.maximum(gained, 0.0)


def _candidates(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """All single runs, and pairs of a spread shortlist of each cell: rows of (run, other run or LONE).

    Args:
        counts: runs within reach of each cell, in the order of the runs, shape [cells].
    """
    starts = np.cumsum(counts) - counts
    blocks = []
    for count in np.unique(counts[counts > 0]):
        short = np.unique(np.linspace(0, count - 1, min(count, SHORTLIST)).round().astype(np.int64))
        lone = [(place, LONE) for place in range(count)]
        block = np.array([*lone, *combinations(short.tolist(), 2)], dtype=np.int64)
        moved = block + starts[counts == count][:, None, None] * (block != LONE)
        blocks.append(moved.reshape(-1, 2))
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])


def format_interval(sd: float) -> str:
    """A 95 % interval of ln η* in words."""
    factor = np.exp(Z95 * sd)
    return f"×/÷ {factor:.3g}" if factor < UNKNOWN else f"×/÷ {UNKNOWN:.0f} or more"
