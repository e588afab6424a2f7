"""The proxy trainer: Etalon's own small language models, and the cells that their grid makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from operator import attrgetter
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orchestrator.cells import CLOSE, Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.spec.architecture import Architecture, Dense
from orchestrator.spec.fields import BadField, Integer, Name
from orchestrator.spec.lattice import GridOf
from orchestrator.spec.mup import Mup, Parametrization
from orchestrator.spec.optimization import AdamW, Optimizer, Schedule, check_horizon
from orchestrator.spec.proxy_scale import ParamCounts, Scale, check_experts, experts_of, params_of
from orchestrator.spec.trainer_kind import Catalogue, TrainerKind
from orchestrator.spec.transfer import Base, TransferFields, base_of, check_transfer

Model = tuple[Scale, ParamCounts]


class ProxyTrainer(TrainerKind):
    """Etalon's own small language models. One stack trains many learning rates of one shape."""

    kind: Literal["proxy"]
    corpus: Name = "stdlib"
    architecture: Architecture = Dense()
    parametrization: Parametrization = "standard"
    schedule: Schedule = Schedule()
    optimizer: Optimizer = AdamW()
    context: Annotated[Integer, Field(ge=8, le=65_536)] = 64

    scale: ClassVar = Scale
    tags: ClassVar = {
        "architecture": frozenset({"dense", "moe"}),
        "optimizer": frozenset({"adamw", "muon"}),
        "parametrization": frozenset({"standard", "mup"}),
    }
    takes_whole_batches: ClassVar = True
    carried_out_by: ClassVar = "proxy"
    no_lenses: ClassVar = None

    def check_own(self, grid: GridOf[Scale]) -> None:
        """As ``TrainerKind.check_own``."""
        for index, scale in enumerate(grid.scales):
            check_experts(f"grid.scales.{index}", scale, self.architecture)
        for index, batch in enumerate(grid.batch_tokens):
            check_batch(f"grid.batch_tokens.{index}", batch, self.context)
        for (index, tokens), batch in product(enumerate(grid.tokens), grid.batch_tokens):
            check_horizon(f"grid.tokens.{index}", tokens, batch, self.schedule)
        self.check_base(grid, TransferFields.of(grid))

    def check_base(self, grid: GridOf[Scale], fields: TransferFields) -> None:
        """Refuse a base from which the rules of the parametrization cannot transfer a rate to the grid.

        Args:
            grid: checked before.
            fields: of the specification that the base and the grid come from.

        Raises:
            BadField: at the field at fault.
        """
        if isinstance(self.parametrization, Mup):
            check_transfer(grid, self.architecture, self.parametrization, self.optimizer, fields)

    def cells(self, grid: GridOf[Scale], catalogue: Catalogue | None = None) -> Cells:  # noqa: ARG002
        """The cells of a grid, smallest model first. Horizons of one shape and batch share a trunk.

        A horizon is a whole number of steps, so tokens are rounded down to a multiple of the batch. Scales and
        horizons that come to the same are one. N of a mixture of experts is the count that the architecture names.

        Raises:
            BadInput: mixtures of different sizes have one N in the count that the law uses.
        """
        rates, is_dense = grid.rates(), isinstance(self.architecture, Dense)
        asked = [
            (scale, counts, batch_tokens, tokens)
            for scale, counts in self._models(grid.scales)
            for batch_tokens in sorted(set(grid.batch_tokens))
            for tokens in sorted({tokens // batch_tokens * batch_tokens for tokens in grid.tokens})
        ]
        return Cells(
            Cell(
                number=number,
                params=float(self._counted(counts)),
                tokens=float(tokens),
                batch_tokens=float(batch_tokens),
                rates=rates,
                decay_fraction=self._decay_fraction(tokens, batch_tokens),
                trunk=self.trunk_name(scale, batch_tokens, tokens),
                params_total=None if is_dense else float(counts.total),
                params_active=None if is_dense else float(counts.active),
            )
            for number, (scale, counts, batch_tokens, tokens) in enumerate(asked)
        )

    def trunk_name(self, scale: Scale, batch_tokens: int, tokens: int) -> str:
        """Name of the trunk that the horizons of one shape and batch share.

        Where the rate itself depends on the horizon, each horizon has its own trunk.
        """
        name = f"w{scale.width}-d{scale.depth}-h{scale.attention_heads}-b{batch_tokens}"
        experts, asked = experts_of(scale, self.architecture), self.parametrization
        if experts is not None:
            name += f"-e{experts.count}x{experts.width}"
        return f"{name}-t{tokens}" if isinstance(asked, Mup) and "horizon" in asked.rules else name

    def trunk_scales(self, grid: GridOf[Scale]) -> dict[str, Scale]:
        """The scale of each trunk of a grid, by the trunk's name."""
        return {
            self.trunk_name(scale, batch, tokens // batch * batch): scale
            for scale, batch, tokens in product(grid.scales, grid.batch_tokens, grid.tokens)
        }

    @property
    def known_recipe(self) -> ProxyTrainer:
        """As ``TrainerKind.known_recipe``."""
        return self

    @property
    def corpus_name(self) -> str:
        """As ``TrainerKind.corpus_name``."""
        return self.corpus

    @property
    def counted(self) -> str:
        """As ``TrainerKind.counted``."""
        return self.architecture.counted

    def active_share(self, grid: GridOf[Scale]) -> float:
        """As ``TrainerKind.active_share``: 1 unless the law is in the total parameters of a mixture."""
        if self.counted != "params_total":
            return 1.0
        largest = max((params_of(scale, self.architecture) for scale in grid.scales), key=attrgetter("total"))
        return largest.active / largest.total

    def base(self, grid: GridOf[Scale]) -> Base | None:
        """As ``TrainerKind.base``: None in standard parametrization."""
        asked = self.parametrization
        return base_of(grid, self.architecture, asked) if isinstance(asked, Mup) else None

    @property
    def no_stable_phase(self) -> str | None:
        """As ``TrainerKind.no_stable_phase``."""
        if self.schedule.has_stable_phase:
            return None
        return (
            "its runs decay by a cosine from the end of the warmup on. Sweeps whose trainer.schedule.shape is linear or "
            "sqrt have one."
        )

    def _models(self, scales: Sequence[Scale]) -> list[Model]:
        """The different models of these scales, smallest first in the count that the law uses."""
        shapes = {
            (scale.width, scale.depth, scale.attention_heads, experts_of(scale, self.architecture)): scale
            for scale in scales
        }
        models = [(scale, params_of(scale, self.architecture)) for scale in shapes.values()]
        models.sort(key=lambda model: (self._counted(model[1]), model[1].total))
        self._check_apart(scales, models)
        return models

    def _check_apart(self, scales: Sequence[Scale], models: Sequence[Model]) -> None:
        """Refuse mixtures with different counts of which a law sees one model.

        Raises:
            BadInput: at the second scale of such a pair.
        """
        for (_, smaller), (scale, larger) in pairwise(models):
            near = math.log(self._counted(larger) / self._counted(smaller)) <= CLOSE
            if near and not isinstance(self.architecture, Dense) and smaller != larger:
                raise BadInput.at(
                    f"grid.scales.{scales.index(scale)}",
                    f"has {larger.total} total and {larger.active} active parameters, another scale {smaller.total} and "
                    f"{smaller.active}: a law in {self.architecture.params} parameters cannot tell them apart. Let the "
                    "width or the depth differ too, or let trainer.architecture.params be the other count",
                )

    def _counted(self, counts: ParamCounts) -> int:
        """N: the count of parameters that the law of this architecture uses."""
        return counts.total if self.counted == "params_total" else counts.active

    def _decay_fraction(self, tokens: int, batch_tokens: int) -> float:
        """Share of a horizon of whole steps that decays: as given, or for a cosine all but the warmup."""
        if self.schedule.has_stable_phase:
            return self.schedule.decay_fraction
        steps = tokens // batch_tokens
        return self.schedule.decay_steps(steps, batch_tokens) / steps


def check_batch(path: str, batch_tokens: int, context: int) -> None:
    """Refuse a batch that is not a whole number of sequences.

    Raises:
        BadField: at ``path``.
    """
    if batch_tokens % context:
        raise BadField(path, f"{batch_tokens} is not a multiple of the context of {context} tokens")
