"""Groups of cells that are cheap to train together: the horizons of one trunk, or a single cell."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.cells import Cell


def groups(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """Groups of cells, the cheapest first; within a group the shortest horizon first.

    Cells with one trunk are a group: a run of the longest horizon passes the forks of the others. Groups are sorted by
    the cost of one rate in all their cells, so the order of the cells does not matter.
    """
    found: dict[str | tuple[int], list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.trunk if cell.trunk is not None else (cell.number,), []).append(cell)
    ordered = [tuple(sorted(group, key=lambda cell: (cell.tokens, cell.number))) for group in found.values()]
    return sorted(ordered, key=lambda group: (rate_flops(group), group[0].number))


def rate_flops(group: tuple[Cell, ...], trunk_tokens: float = 0.0) -> float:
    """FLOPs of one rate in every cell of a group, shortest horizon first, its trunk trained for ``trunk_tokens``."""
    if group[0].trunk is None:
        return sum(cell.flops for cell in group)
    flops = 0.0
    for cell in group:
        flops += cell.marginal_flops(trunk_tokens)
        trunk_tokens = max(trunk_tokens, cell.fork_tokens)
    return flops
