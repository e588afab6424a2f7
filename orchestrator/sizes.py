"""Which count of parameters a law should use as N, where a table has several: total or active ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import percent
from orchestrator.law import Law, Refused, fit
from orchestrator.law.cells import CLOSE
from orchestrator.law.heldout import Alternative, HeldOut, HeldOutCell
from orchestrator.runtable import RunTable

Rows = tuple[int, ...]

PROPORTIONAL = 1e-6
"""Spread of ln(one count / another) below which they are one up to a factor, and a law in either is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeError:
    """A law with another count of parameters as N.

    Attributes:
        size: the column.
        mean: mean excess loss at the cells held out (0.001 is 0.1 %); None where there is no such law or no such error.
        reason: why there is none.
        paired: what it loses against the law in use, at the cells that both were judged at; None where there are none.
    """

    size: str
    mean: float | None
    reason: str | None = None
    paired: Alternative | None = None


def other_sizes(table: RunTable, law: Law, used: str) -> tuple[SizeError, ...]:
    """What laws in the table's other counts of parameters would have lost where they had not been.

    Args:
        table: the runs; those of its counts that are proportional to the one used are left out.
        law: their law, in the count used.
        used: the column that is N.
    """
    own = np.log(table.sized(used).params)
    others = [size for size in table.sizes if np.ptp(np.log(table.sized(size).params) - own) > PROPORTIONAL]
    judged = {} if law.heldout is None else _by_rows(table.sized(used), law.heldout)
    return tuple(_error(table.sized(size), size, judged) for size in others)


def _error(table: RunTable, size: str, judged: dict[Rows, HeldOutCell]) -> SizeError:
    try:
        law = fit(table.observations())
    except Refused as refusal:
        return SizeError(size=size, mean=None, reason=refusal.detail)
    if law.heldout is None:
        return SizeError(size=size, mean=None, reason=law.heldout_reason)
    here = _by_rows(table, law.heldout)
    both = [rows for rows in here if rows in judged]
    paired = (
        Alternative.against(f"in {size}", [here[rows] for rows in both], [judged[rows] for rows in both])
        if both
        else None
    )
    return SizeError(size=size, mean=law.heldout.mean, paired=paired)


def _by_rows(table: RunTable, heldout: HeldOut) -> dict[Rows, HeldOutCell]:
    """The cells held out by the rows of the table that lie in them: a cell has another N in another count."""
    columns = np.log([table.params, table.tokens, table.batch_tokens])
    places = [np.log([[cell.params], [cell.tokens], [cell.batch_tokens]]) for cell in heldout.cells]
    rows = [np.flatnonzero((np.abs(columns - place) < CLOSE).all(axis=0)).tolist() for place in places]
    return {tuple(found): cell for found, cell in zip(rows, heldout.cells, strict=True)}


def size_warnings(used: str, others: tuple[SizeError, ...]) -> tuple[str, ...]:
    """Names the counts in which a law would have lost less than the one in use, by more than chance."""
    return tuple(
        f"A law in {other.size} instead of {used} would have lost {percent(paired.mean)} instead of "
        f"{percent(paired.mean + paired.gain)} at {paired.cells} cells held out: it predicts better here."
        for other in others
        if (paired := other.paired) is not None and paired.better
    )
