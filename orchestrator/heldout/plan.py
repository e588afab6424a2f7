"""What a comparison will run, as it is kept: planned once, from what the search left, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from orchestrator.heldout.contenders import BaseOptimum, LineUp
from orchestrator.heldout.setting import Setting
from orchestrator.heldout.values import Contender, Expected, LeftOut
from orchestrator.planner.values import Cell
from orchestrator.spec import CellRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The N, D and B of a cell."""

    params: float
    tokens: float
    batch_tokens: float

    @classmethod
    def of(cls, cell: Cell) -> Self:
        """Of a cell."""
        return cls(params=cell.params, tokens=cell.tokens, batch_tokens=cell.batch_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A planned comparison.

    Attributes:
        search: why the search had ended.
        law_number: of the law that Fitting and the reference bowl's prior are from.
        held_out, base: where.
        base_optimum: what Transfer is tuned to.
        seeds: how many each contender has, from 0.
        line_up: what is run.
    """

    search: str
    law_number: int
    held_out: Place
    base: Place
    base_optimum: BaseOptimum
    seeds: int
    line_up: LineUp

    @classmethod
    def of(
        cls, setting: Setting, found: LineUp, optimum: BaseOptimum, *, search: str, law_number: int
    ) -> Self:
        """The plan of a comparison."""
        return cls(
            search=search,
            law_number=law_number,
            held_out=Place.of(setting.standard),
            base=Place.of(setting.base),
            base_optimum=optimum,
            seeds=setting.seeds,
            line_up=found,
        )

    def to_document(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`."""
        told = document["line_up"]
        return cls(
            search=document["search"],
            law_number=document["law_number"],
            held_out=Place(**document["held_out"]),
            base=Place(**document["base"]),
            base_optimum=BaseOptimum(**document["base_optimum"]),
            seeds=document["seeds"],
            line_up=LineUp(
                contenders=tuple(
                    Contender(**{**item, "arm": CellRole(item["arm"])}) for item in told["contenders"]
                ),
                reference=tuple(told["reference"]),
                left_out=tuple(LeftOut(**item) for item in told["left_out"]),
                expected=Expected(**told["expected"]),
            ),
        )
