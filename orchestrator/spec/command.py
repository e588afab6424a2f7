"""Programs of the operator, named by a sweep. None can be registered yet, so every such sweep is refused."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NoReturn

from pydantic import Field

from orchestrator.errors import BadInput
from orchestrator.spec.fields import Name, Parameter
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.trainer_kind import Catalogue, TrainerKind


class CommandTrainer(TrainerKind):
    """A program registered by the operator under a name."""

    kind: Literal["command", "python"]
    name: Name
    parameters: dict[str, Parameter] = Field(default_factory=dict)

    finds_cells: ClassVar = True

    def cells(self, grid: GridOf[Any], catalogue: Catalogue) -> NoReturn:  # noqa: ARG002
        """As ``TrainerKind.cells``.

        Raises:
            BadInput: at ``trainer.name``: no program of this name is registered.
        """
        raise BadInput.at(
            "trainer.name", f"no {self.kind} trainer {self.name!r} is registered with this service"
        )
