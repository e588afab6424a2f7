"""The interface of a kind of trainer. A kind is a subclass in a module of its own, and a line in ``kinds``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final

from orchestrator.cells import Cells, Point
from orchestrator.spec.fields import Strict
from orchestrator.spec.lattice import GridOf, check_grid
from orchestrator.spec.resources import Resources
from orchestrator.spec.transfer import Base

if TYPE_CHECKING:
    from orchestrator.spec.command import Program
    from orchestrator.spec.proxy import ProxyTrainer


class RecordedRows(Protocol):
    """Names rows of an uploaded table: a table's id, and what picks one recipe from it."""

    @property
    def table(self) -> str:
        """Id of the table."""
        ...

    @property
    def where(self) -> Mapping[str, str]:
        """The value that each column must have."""
        ...

    @property
    def ignore(self) -> Collection[str]:
        """Columns that are no part of a recipe."""
        ...


class NamedProgram(Protocol):
    """Names a registered program, with the values that the whole sweep gives to its parameters."""

    @property
    def name(self) -> str:
        """As it is registered."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Values by name; those of a scale go before them."""
        ...


class Catalogue(Protocol):
    """What a specification may name: uploaded tables, and registered programs."""

    def rates(self, source: RecordedRows, field: str) -> Mapping[Point, Mapping[float, int]]:
        """The learning rates recorded in each cell of a table, cheapest cell first, with their numbers of rows.

        Args:
            source: names the rows.
            field: of the specification, for messages.

        Raises:
            BadInput: the table does not exist, or its rows mix recipes.
        """
        ...

    def program(self, name: str) -> Program:
        """A registered program.

        Raises:
            BadInput: at ``trainer.name``: none of this name can be used.
        """
        ...


class TrainerKind(Strict):
    """A kind of trainer: its fields are what a specification may contain, its methods what Etalon needs to know.

    The defaults are those of a program that reports the losses of single runs and nothing else.

    Attributes:
        scale: the model of one entry of ``grid.scales``; None where the kind has none of its own.
        tags: names of the members of its fields' unions, by field; paths of errors leave them out.
        finds_cells: whether ``cells`` finds them elsewhere, so that the grid only narrows them and may be empty.
        takes_whole_batches: whether a free worker takes many runs at once, so that a batch should not be split.
        answers_at_once: whether runs take no time.
        carried_out_by: name of the module of ``workers`` that carries out the runs; None if none does.
        no_curves: why runs have no learning curves; None if they have.
        no_lenses: why the two lenses record nothing of a run; None if they do.
    """

    kind: str

    scale: ClassVar[type[Strict] | None] = None
    tags: ClassVar[Mapping[str, frozenset[str]]] = {}
    finds_cells: ClassVar[bool] = False
    takes_whole_batches: ClassVar[bool] = False
    answers_at_once: ClassVar[bool] = False
    carried_out_by: ClassVar[str | None] = None
    no_curves: ClassVar[str | None] = None
    no_lenses: ClassVar[str | None] = "Custom trainers report losses only."

    @final
    def check(self, grid: GridOf[Any]) -> None:
        """Refuse a grid that this trainer cannot run, as far as the specification shows it.

        Raises:
            BadField: at the field at fault, as the whole specification has it.
        """
        if not self.finds_cells:
            check_grid(grid, self.kind)
        self.check_own(grid)

    def check_own(self, grid: GridOf[Any]) -> None:
        """Refuse what only this kind cannot run; the size of a grid of cells is checked before.

        Raises:
            BadField: at the field at fault, as the whole specification has it.
        """

    @abstractmethod
    def cells(self, grid: GridOf[Any], catalogue: Catalogue) -> Cells:
        """The cells that a sweep of this trainer may run, numbered from 0.

        Args:
            grid: of the sweep, checked before.
            catalogue: of what the specification names.

        Raises:
            BadInput: the specification names something unknown, or asks for cells that cannot be run.
        """

    def needs(self, resources: Resources) -> Resources:
        """The resources that the workers take when the specification asks for ``resources``."""
        return resources

    @property
    def measured_as(self) -> str:
        """What speeds are measured for: sweeps of equal names are compared."""
        return self.kind

    @property
    def recorded(self) -> RecordedRows | None:
        """The rows of a table that answer for the runs; None if runs are trained."""
        return None

    @property
    def program(self) -> NamedProgram | None:
        """The registered program that trains; None for other trainers."""
        return None

    @property
    def known_recipe(self) -> ProxyTrainer | None:
        """This trainer if Etalon itself trains its models, so that it knows their recipe; None otherwise."""
        return None

    @property
    def corpus_name(self) -> str | None:
        """Name of the corpus that runs are trained on; None if the trainer has its own data."""
        return None

    @property
    def counted(self) -> str:
        """The column of parameters that the law uses as N: ``params`` where there is only one count."""
        return "params"

    def active_share(self, grid: GridOf[Any]) -> float:  # noqa: ARG002 - part of the interface
        """Active parameters over N in the largest model of the grid, in (0, 1]."""
        return 1.0

    def base(self, grid: GridOf[Any]) -> Base | None:  # noqa: ARG002 - part of the interface
        """The proxy in whose units the learning rates are; None if rates apply as they are."""
        return None

    @property
    def no_stable_phase(self) -> str | None:
        """The reason why no loss is measured before the decay, as a clause that ends a sentence; None if it is."""
        return f"its trainer is {self.kind}, and the loss before the decay is measured by the proxy trainer alone."
