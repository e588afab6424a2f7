"""Where both paradigms are compared: the base, the held-out scale, and the further cells that a sweep gets for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.heldout.module_rates import MODULES
from orchestrator.heldout.modules import STACK, ModuleSearch
from orchestrator.law.grouped_runs import CLOSE
from orchestrator.planner.values import Cell, Cells
from orchestrator.spec import CellRole, ComparisonSpec, Dense, Grid, ProxyTrainer, Scale, SweepSpec
from orchestrator.submission.cells import proxy_cells

ROUTER: Final = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A comparison with every default filled in.

    Attributes:
        base: the grid's cell that Transfer is tuned at.
        standard, transfer: the held-out scale in both parametrizations.
        modules: the base again, where rates by module are searched; None without a search.
        search: that search; None without one.
        seeds: seeds 0 … seeds − 1 of every contender.
        is_dense: whether the proxies are dense, not mixtures of experts.
    """

    base: Cell
    standard: Cell
    transfer: Cell
    modules: Cell | None
    search: ModuleSearch | None
    seeds: int
    is_dense: bool

    def cell(self, arm: CellRole) -> Cell:
        """The held-out cell of an arm."""
        return self.transfer if arm is CellRole.TRANSFER else self.standard


def held_out_cells(spec: SweepSpec, cells: Cells) -> tuple[Cell, ...]:
    """The further cells that a sweep needs for its comparison, numbered after its own; none without one.

    Args:
        spec: the sweep.
        cells: of its search, by number.

    Raises:
        BadInput: the held-out scale has as many parameters as one of the grid, and is the same to the law.
    """
    comparison, trainer = spec.comparison, spec.trainer
    if comparison is None or not isinstance(trainer, ProxyTrainer):
        return ()
    held_out = _cell(comparison.scale, comparison.place(spec.grid), trainer)
    _check_held_out(held_out, cells)
    places = [(CellRole.STANDARD, held_out), (CellRole.TRANSFER, held_out)]
    if comparison.module_rates is not None:
        places.append((CellRole.BASE, _base(spec.grid, comparison, trainer, cells)))
    return tuple(
        replace(cell, number=number, rates=(), arm=arm, trunk=f"{arm}-{cell.trunk}")
        for number, (arm, cell) in enumerate(places, cells.next_number)
    )


def setting_of(spec: SweepSpec, cells: Cells) -> Setting | None:
    """The comparison of a sweep; None where it has none.

    Args:
        spec: the sweep.
        cells: all its cells, those of the comparison included.
    """
    comparison, trainer = spec.comparison, spec.trainer
    if comparison is None or not isinstance(trainer, ProxyTrainer):
        return None
    by_arm = {cell.arm: cell for cell in cells}
    is_dense = isinstance(trainer.architecture, Dense)
    return Setting(
        base=_base(spec.grid, comparison, trainer, cells.searched),
        standard=by_arm[CellRole.STANDARD],
        transfer=by_arm[CellRole.TRANSFER],
        modules=by_arm.get(CellRole.BASE),
        search=_search(comparison, is_dense=is_dense, workers=spec.resources.max_parallel),
        seeds=comparison.seeds,
        is_dense=is_dense,
    )


def comparison_scales(spec: SweepSpec, cells: Cells) -> dict[str, Scale]:
    """The scale behind the name of each trunk of a comparison; none for a sweep without one."""
    comparison = spec.comparison
    if comparison is None:
        return {}
    base = comparison.base_scale(spec.grid)
    return {
        cell.trunk: base if cell.arm == CellRole.BASE else comparison.scale
        for cell in cells
        if cell.arm is not None and cell.trunk is not None
    }


def _search(comparison: ComparisonSpec, *, is_dense: bool, workers: int) -> ModuleSearch | None:
    asked = comparison.module_rates
    if asked is None:
        return None
    return ModuleSearch(
        modules=tuple(module for module in MODULES if module != ROUTER or not is_dense),
        runs=asked.runs,
        span=asked.span,
        sampler=asked.sampler,
        at_once=STACK * workers,
    )


def _base(grid: Grid, comparison: ComparisonSpec, trainer: ProxyTrainer, cells: Cells) -> Cell:
    """The cell of the grid that is the base."""
    wanted = _cell(comparison.base_scale(grid), comparison.base_place(grid), trainer)
    return next(cell for cell in cells if (cell.trunk, cell.tokens) == (wanted.trunk, wanted.tokens))


def _cell(scale: Scale, place: tuple[int, int], trainer: ProxyTrainer) -> Cell:
    """A scale at a horizon and batch."""
    tokens, batch_tokens = place
    (cell,) = proxy_cells(Grid(scales=(scale,), tokens=(tokens,), batch_tokens=(batch_tokens,)), trainer)
    return cell


def _check_held_out(held_out: Cell, cells: Cells) -> None:
    for cell in cells:
        if abs(math.log(held_out.params / cell.params)) <= CLOSE:
            path = "comparison.scale"
            message = (
                f"has {held_out.params:.0f} parameters, as many as a scale of the grid: a law cannot tell the two apart, "
                "so this one would not be held out"
            )
            raise BadInput(f"{path}: {message}.", fields=(FieldProblem(path=path, message=message),))
