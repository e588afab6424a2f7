"""The update of a stack: AdamW for every member with its own rates, moments and gradient clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from trainer.model import Model
from trainer.recipe import Recipe
from trainer.rules import Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The learning rates of one member at one step.

    Attributes:
        learning_rate: The step's rate, before any rule.
        modules: Factors of modules on it; 1 where left out.
    """

    learning_rate: float
    modules: Mapping[Module, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Parameters that lie side by side and move alike.

    Attributes:
        start, stop: Where they lie among the P parameters.
        rate: Their rate over the member's.
        decay: Their weight decay over the recipe's.
        epsilon: Their ε over the recipe's.
    """

    start: int
    stop: int
    rate: float
    decay: float
    epsilon: float


class Optimizer:
    """Updates parameters and moments in place."""

    def __init__(self, model: Model) -> None:
        self._recipe: Recipe = model.recipe
        self._rules = model.rules
        self._matrices = model.matrices
        self._stretches: dict[tuple[tuple[Module, float], ...], tuple[Stretch, ...]] = {}

    def stretches(self, modules: Mapping[Module, float]) -> tuple[Stretch, ...]:
        """The P parameters cut where rate, decay or ε change."""
        key = tuple(sorted(modules.items()))
        if key not in self._stretches:
            self._stretches[key] = tuple(self._cut(modules))
        return self._stretches[key]

    def _cut(self, modules: Mapping[Module, float]) -> list[Stretch]:
        moves = []
        for matrix in self._matrices:
            rule = matrix.rule
            moves.append((rule.rate * modules.get(rule.row.module, 1.0), rule.decay, rule.epsilon))
        found, start = [], 0
        for (rate, decay, epsilon), alike in groupby(zip(moves, self._matrices, strict=True), lambda m: m[0]):
            stop = start + sum(matrix.size for _, matrix in alike)
            found.append(Stretch(start=start, stop=stop, rate=rate, decay=decay, epsilon=epsilon))
            start = stop
        return found

    def update(
        self,
        parameters: Tensor,
        gradients: Tensor,
        moments: tuple[Tensor, Tensor],
        step: int,
        rates: Sequence[Rates],
    ) -> Tensor:
        """One update of every member.

        Args:
            parameters: [K, P], changed in place.
            gradients: [K, P].
            moments: AdamW's means of gradients and of their squares, [K, P] each, changed in place.
            step: Updates made with this one, from 1.
            rates: Of each member.

        Returns:
            The norms of the gradients before the clip, [K].
        """
        recipe = self._recipe
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        # The fused kernel divides a gradient by its grad_scale: the clip costs no pass of its own.
        scales = (norms / recipe.clip).clamp_min_(1.0)
        count = torch.tensor(float(step), device=gradients.device)
        for member, scale, *rows in zip(rates, scales, parameters, gradients, *moments, strict=True):
            for stretch in self.stretches(member.modules):
                values, gradient, first, second = (row[stretch.start : stretch.stop] for row in rows)
                torch._fused_adamw_(
                    [values],
                    [gradient],
                    [first],
                    [second],
                    [],
                    [count],
                    lr=member.learning_rate * stretch.rate,
                    beta1=self._rules.beta1,
                    beta2=self._rules.beta2,
                    weight_decay=recipe.weight_decay * stretch.decay,
                    eps=recipe.epsilon * stretch.epsilon,
                    amsgrad=False,
                    maximize=False,
                    grad_scale=scale,
                    found_inf=None,
                )
        return norms
