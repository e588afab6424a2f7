"""Programs of the operator, named by a sweep with values for their parameters (``orchestrator.programs``)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import BeforeValidator, ConfigDict, Field

from orchestrator.cells import CLOSE, Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.spec.fields import Amount, BadField, Key, Name, Parameter, Strict
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.trainer_kind import Catalogue, TrainerKind

FIRST_RUNS: Final = 3
"""Jobs of a sweep, those that share a trunk as one, that begin before a loss is reported. If as many fail first, it is paused."""


UNKNOWN_PARAMS: Final = "TODO"
"""Stands for N in a sweep that is written for a user, until the user has put it in."""


def _filled_in(value: object) -> object:
    if value == UNKNOWN_PARAMS:
        raise ValueError(
            "is still TODO: put in N of this model, without embeddings and output head, such as 10.6M; the check of a program that "
            "calls etalon.model(params=…) says it"
        )
    return value


class DeclaredScale(Strict):
    """The size of one model of a registered program: its parameters N without embeddings, and the values that make it."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    params: Annotated[Amount, BeforeValidator(_filled_in)]
    values: Annotated[dict[Key, Parameter], Field(alias="with", max_length=100)] = Field(default_factory=dict)


class Program(Protocol):
    """A registered program as a specification sees it."""

    @property
    def kind(self) -> str:
        """``command`` or ``python``."""
        ...

    @property
    def takes_seeds(self) -> bool:
        """Whether runs may differ in their seed."""
        ...

    @property
    def shared_decay(self) -> float | None:
        """The share of a horizon after the fork, where horizons share a trunk; None where runs share nothing."""
        ...

    def checked(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """All parameters with their values, in their types.

        Raises:
            BadField: at the name of a parameter that is unknown, missing or out of its bounds.
        """
        ...


class CommandTrainer(TrainerKind):
    """A program registered by the operator under a name."""

    kind: Literal["command", "python"]
    name: Name
    parameters: dict[Key, Parameter] = Field(default_factory=dict)

    scale: ClassVar = DeclaredScale
    carried_out_by: ClassVar = "command"
    no_lenses: ClassVar = "The program of an operator reports losses only."

    def cells(self, grid: GridOf[DeclaredScale], catalogue: Catalogue) -> Cells:
        """As ``TrainerKind.cells``: all combinations, smallest model first; tokens are rounded down to whole steps.

        Raises:
            BadInput: no program of this name and kind is registered, a value is not allowed, or two scales have one N.
        """
        program = catalogue.program(self.name)
        if program.kind != self.kind:
            raise BadInput.at(
                "trainer.kind", f"{self.name} is registered as {program.kind}; write kind: {program.kind}"
            )
        if grid.seeds > 1 and not program.takes_seeds:
            raise BadInput.at(
                "grid.seeds", f"{self.name} takes no seed, so that all seeds would train alike; at most 1"
            )
        self._check_values(grid.scales, program)
        scales = sorted(grid.scales, key=lambda scale: scale.params)
        _check_apart(grid.scales, scales)
        _check_steps(grid)
        shared, rates = program.shared_decay, grid.rates()
        asked = [
            (scale, batch_tokens, tokens)
            for scale in scales
            for batch_tokens in sorted(set(grid.batch_tokens))
            for tokens in sorted({tokens // batch_tokens * batch_tokens for tokens in grid.tokens})
        ]
        return Cells(
            Cell(
                number=number,
                params=scale.params,
                tokens=float(tokens),
                batch_tokens=float(batch_tokens),
                rates=rates,
                decay_fraction=1.0 if shared is None else shared,
                trunk=None if shared is None else f"{scale.params:.0f}-b{batch_tokens}",
                with_values=values_text(scale.values),
            )
            for number, (scale, batch_tokens, tokens) in enumerate(asked)
        )

    def _check_values(self, scales: Sequence[DeclaredScale], program: Program) -> None:
        for at, scale in enumerate(scales):
            try:
                program.checked({**self.parameters, **scale.values})
            except BadField as error:
                name = error.path
                of_sweep = name in self.parameters and name not in scale.values
                path = f"trainer.parameters.{name}" if of_sweep else f"grid.scales.{at}.with.{name}"
                raise BadInput.at(path, str(error)) from error

    @property
    def program(self) -> CommandTrainer:
        """As ``TrainerKind.program``."""
        return self

    @property
    def measured_as(self) -> str:
        """As ``TrainerKind.measured_as``: each program by itself."""
        return f"{self.kind}:{self.name}"


def values_text(values: Mapping[str, Any]) -> str:
    """The values of a scale as canonical JSON, as cells keep them."""
    return json.dumps(dict(values), sort_keys=True, ensure_ascii=False)


def _check_apart(given: Sequence[DeclaredScale], ordered: Sequence[DeclaredScale]) -> None:
    for smaller, larger in pairwise(ordered):
        if math.log(larger.params / smaller.params) <= CLOSE:
            raise BadInput.at(
                f"grid.scales.{given.index(larger)}.params",
                f"{larger.params:g} is that of another scale too, and a law cannot tell them apart",
            )


def _check_steps(grid: GridOf[Any]) -> None:
    for at, tokens in enumerate(grid.tokens):
        if tokens < (largest := max(grid.batch_tokens)):
            raise BadInput.at(f"grid.tokens.{at}", f"{tokens} is less than one step of {largest} tokens")
