"""From a specification to its cells: the arithmetic of proxy shapes, and the cells of a recorded table."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.planner.values import Cell
from orchestrator.runtable import RunTable
from orchestrator.spec import Grid, ProxyTrainer, Scale, Schedule

FEEDFORWARD_RATIO = 4
"""Width of the feed-forward layer over the width of the model."""


def dense_params(scale: Scale) -> int:
    """Parameters of a dense proxy without its embedding and its output head.

    Per layer 4·w² of attention and 2·4·w² of feed-forward; norms have no gain (Kaplan et al.,
    arXiv 2001.08361, table 1).
    """
    return scale.depth * (4 + 2 * FEEDFORWARD_RATIO) * scale.width**2


def proxy_cells(grid: Grid, trainer: ProxyTrainer) -> tuple[Cell, ...]:
    """Cells of a proxy grid, smallest model first; horizons of one shape and batch share a trunk.

    A horizon is a whole number of steps, so tokens are rounded down to a multiple of the batch; scales and horizons
    that come to the same are one.
    """
    rates = grid.rates()
    shapes = {(scale.width, scale.depth, scale.attention_heads): scale for scale in grid.scales}
    places = [
        (scale, batch_tokens, tokens)
        for scale in sorted(shapes.values(), key=dense_params)
        for batch_tokens in sorted(set(grid.batch_tokens))
        for tokens in sorted({tokens // batch_tokens * batch_tokens for tokens in grid.tokens})
    ]
    return tuple(
        Cell(
            number=number,
            params=float(dense_params(scale)),
            tokens=float(tokens),
            batch_tokens=float(batch_tokens),
            rates=rates,
            trunk=trunk_name(scale, batch_tokens),
            decay_fraction=_decay_fraction(trainer.schedule, tokens, batch_tokens),
        )
        for number, (scale, batch_tokens, tokens) in enumerate(places)
    )


def _decay_fraction(schedule: Schedule, tokens: int, batch_tokens: int) -> float:
    """Share of a horizon of whole steps that decays: as given, or for a cosine all that is not warmup."""
    if schedule.has_stable_phase:
        return schedule.decay_fraction
    steps = tokens // batch_tokens
    return schedule.decay_steps(steps, batch_tokens) / steps


def trunk_name(scale: Scale, batch_tokens: int) -> str:
    """Name of the trunk that all horizons of one shape and batch share."""
    return f"w{scale.width}-d{scale.depth}-h{scale.attention_heads}-b{batch_tokens}"


def table_cells(table: RunTable) -> tuple[Cell, ...]:
    """Cells of a recorded table, cheapest first, each with the rates recorded there; both as a law counts them."""
    table = table.grouped()
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
    wanted, tokens, batch_tokens = grid.rates(), sorted(grid.tokens), sorted(grid.batch_tokens)
    kept: list[Cell] = []
    for cell in cells:
        if tokens and not _near(cell.tokens, tokens):
            continue
        if batch_tokens and not _near(cell.batch_tokens, batch_tokens):
            continue
        rates = tuple(rate for rate in cell.rates if not wanted or _near(rate, wanted))
        if rates:
            kept.append(replace(cell, number=len(kept), rates=rates))
    return tuple(kept)


def fewest_repeats(table: RunTable, cells: tuple[Cell, ...]) -> int:
    """How often every rate of every cell is recorded at least: so many seeds can a replay answer.

    Args:
        table: what is recorded.
        cells: cells of that table, at least one.
    """
    table = table.grouped()
    columns = (table.params, table.tokens, table.batch_tokens, table.learning_rate)
    recorded = Counter(zip(*(column.tolist() for column in columns), strict=True))
    return min(
        recorded[cell.params, cell.tokens, cell.batch_tokens, rate] for cell in cells for rate in cell.rates
    )


def _near(value: float, allowed: Sequence[float]) -> bool:
    """Whether one of ``allowed``, which ascend, is within 0.1 %."""
    place = bisect_left(allowed, value)
    return any(math.isclose(value, other, rel_tol=1e-3) for other in allowed[max(0, place - 1) : place + 1])
