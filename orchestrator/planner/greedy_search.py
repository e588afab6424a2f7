"""Greedy search for the runs, single or in pairs, that are most informative about the target per FLOP.

Pairs matter in empty cells: a single run there cannot separate the bottom's height from its position. Runs already in the
batch count as known, so the batch has no redundant runs; a run also makes its trunk cheaper for the other horizons of its
rate, whose losses then tell less, since they share its noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from orchestrator.cells import Cell
from orchestrator.law.bowl import Z95
from orchestrator.law.observations import Array, Index
from orchestrator.planner.draft import Draft
from orchestrator.planner.information import Information

RADIUS = 1.6
"""A rate farther from the expected bottom, in ln η beyond two standard deviations, is not considered."""
SHORTLIST = 8
"""Rates of a cell, spread evenly over those considered, from which pairs are formed."""
LONE = -1
UNKNOWN = 100.0
"""Intervals of ×/÷ this or wider are all reported as ×/÷ this or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best candidate.

    Attributes:
        candidate: its number.
        share_per_flop: the share of the target's sd that it is expected to take off, per FLOP; below 0 if the
            budget allows no candidate.
        largest_share: the largest share that any affordable candidate is expected to take off.
        priced_out: FLOPs of the cheapest candidate that takes off more than ``worthwhile`` and exceeds the budget;
            None if there is none.
    """

    candidate: int
    share_per_flop: float
    largest_share: float
    priced_out: float | None


class GreedySearch:
    """Candidates of one planning step.

    Args:
        draft: the batch that `take` fills.
        information: the variance at the targets; `take` updates it.
        where: where the interval is narrowed, in words.
    """

    def __init__(self, draft: Draft, information: Information, where: str = "at the target") -> None:
        self._draft, self._information, self._where = draft, information, where
        self._runs = self._near_bottoms()
        rows = [information.cells.row_of(cell.number) for cell, _ in self._runs]
        self._run_row = np.array(rows, dtype=np.int64)
        self._cost = np.zeros(len(self._runs))
        self._branches = np.zeros(len(self._runs), dtype=np.int64)
        self._look_at(range(len(self._runs)))
        self._pairs = _candidates(np.bincount(self._run_row, minlength=len(information.cells)))
        self._row = self._run_row[self._pairs[:, 0]]
        if self._runs:
            self._terms = self._terms_of(np.arange(len(self._runs)))
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
        """Add a candidate's runs to the batch while it has room."""
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
                self._information.add(cell.number, rate, seed)
        self._refresh(self._runs[runs[0]][0])

    def _reason(self, before: float, after: float) -> str:
        now, then = (format_interval(np.sqrt(max(variance, 0.0))) for variance in (before, after))
        return f"Expected to narrow the 95 % interval {self._where} from {now} to {then}, the most per FLOP."

    def _refresh(self, taken: Cell) -> None:
        """Update the prices and gains of the cell, and of those that share its trunk."""
        cells = self._information.cells
        sharing = [
            cells.row_of(cell.number)
            for cell in cells
            if cell.number == taken.number or (cell.trunk is not None and cell.trunk == taken.trunk)
        ]
        again = np.flatnonzero(np.isin(self._run_row, sharing))
        self._look_at(again.tolist())
        self._terms[again] = self._terms_of(again)
        here = np.flatnonzero(np.isin(self._row, sharing))
        self._gained[here] = self._gain(here)

    def _near_bottoms(self) -> list[tuple[Cell, float]]:
        """All (cell, η) worth considering, cell by cell."""
        cells, belief = tuple(self._information.cells), self._information.belief
        lengths = [len(cell.rates) for cell in cells]
        x = np.log(np.concatenate([cell.rates for cell in cells]))
        at = np.repeat(np.arange(len(cells)), lengths)
        near = np.flatnonzero(np.abs(x - belief.optimum[at]) <= RADIUS + 2 * belief.sd[at])
        place = near - (np.cumsum(lengths) - lengths)[at[near]]
        found = zip(at[near].tolist(), place.tolist(), strict=True)
        return [(cells[row], cells[row].rates[which]) for row, which in found]

    def _look_at(self, runs: Iterable[int]) -> None:
        """Find the price of runs, infinite for one that may not be made, and how many runs share their trunks."""
        for run in runs:
            cell, rate = self._runs[run]
            seed = self._draft.free_seed(cell, rate)
            self._cost[run] = np.inf if seed is None else self._draft.cost(cell, rate, seed)
            self._branches[run] = 0 if seed is None else self._information.branches(cell.number, rate, seed)

    def _terms_of(self, runs: Index) -> Array:
        """The terms of runs (`Information.terms`)."""
        rates = [self._runs[run][1] for run in runs.tolist()]
        return self._information.terms(self._run_row[runs], rates, self._branches[runs])

    def _gain(self, candidates: Index) -> Array:
        """Δ that candidates add to their cells, shape [m, nodes]."""
        first, second = self._pairs[candidates].T
        row = self._row[candidates]
        known = self._information.known[row]
        more = known + self._terms[first]
        paired = second != LONE
        more[paired] += self._terms[second[paired]]
        gained = self._information.delta(row, more) - self._information.delta(row, known)
        return np.maximum(gained, 0.0)


def _candidates(counts: Index) -> Index:
    """All single runs, and pairs of a spread shortlist of each cell: rows of (run, other run or LONE).

    Args:
        counts: number of runs considered in each cell, in the order of the runs, shape [cells].
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
    """The 95 % interval of ln η* with this sd, for people."""
    factor = np.exp(Z95 * sd)
    return f"×/÷ {factor:.3g}" if factor < UNKNOWN else f"×/÷ {UNKNOWN:.0f} or more"
