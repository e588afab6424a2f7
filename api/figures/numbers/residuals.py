"""Residuals in numbers: the rate that the law gives a cell against the one the cell shows, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from api.figures.numbers.bowls import bowl_excess
from api.figures.numbers.snapshot import Place, Snapshot, place
from orchestrator import amounts
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN
from orchestrator.law import Bowl, BowlStatus, HeldOut, HeldOutCell, Law


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """One cell, predicted and observed.

    Attributes:
        params: N of the cell.
        flops: of one run there, 6·N·D, N the active parameters where the sweep tells them.
        predicted: η* by the law; by a law fitted without the cell where it is held out.
        observed, low, high: η* of the cell's own runs and its 95 % interval.
        excess_loss: loss at the predicted rate over the best one, minus one (0.001 is 0.1 %).
        held_out: whether the law was fitted without the cell.
        text: what the pointer tells.
    """

    params: float
    flops: float
    predicted: float
    observed: float
    low: float
    high: float
    excess_loss: float
    held_out: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """All cells with an interior minimum, and the law's own held-out error."""

    cells: tuple[Residual, ...]
    heldout: HeldOut | None


def residuals(snapshot: Snapshot) -> Residuals | None:
    """Compare the newest law with the cells; None where there is no law or no cell with a minimum."""
    law = snapshot.law
    bowls = [] if law is None else [bowl for bowl in law.bowls if bowl.status is BowlStatus.INTERIOR]
    if law is None or not bowls:
        return None
    held_out = _held_out(law)
    costs = {place(cell.params, cell.tokens, cell.batch_tokens): cell.flops for cell in snapshot.cells}
    places = [place(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in bowls]
    fitted = _fitted_rates(law, bowls)
    cells = tuple(
        _residual(bowl, rate, held_out.get(at), costs.get(at))
        for bowl, rate, at in zip(bowls, fitted, places, strict=True)
    )
    return Residuals(cells=cells, heldout=law.heldout)


def _held_out(law: Law) -> dict[Place, HeldOutCell]:
    cells = () if law.heldout is None else law.heldout.cells
    return {place(cell.params, cell.tokens, cell.batch_tokens): cell for cell in cells}


def _fitted_rates(law: Law, bowls: list[Bowl]) -> list[float]:
    """η* of the law in the bowls' cells, without the cells' own share."""
    mean, _ = law.band(
        np.array([bowl.params for bowl in bowls]),
        np.array([bowl.tokens for bowl in bowls]),
        np.array([bowl.batch_tokens for bowl in bowls]),
    )
    return [float(value) for value in np.exp(mean)]


def _residual(bowl: Bowl, fitted: float, held_out: HeldOutCell | None, flops: float | None) -> Residual:
    predicted = fitted if held_out is None else held_out.learning_rate
    excess = bowl_excess(bowl, predicted) if held_out is None else held_out.excess_loss
    cell = f"N {amounts.count(bowl.params)} · D {amounts.count(bowl.tokens)} · B {amounts.count(bowl.batch_tokens)}"
    known = "fitted without this cell" if held_out is not None else "fitted with this cell"
    return Residual(
        params=bowl.params,
        flops=TRAINING_FLOPS_PER_PARAM_TOKEN * bowl.params * bowl.tokens if flops is None else flops,
        predicted=predicted,
        observed=bowl.learning_rate,
        low=bowl.low,
        high=bowl.high,
        excess_loss=excess,
        held_out=held_out is not None,
        text=(
            f"{cell}<br>predicted {amounts.rate(predicted, 3)} ({known})"
            f"<br>observed {amounts.rate(bowl.learning_rate, 3)}<br>excess loss {amounts.percent(excess)}"
        ),
    )
