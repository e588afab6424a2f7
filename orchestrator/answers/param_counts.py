"""Laws in several counts of parameters, total and active: which one predicts better as N."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.amounts import percent
from orchestrator.cells import CLOSE, Cells
from orchestrator.documents.laws import ExponentDocument, PairedSizes, SizeLaw, SizesDocument
from orchestrator.errors import Refused
from orchestrator.law import Law, Observations, fit
from orchestrator.law.held_out_error import FEWEST_CELLS, STANDARD_ERRORS, Alternative, HeldOut, HeldOutCell
from orchestrator.law.notices import Notice
from orchestrator.law.observations import point_array
from orchestrator.tables.run_table import RunTable

Rows = tuple[int, ...]

PROPORTIONAL = 1e-6
"""Spread of ln(one count / another) below which the counts are proportional, so that both give the same law."""

NEARLY_PROPORTIONAL = 0.02
"""The same for the cells of a sweep: counts that differ by the router's small share only are too alike to compare."""

EXPONENTS = {"params": "ln N", "tokens": "ln D"}
"""The terms that are reported for both counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeError:
    """A law with another count of parameters as N.

    Attributes:
        size: the column.
        mean: mean excess loss at the cells held out (0.001 is 0.1 %); None without such a law or error.
        reason: why ``mean`` is None.
        paired: the comparison with the law in use, at the cells that both held out; None if there are none.
    """

    size: str
    mean: float | None
    reason: str | None = None
    paired: Alternative | None = None


def other_sizes(table: RunTable, law: Law, used: str) -> tuple[SizeError, ...]:
    """Fit laws in the table's other counts of parameters, and report their held-out errors.

    Args:
        table: the runs; counts that are proportional to the one used are left out.
        law: their law, in the count used.
        used: the column that is N.
    """
    counts = {size: table.sized(size).observations() for size in table.sizes}
    return tuple(error for _, error in _others(counts, law, used, PROPORTIONAL))


def _others(
    counts: Mapping[str, Observations], law: Law, used: str, near: float
) -> list[tuple[Law | None, SizeError]]:
    """Laws in the counts that are not proportional to the one used, with their held-out errors."""
    judged = {} if law.heldout is None else _by_rows(counts[used], law.heldout)
    return [
        _compared(runs, size, judged) for size, runs in counts.items() if _spread(runs, counts[used]) > near
    ]


def _spread(one: Observations, other: Observations) -> float:
    """The spread of ln(one / other) over the models of two counts."""
    return float(np.ptp(np.log(one.params) - np.log(other.params)))


def _compared(runs: Observations, size: str, judged: dict[Rows, HeldOutCell]) -> tuple[Law | None, SizeError]:
    try:
        law = fit(runs)
    except Refused as refusal:
        return None, SizeError(size=size, mean=None, reason=refusal.detail)
    if law.heldout is None:
        return law, SizeError(size=size, mean=None, reason=law.heldout_reason)
    here = _by_rows(runs, law.heldout)
    both = [rows for rows in here if rows in judged]
    paired = (
        Alternative.against(f"in {size}", [here[rows] for rows in both], [judged[rows] for rows in both])
        if both
        else None
    )
    return law, SizeError(size=size, mean=law.heldout.mean, paired=paired)


def _by_rows(runs: Observations, heldout: HeldOut) -> dict[Rows, HeldOutCell]:
    """The cells held out, by the numbers of their runs: a cell has another N in another count."""
    places = np.log([runs.params, runs.tokens, runs.batch_tokens])
    cells = np.log(point_array(heldout.cells))
    rows = [np.flatnonzero((np.abs(places - cell[:, None]) < CLOSE).all(axis=0)).tolist() for cell in cells]
    return {tuple(found): cell for found, cell in zip(rows, heldout.cells, strict=True)}


def size_notices(used: str, others: tuple[SizeError, ...]) -> tuple[Notice, ...]:
    """Names the counts in which a law loses less than the one in use, by more than chance."""
    return tuple(
        Notice(
            code="better_count",
            message=f"A law in {other.size} predicts better than this one in {used}: at the {paired.in_words} "
            f"it loses {percent(paired.mean)} instead of {percent(paired.mean + paired.gain)}.",
        )
        for other in others
        if (paired := other.paired) is not None and paired.better
    )


def both_counts(
    counts: Mapping[str, Observations], law: Law, used: str, *, so_far: bool = False
) -> tuple[Law, SizesDocument]:
    """Compare a sweep's laws in its two counts of parameters.

    Args:
        counts: the same runs by the count that is their N, two of them.
        law: their law in the count used.
        used: that count.
        so_far: whether models that have not run yet make the counts vary apart.

    Returns:
        The law, with a warning where the other count predicts better; and the comparison.
    """
    found = _others(counts, law, used, NEARLY_PROPORTIONAL)
    own = _size_law(used, law, _mean(law), law.heldout_reason)
    if not found:
        (other,) = (size for size in counts if size != used)
        summary = _factor(counts, used, other, so_far=so_far)
        return law, SizesDocument(
            used=used, proportional=True, laws=[own], paired=None, better=None, summary=summary
        )
    ((other_law, error),) = found
    paired = error.paired
    document = SizesDocument(
        used=used,
        proportional=False,
        laws=[own, _size_law(error.size, other_law, error.mean, error.reason)],
        paired=None if paired is None else PairedSizes.of(paired),
        better=_better(used, error),
        summary=_summary(used, error),
    )
    return replace(law, notices=(*law.notices, *size_notices(used, (error,)))), document


def _mean(law: Law) -> float | None:
    return None if law.heldout is None else law.heldout.mean


def _size_law(size: str, law: Law | None, mean: float | None, reason: str | None) -> SizeLaw:
    terms = {} if law is None else {term.name: term for term in law.coefficients}
    exponents = {name: ExponentDocument.of(terms[term]) for name, term in EXPONENTS.items() if term in terms}
    return SizeLaw(
        size=size,
        params=exponents.get("params"),
        tokens=exponents.get("tokens"),
        mean_excess_loss=mean,
        reason=reason,
    )


def _better(used: str, error: SizeError) -> str | None:
    """The count whose law loses less by more than chance; None if neither does."""
    paired = error.paired
    if paired is None or paired.gain_sd is None or paired.groups < FEWEST_CELLS:
        return None
    if abs(paired.gain) <= STANDARD_ERRORS * paired.gain_sd:
        return None
    return error.size if paired.gain > 0 else used


def _factor(counts: Mapping[str, Observations], used: str, other: str, *, so_far: bool) -> str:
    ratios = np.log(counts[other].params) - np.log(counts[used].params)
    apart = float(np.ptp(ratios))
    nearly = f", to within {percent(apart, 1)}" if apart > PROPORTIONAL else ""
    cells, advice = (
        ("In every cell that has run so far", "")
        if so_far
        else ("In every cell", " Let the experts differ between scales to tell them apart.")
    )
    return (
        f"{cells} {other} is {float(np.exp(np.median(ratios))):.3g} times {used}{nearly}: a law in either count "
        f"is the same up to that factor.{advice}"
    )


def vary_apart(cells: Cells) -> bool:
    """Whether total and active parameters vary apart in these cells."""
    ratios = [
        cell.params_total / cell.params_active for cell in cells if cell.params_total and cell.params_active
    ]
    return bool(ratios) and float(np.ptp(np.log(ratios))) > NEARLY_PROPORTIONAL


def _summary(used: str, error: SizeError) -> str:
    paired = error.paired
    if error.mean is None:
        return f"The two counts cannot be compared: the law in {error.size} has no held-out error. {error.reason or ''}".strip()
    if paired is None:
        return f"The two counts cannot be compared: the laws in {used} and in {error.size} held out different cells."
    lost = {used: percent(paired.mean + paired.gain), error.size: percent(paired.mean)}
    better = _better(used, error)
    if better is not None:
        (worse,) = set(lost) - {better}
        return f"A law in {better} predicts better: it loses {lost[better]} at {paired.in_words}, one in {worse} {lost[worse]}."
    why = (
        "within chance"
        if paired.groups >= FEWEST_CELLS
        else f"too few cells to compare ({FEWEST_CELLS} independent ones are enough)"
    )
    return (
        f"At {paired.in_words} a law in {used} loses {lost[used]} and one in {error.size} {lost[error.size]}: "
        f"{why}."
    )
