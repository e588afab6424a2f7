"""From a specification to its cells: the arithmetic of proxy shapes, and the cells of a recorded table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from orchestrator.planner.values import Cell
from orchestrator.runtable import RunTable
from orchestrator.spec import Grid, ProxyTrainer, Scale

FEEDFORWARD_RATIO = 4
"""Width of the feed-forward layer over the width of the model."""


def dense_params(scale: Scale) -> int:
    """Parameters of a dense proxy without its embedding and its output head.

    Per layer 4·w² of attention and 2·4·w² of feed-forward; norms have no gain (Kaplan et al.,
    arXiv 2001.08361, table 1).
    """
    return scale.depth * (4 + 2 * FEEDFORWARD_RATIO) * scale.width**2


def proxy_cells(grid: Grid, trainer: ProxyTrainer) -> tuple[Cell, ...]:
    """Cells of a proxy grid, smallest model first; horizons of one shape and batch share a trunk."""
    rates = grid.rates()
    places = [
        (scale, batch_tokens, tokens)
        for scale in sorted(set(grid.scales), key=dense_params)
        for batch_tokens in sorted(set(grid.batch_tokens))
        for tokens in sorted(set(grid.tokens))
    ]
    return tuple(
        Cell(
            number=number,
            params=float(dense_params(scale)),
            tokens=float(tokens // batch_tokens * batch_tokens),
            batch_tokens=float(batch_tokens),
            rates=rates,
            trunk=trunk_name(scale, batch_tokens),
            decay_fraction=trainer.schedule.decay_fraction,
        )
        for number, (scale, batch_tokens, tokens) in enumerate(places)
    )


def trunk_name(scale: Scale, batch_tokens: int) -> str:
    """Name of the trunk that all horizons of one shape and batch share."""
    return f"w{scale.width}-d{scale.depth}-h{scale.attention_heads}-b{batch_tokens}"


def table_cells(table: RunTable) -> tuple[Cell, ...]:
    """Cells of a recorded table, cheapest first, each with the rates recorded there."""
    rates: dict[tuple[float, float, float], set[float]] = {}
    for row in zip(table.params, table.tokens, table.batch_tokens, table.learning_rate, strict=True):
        params, tokens, batch_tokens, rate = (float(value) for value in row)
        rates.setdefault((params, tokens, batch_tokens), set()).add(rate)
    ordered = sorted(rates.items(), key=lambda item: (item[0][0] * item[0][1], item[0]))
    return tuple(
        Cell(number=number, params=n, tokens=d, batch_tokens=b, rates=tuple(sorted(found)))
        for number, ((n, d, b), found) in enumerate(ordered)
    )


def narrowed(cells: tuple[Cell, ...], grid: Grid) -> tuple[Cell, ...]:
    """The recorded cells and rates that a replay's grid allows; an empty part of the grid allows all.

    Rates are matched within 0.1 %, since tables round them.
    """
    wanted = grid.rates()
    kept: list[Cell] = []
    for cell in cells:
        if grid.tokens and not _near(cell.tokens, grid.tokens):
            continue
        if grid.batch_tokens and not _near(cell.batch_tokens, grid.batch_tokens):
            continue
        rates = tuple(rate for rate in cell.rates if not wanted or _near(rate, wanted))
        if rates:
            kept.append(replace(cell, number=len(kept), rates=rates))
    return tuple(kept)


def _near(value: float, allowed: Iterable[float]) -> bool:
    return any(math.isclose(value, other, rel_tol=1e-3) for other in allowed)
