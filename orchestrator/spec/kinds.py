"""The kinds of trainers. The union in the specification, its OpenAPI schema and its error messages follow this table."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field

from orchestrator.cells import Cells
from orchestrator.spec.command import CommandTrainer
from orchestrator.spec.fields import Strict
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.proxy import ProxyTrainer
from orchestrator.spec.replay import ReplayTrainer
from orchestrator.spec.trainer_kind import Catalogue, TrainerKind

TRAINERS: Final[tuple[type[TrainerKind], ...]] = (ProxyTrainer, ReplayTrainer, CommandTrainer)

KINDS: Final[dict[str, type[TrainerKind]]] = {
    name: trainer for trainer in TRAINERS for name in get_args(trainer.model_fields["kind"].annotation)
}
"""The trainer of each ``kind``."""

if TYPE_CHECKING:
    Trainer = TrainerKind
    AnyScale = Any
else:
    Trainer = Annotated[reduce(or_, TRAINERS), Field(discriminator="kind")]
    AnyScale = reduce(or_, (trainer.scale for trainer in TRAINERS if trainer.scale is not None))


class Grid(GridOf[AnyScale]):
    """The cells and the lattice that a sweep may use; empty parts of a replay's grid mean "all recorded"."""


def scale_of(grid: Any) -> type[Strict] | None:
    """The scale whose fields a grid gives most of, where the trainer is not known; None if it gives none."""
    scales = grid.get("scales") if isinstance(grid, dict) else None
    given = (
        {name for scale in scales if isinstance(scale, dict) for name in scale}
        if isinstance(scales, list)
        else ()
    )
    known = [trainer.scale for trainer in TRAINERS if trainer.scale is not None]
    return max(known, key=lambda scale: sum(name in scale.model_fields for name in given)) if given else None


class PriorFit(TrainerKind):
    """Stands in for the trainer of a sweep that only fits its prior runs."""

    kind: Literal["none"] = "none"

    finds_cells: ClassVar = True

    def cells(self, grid: GridOf[Any], catalogue: Catalogue) -> Cells:  # noqa: ARG002
        """None: nothing is run."""
        return Cells()

    @property
    def no_stable_phase(self) -> str:
        """As ``TrainerKind.no_stable_phase``."""
        return (
            "it fits runs made before, and the loss before the decay is measured by the proxy trainer alone."
        )


PRIOR_FIT: Final = PriorFit()
