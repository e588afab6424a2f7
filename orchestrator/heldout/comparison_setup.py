"""The setup of a comparison: its base, its held-out scale, and the further cells that its sweep gets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.cells import CLOSE, Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.heldout.module_rates import MODULES, STACK, ModuleSearch
from orchestrator.spec import CellRole, ComparisonSpec, Dense, GridOf, ProxyTrainer, Scale, SweepSpec

ROUTER: Final = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSetup:
    """A comparison with every default filled in.

    Attributes:
        base: the grid's cell that Transfer is tuned at.
        standard, transfer: the held-out scale in both parametrizations.
        modules: the base again, for the search of module-wise rates; None without a search.
        search: for module-wise rates; None without one.
        seeds: every contender has the seeds 0 … seeds − 1.
        is_dense: False for mixtures of experts.
    """

    base: Cell
    standard: Cell
    transfer: Cell
    modules: Cell | None
    search: ModuleSearch | None
    seeds: int
    is_dense: bool

    def held_out(self, role: CellRole) -> Cell:
        """The held-out cell in Transfer's parametrization, or in the standard one."""
        return self.transfer if role is CellRole.TRANSFER else self.standard


def held_out_cells(spec: SweepSpec, cells: Cells) -> tuple[Cell, ...]:
    """The further cells of a sweep for its comparison, numbered after those of its search; none without one.

    Args:
        spec: the sweep.
        cells: of its search.

    Raises:
        BadInput: the held-out scale has as many parameters as a scale of the grid, so the law cannot distinguish the two.
    """
    comparison = spec.comparison
    if comparison is None:
        return ()
    trainer, grid = spec.proxies
    held_out = _cell(comparison.scale, comparison.horizon(grid), trainer)
    _check_held_out(held_out, cells)
    further = [(CellRole.STANDARD, held_out), (CellRole.TRANSFER, held_out)]
    if comparison.module_rates is not None:
        further.append((CellRole.BASE, _base(grid, comparison, trainer, cells)))
    return tuple(
        replace(cell, number=number, rates=(), role=role, trunk=f"{role}-{cell.trunk}")
        for number, (role, cell) in enumerate(further, cells.next_number)
    )


def setup_of(spec: SweepSpec, cells: Cells) -> ComparisonSetup | None:
    """The setup of a sweep's comparison; None if it has none.

    Args:
        spec: the sweep.
        cells: all its cells, those of the comparison included.
    """
    comparison = spec.comparison
    if comparison is None:
        return None
    trainer, grid = spec.proxies
    by_role = {cell.role: cell for cell in cells}
    is_dense = isinstance(trainer.architecture, Dense)
    return ComparisonSetup(
        base=_base(grid, comparison, trainer, cells.searched),
        standard=by_role[CellRole.STANDARD],
        transfer=by_role[CellRole.TRANSFER],
        modules=by_role.get(CellRole.BASE),
        search=_search(comparison, is_dense=is_dense, workers=spec.resources.max_parallel),
        seeds=comparison.seeds,
        is_dense=is_dense,
    )


def comparison_scales(spec: SweepSpec, cells: Cells) -> dict[str, Scale]:
    """The scale of each trunk of a comparison, by the trunk's name; empty without a comparison."""
    comparison = spec.comparison
    if comparison is None:
        return {}
    base = comparison.base_scale(spec.grid)
    return {
        cell.trunk: base if cell.role == CellRole.BASE else comparison.scale
        for cell in cells
        if cell.role is not None and cell.trunk is not None
    }


def _search(comparison: ComparisonSpec, *, is_dense: bool, workers: int) -> ModuleSearch | None:
    wanted = comparison.module_rates
    if wanted is None:
        return None
    return ModuleSearch(
        modules=tuple(module for module in MODULES if module != ROUTER or not is_dense),
        runs=wanted.runs,
        span=wanted.span,
        sampler=wanted.sampler,
        at_once=STACK * workers,
    )


def _base(grid: GridOf[Scale], comparison: ComparisonSpec, trainer: ProxyTrainer, cells: Cells) -> Cell:
    """The base's cell in the grid."""
    wanted = _cell(comparison.base_scale(grid), comparison.base_horizon(grid), trainer)
    return next(cell for cell in cells if (cell.trunk, cell.tokens) == (wanted.trunk, wanted.tokens))


def _cell(scale: Scale, horizon: tuple[int, int], trainer: ProxyTrainer) -> Cell:
    """The cell of a scale at a horizon and a batch, both in tokens."""
    tokens, batch_tokens = horizon
    (cell,) = trainer.cells(GridOf[Scale](scales=(scale,), tokens=(tokens,), batch_tokens=(batch_tokens,)))
    return cell


def _check_held_out(held_out: Cell, cells: Cells) -> None:
    for cell in cells:
        if abs(math.log(held_out.params / cell.params)) <= CLOSE:
            message = (
                f"has {held_out.params:.0f} parameters, as many as a scale of the grid: a law cannot distinguish the two, "
                "so this one would not be held out"
            )
            raise BadInput.at("comparison.scale", message)
