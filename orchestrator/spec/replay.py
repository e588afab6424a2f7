"""The replay trainer: runs answer with the losses recorded in a run table, whose cells are the sweep's."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from orchestrator.cells import CLOSE, Cell, Cells, Point
from orchestrator.errors import BadInput
from orchestrator.spec.fields import BadField, Condition, Key, Name
from orchestrator.spec.lattice import GridOf, check_size
from orchestrator.spec.resources import Resources
from orchestrator.spec.trainer_kind import Catalogue, TrainerKind

NEEDS: Final = Resources(cpus_per_run=0.01, gpus_per_run=0, max_parallel=1)
"""The driver looks up the runs itself: a replay takes nothing of a cluster."""


class ReplayTrainer(TrainerKind):
    """Trains nothing: a run answers with the loss recorded in a run table."""

    kind: Literal["replay"]
    table: Name
    where: dict[Key, Condition] = Field(default_factory=dict)
    ignore: Annotated[tuple[Name, ...], Field(max_length=200)] = ()

    finds_cells: ClassVar = True
    answers_at_once: ClassVar = True
    carried_out_by: ClassVar = "replay"
    no_curves: ClassVar = (
        "A replay looks up the loss at the end of every run: its runs have no learning curves."
    )
    no_lenses: ClassVar = (
        "A replay trains nothing: its runs answer with recorded losses, so there is nothing to look into."
    )

    def check_own(self, grid: GridOf[Any]) -> None:
        """As ``TrainerKind.check_own``: sizes come from the table alone."""
        if grid.scales:
            raise BadField(
                "grid.scales",
                "a replay has the sizes that its table records; leave scales out, or pick rows with trainer.where",
            )

    def cells(self, grid: GridOf[Any], catalogue: Catalogue) -> Cells:
        """As ``TrainerKind.cells``: the recorded cells that lie on the grid, cheapest first.

        Raises:
            BadInput: no such table, mixed recipes, failed runs only, or a grid that asks for what is not recorded or for too many runs.
        """
        recorded = catalogue.rates(self, "trainer")
        if not recorded:
            picked = " that trainer.where picks" if self.where else ""
            raise BadInput.at("trainer", f"every run of the table{picked} failed, so no loss is recorded")
        kept = _on_grid(recorded, grid)
        if not kept:
            raise BadInput.at(
                "grid", "no recorded run of the table lies on it; leave the grid out to use them all"
            )
        try:
            check_size(len(kept), sum(map(len, kept.values())) * grid.seeds)
        except BadField as error:
            raise BadInput.at(error.path, str(error)) from error
        fewest = min(min(rates.values()) for rates in kept.values())
        if grid.seeds > fewest:
            raise BadInput.at(
                "grid.seeds",
                f"{grid.seeds} is more than the table records of some learning rate on the grid; at most {fewest}",
            )
        return replayed_cells(kept)

    def needs(self, resources: Resources) -> Resources:  # noqa: ARG002 - a replay ignores what is asked for
        """As ``TrainerKind.needs``: one small worker."""
        return NEEDS

    @property
    def recorded(self) -> ReplayTrainer:
        """As ``TrainerKind.recorded``."""
        return self


def replayed_cells(recorded: Mapping[Point, Mapping[float, int]]) -> Cells:
    """Cells of recorded learning rates, numbered in their order.

    Args:
        recorded: number of rows by cell and rate, ascending (``orchestrator.tables.recorded_rates``).
    """
    return Cells(
        Cell(
            number=number,
            params=point.params,
            tokens=point.tokens,
            batch_tokens=point.batch_tokens,
            rates=tuple(rates),
        )
        for number, (point, rates) in enumerate(recorded.items())
    )


def _on_grid(
    recorded: Mapping[Point, Mapping[float, int]], grid: GridOf[Any]
) -> dict[Point, dict[float, int]]:
    """The cells and rates that the grid allows; an empty axis of the grid allows all."""
    tokens, batch_tokens, wanted = sorted(grid.tokens), sorted(grid.batch_tokens), grid.rates()
    narrowed = {
        point: {rate: rows for rate, rows in rates.items() if _allows(wanted, rate)}
        for point, rates in recorded.items()
        if _allows(tokens, point.tokens) and _allows(batch_tokens, point.batch_tokens)
    }
    return {point: rates for point, rates in narrowed.items() if rates}


def _allows(axis: Sequence[float], value: float) -> bool:
    """Whether an ascending axis is empty or holds the value up to rounding."""
    at = bisect_left(axis, value)
    near = axis[max(0, at - 1) : at + 1]
    return not axis or any(math.isclose(value, other, rel_tol=CLOSE) for other in near)
