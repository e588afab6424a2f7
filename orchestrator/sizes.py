"""Which count of parameters a law should use as N, where a table has several: total or active ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.amounts import percent
from orchestrator.law import Law, Refused, fit
from orchestrator.runtable import RunTable

PROPORTIONAL = 1e-6
"""Spread of ln(one count / another) below which they are one up to a factor, and a law in either is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeError:
    """A law with another count of parameters as N.

    Attributes:
        size: the column.
        mean: mean excess loss at the cells held out (0.001 is 0.1 %); None where there is no such law or no such error.
        reason: why there is none.
    """

    size: str
    mean: float | None
    reason: str | None = None


def other_sizes(table: RunTable, used: str) -> tuple[SizeError, ...]:
    """What laws in the table's other counts of parameters would have lost where they had not been.

    Args:
        table: the runs; those of its counts that are proportional to the one used are left out.
        used: the column that is N.
    """
    own = np.log(table.sized(used).params)
    others = [size for size in table.sizes if np.ptp(np.log(table.sized(size).params) - own) > PROPORTIONAL]
    return tuple(_error(table, size) for size in others)


def _error(table: RunTable, size: str) -> SizeError:
    try:
        law = fit(table.sized(size).observations())
    except Refused as refusal:
        return SizeError(size=size, mean=None, reason=refusal.detail)
    mean = None if law.heldout is None else law.heldout.mean
    return SizeError(size=size, mean=mean, reason=law.heldout_reason)


def size_warnings(law: Law, used: str, others: tuple[SizeError, ...]) -> tuple[str, ...]:
    """Names the counts in which a law would have lost less than this one."""
    if law.heldout is None:
        return ()
    own = law.heldout.mean
    return tuple(
        f"A law in {other.size} instead of {used} would have lost {percent(other.mean)} instead of {percent(own)} at "
        "the cells held out: it predicts better here."
        for other in others
        if other.mean is not None and other.mean < own
    )
