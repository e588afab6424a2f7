"""From a specification to its cells: the arithmetic of proxy shapes, and the cells of a recorded table."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.law.grouped_runs import CLOSE
from orchestrator.planner.values import Cell, Cells
from orchestrator.spec import Architecture, Dense, Grid, Mup, ProxyTrainer, Scale, Schedule, experts_of
from orchestrator.spec.architecture import FEEDFORWARD_RATIO
from orchestrator.tables.run_table import RunTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Parameters of a proxy without its embedding and its output head.

    Attributes:
        total: all of them.
        active: those that one token meets; the same where the proxy is dense.
    """

    total: int
    active: int


def params_of(scale: Scale, architecture: Architecture) -> Params:
    """Parameters of a proxy: per block 4·w² of attention, and dense 2·4·w² of feed-forward (norms have no gain).

    A mixture has w·E of router, and 2·w·h for each of its E experts, of which a token meets ``top_k``, and for each
    shared one. Source: Kaplan et al., arXiv 2001.08361, table 1.
    """
    attention, experts = 4 * scale.width**2, experts_of(scale, architecture)
    if experts is None or isinstance(architecture, Dense):
        dense = scale.depth * (attention + 2 * FEEDFORWARD_RATIO * scale.width**2)
        return Params(total=dense, active=dense)
    one = 2 * scale.width * experts.width
    always = attention + scale.width * experts.count + architecture.shared_experts * one
    return Params(
        total=scale.depth * (always + experts.count * one),
        active=scale.depth * (always + architecture.top_k * one),
    )


def proxy_cells(grid: Grid, trainer: ProxyTrainer) -> Cells:
    """Cells of a proxy grid, smallest model first; horizons of one shape and batch share a trunk.

    A horizon is a whole number of steps, so tokens are rounded down to a multiple of the batch; scales and horizons
    that come to the same are one. N of a mixture of experts is the count that the specification names.

    Raises:
        BadInput: mixtures of different sizes have one N in the count that the law uses.
    """
    rates, both = grid.rates(), not isinstance(trainer.architecture, Dense)
    places = [
        (scale, sizes, batch_tokens, tokens)
        for scale, sizes in _models(grid, trainer.architecture)
        for batch_tokens in sorted(set(grid.batch_tokens))
        for tokens in sorted({tokens // batch_tokens * batch_tokens for tokens in grid.tokens})
    ]
    return Cells(
        Cell(
            number=number,
            params=float(_counted(sizes, trainer.architecture)),
            tokens=float(tokens),
            batch_tokens=float(batch_tokens),
            rates=rates,
            decay_fraction=_decay_fraction(trainer.schedule, tokens, batch_tokens),
            trunk=trunk_name(scale, batch_tokens, trainer, tokens),
            params_total=float(sizes.total) if both else None,
            params_active=float(sizes.active) if both else None,
        )
        for number, (scale, sizes, batch_tokens, tokens) in enumerate(places)
    )


def _decay_fraction(schedule: Schedule, tokens: int, batch_tokens: int) -> float:
    """Share of a horizon of whole steps that decays: as given, or for a cosine all that is not warmup."""
    if schedule.has_stable_phase:
        return schedule.decay_fraction
    steps = tokens // batch_tokens
    return schedule.decay_steps(steps, batch_tokens) / steps


def _models(grid: Grid, architecture: Architecture) -> list[tuple[Scale, Params]]:
    """The different models of a grid, smallest first in the count that the law uses."""
    shapes = {
        (scale.width, scale.depth, scale.attention_heads, experts_of(scale, architecture)): scale
        for scale in grid.scales
    }
    models = [(scale, params_of(scale, architecture)) for scale in shapes.values()]
    models.sort(key=lambda model: (_counted(model[1], architecture), model[1].total))
    if not isinstance(architecture, Dense):
        _check_apart(grid, models, architecture)
    return models


def _check_apart(grid: Grid, models: Sequence[tuple[Scale, Params]], architecture: Architecture) -> None:
    """Refuse mixtures that a law would take for one model, though they are not.

    Raises:
        BadInput: at the second scale of such a pair.
    """
    for (_, smaller), (scale, larger) in pairwise(models):
        near = math.log(_counted(larger, architecture) / _counted(smaller, architecture)) <= CLOSE
        if near and (smaller.total, smaller.active) != (larger.total, larger.active):
            path, count = f"grid.scales.{grid.scales.index(scale)}", getattr(architecture, "params", "")
            message = (
                f"has {larger.total} total and {larger.active} active parameters, another scale {smaller.total} and "
                f"{smaller.active}: a law in {count} parameters cannot tell them apart. Let the width or the depth "
                "differ too, or let trainer.architecture.params be the other count"
            )
            raise BadInput(f"{path}: {message}.", fields=(FieldProblem(path=path, message=message),))


def _counted(sizes: Params, architecture: Architecture) -> int:
    """N: the count of parameters that the law of this architecture uses."""
    is_total = not isinstance(architecture, Dense) and architecture.params == "total"
    return sizes.total if is_total else sizes.active


def trunk_name(scale: Scale, batch_tokens: int, trainer: ProxyTrainer, tokens: int) -> str:
    """Name of the trunk that the horizons of one shape and batch share.

    Where the rate itself depends on the horizon, each horizon has a trunk of its own.
    """
    name = f"w{scale.width}-d{scale.depth}-h{scale.attention_heads}-b{batch_tokens}"
    experts, asked = experts_of(scale, trainer.architecture), trainer.parametrization
    if experts is not None:
        name += f"-e{experts.count}x{experts.width}"
    return f"{name}-t{tokens}" if isinstance(asked, Mup) and "horizon" in asked.rules else name


def trunk_scales(grid: Grid, trainer: ProxyTrainer) -> dict[str, Scale]:
    """The scale behind the name of each trunk of a grid."""
    return {
        trunk_name(scale, batch, trainer, tokens // batch * batch): scale
        for scale in grid.scales
        for batch in grid.batch_tokens
        for tokens in grid.tokens
    }


def table_cells(table: RunTable) -> Cells:
    """Cells of a recorded table, cheapest first, each with the rates recorded there; both as a law counts them."""
    table = table.grouped()
    rates: dict[tuple[float, float, float], set[float]] = {}
    for row in zip(table.params, table.tokens, table.batch_tokens, table.learning_rate, strict=True):
        params, tokens, batch_tokens, rate = (float(value) for value in row)
        rates.setdefault((params, tokens, batch_tokens), set()).add(rate)
    ordered = sorted(rates.items(), key=lambda item: (item[0][0] * item[0][1], item[0]))
    return Cells(
        Cell(number=number, params=n, tokens=d, batch_tokens=b, rates=tuple(sorted(found)))
        for number, ((n, d, b), found) in enumerate(ordered)
    )


def narrowed(cells: Cells, grid: Grid) -> Cells:
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
    return Cells(kept)


def fewest_repeats(table: RunTable, cells: Cells) -> int:
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
