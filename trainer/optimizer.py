"""The optimizer of a stack: AdamW or Muon, with each member's own rates, moments and gradient clip.

| symbol | meaning |
|---|---|
| K, P | members of the stack; parameters of one |
| G | parameter groups: contiguous parameters with the same rule |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import sqrt

import torch
from torch import Tensor

from trainer.muon import Matrices, directions
from trainer.proxy_model import Matrix, ProxyModel, compiled_once
from trainer.recipe import Recipe
from trainer.scaling_rules import MUON, Module


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRates:
    """The learning rates of one member at one step.

    Attributes:
        learning_rate: The step's rate, before any scaling rule.
        modules: Factors on it by module; 1 for those left out.
    """

    learning_rate: float
    modules: Mapping[Module, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGroup:
    """Contiguous parameters with the same rule.

    Attributes:
        span: Their slice of the P parameters.
        module: The part of the model; None if no member has rates by module.
        rate: Their learning rate over the member's.
        decay: Their weight decay over the recipe's.
        epsilon: Their ε over the recipe's.
        matrices: Their layout if Muon updates them; None for AdamW.
    """

    span: slice
    module: Module | None
    rate: float
    decay: float
    epsilon: float
    matrices: Matrices | None

    def rate_of(self, member: MemberRates) -> float:
        """The member's learning rate for this group."""
        factor = 1.0 if self.module is None else member.modules.get(self.module, 1.0)
        return member.learning_rate * self.rate * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScalars:
    """The numbers that change from one update to the next.

    Attributes:
        rates: Learning rate of each member and group, float32 [K, G].
        corrections: 1 − β₁ᵗ and √(1 − β₂ᵗ) at update t, float32 [2].
        by_module: Whether the groups are split by module.
    """

    rates: Tensor
    corrections: Tensor
    by_module: bool

    def sent(self, device: torch.device) -> "StepScalars":
        """A copy on a device, as `sent`."""
        return StepScalars(
            rates=sent(self.rates, device),
            corrections=sent(self.corrections, device),
            by_module=self.by_module,
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a CPU tensor on a device, transferred asynchronously to a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class StackOptimizer:
    """Updates parameters and moments in place."""

    def __init__(self, model: ProxyModel, *, vectorized: bool | None = None) -> None:
        """Divides the parameters into groups.

        Args:
            model: The model of the parameters.
            vectorized: Whether one kernel updates a group of all members; None does so on a GPU. On a CPU
                PyTorch's fused kernel is faster, member by member.
        """
        self.vectorized = model.device.type != "cpu" if vectorized is None else vectorized
        self._recipe: Recipe = model.recipe
        self._rules = model.rules
        self._precision = model.precision
        self._apply = (
            compiled_once(self._update_all) if model.compiled and self.vectorized else self._update_all
        )
        self._groups = {by: tuple(_groups(model.matrices, model.recipe, by)) for by in (False, True)}

    def scalars(self, step: int, rates: Sequence[MemberRates]) -> StepScalars:
        """The scalars of one update, on the CPU.

        Args:
            step: Number of this update, from 1.
            rates: Learning rates of each member.
        """
        by_module = any(member.modules for member in rates)
        groups = self._groups[by_module]
        corrections = 1.0 - self._rules.beta1**step, sqrt(1.0 - self._rules.beta2**step)
        return StepScalars(
            rates=torch.tensor([[group.rate_of(member) for group in groups] for member in rates]),
            corrections=torch.tensor(corrections),
            by_module=by_module,
        )

    def update(
        self,
        parameters: Tensor,
        gradients: Tensor,
        moments: tuple[Tensor, Tensor],
        step: int,
        rates: Sequence[MemberRates],
    ) -> Tensor:
        """Updates every member.

        Args:
            parameters: [K, P], changed in place.
            gradients: [K, P], may be changed in place.
            moments: Means of gradients and of their squares, [K, P] each, changed in place; for parameters of Muon,
                the momentum and zeros.
            step: Number of this update, from 1.
            rates: Learning rates of each member.

        Returns:
            The norms of the gradients before the clip, [K].
        """
        scalars = self.scalars(step, rates) if self.vectorized or self._recipe.optimizer == "muon" else None
        if scalars is not None and self.vectorized:
            return self.apply(parameters, gradients, moments, scalars.sent(parameters.device))
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        divisors = self._divisors(norms)
        count = torch.tensor(float(step))
        for member, divisor, *rows in zip(rates, divisors, parameters, gradients, *moments, strict=True):
            for group in self._groups[bool(member.modules)]:
                if group.matrices is None:
                    part = [row[group.span] for row in rows]
                    self._fused(part, divisor, count, group, group.rate_of(member))
        if scalars is not None:
            groups = self._groups[scalars.by_module]
            self._muon(parameters, gradients.div_(divisors[:, None]), moments[0], scalars.rates, groups)
        return norms

    def apply(
        self, parameters: Tensor, gradients: Tensor, moments: tuple[Tensor, Tensor], scalars: StepScalars
    ) -> Tensor:
        """Updates every member as `update`, from scalars on the device, without waiting for it.

        Args:
            parameters: [K, P], changed in place.
            gradients: [K, P], changed in place.
            moments: As in `update`.
            scalars: On the device.

        Returns:
            The norms of the gradients before the clip, [K].
        """
        first, second = moments
        return self._apply(
            parameters, gradients, first, second, scalars.rates, scalars.corrections, scalars.by_module
        )

    def _update_all(
        self,
        parameters: Tensor,
        gradients: Tensor,
        first: Tensor,
        second: Tensor,
        rates: Tensor,
        corrections: Tensor,
        by_module: bool,
    ) -> Tensor:
        """`apply` with arguments that `torch.compile` accepts."""
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        gradients.div_(self._divisors(norms)[:, None])
        groups = self._groups[by_module]
        for rate, group in zip(torch.split(rates, 1, dim=1), groups, strict=True):
            if group.matrices is None:
                part = [tensor[:, group.span] for tensor in (parameters, gradients, first, second)]
                self._adamw(part, rate, corrections, group)
        self._muon(parameters, gradients, first, rates, groups)
        return norms

    def _divisors(self, norms: Tensor) -> Tensor:
        """The divisor of each member's gradient that clips its norm, [K]."""
        divisors: Tensor = (norms / self._recipe.clip).clamp_min_(1.0)
        return divisors

    def _fused(
        self, part: list[Tensor], divisor: Tensor, count: Tensor, group: ParameterGroup, rate: float
    ) -> None:
        """AdamW on a group of one member; the kernel's grad_scale clips without a pass of its own."""
        values, gradient, first, second = part
        torch._fused_adamw_(
            [values],
            [gradient],
            [first],
            [second],
            [],
            [count],
            lr=rate,
            beta1=self._rules.beta1,
            beta2=self._rules.beta2,
            weight_decay=self._recipe.weight_decay * group.decay,
            eps=self._recipe.epsilon * group.epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
            found_inf=None,
        )

    def _adamw(self, part: list[Tensor], rate: Tensor, corrections: Tensor, group: ParameterGroup) -> None:
        """AdamW (arXiv 1711.05101) on a group of all members, at learning rates [K, 1]."""
        values, gradient, first, second = part
        first.lerp_(gradient, 1.0 - self._rules.beta1)
        second.mul_(self._rules.beta2).addcmul_(gradient, gradient, value=1.0 - self._rules.beta2)
        roots = second.sqrt().div_(corrections[1]).add_(self._recipe.epsilon * group.epsilon)
        values.mul_(1.0 - rate * (self._recipe.weight_decay * group.decay))
        values.sub_((first / roots).mul_(rate / corrections[0]))

    def _muon(
        self,
        parameters: Tensor,
        gradients: Tensor,
        momenta: Tensor,
        rates: Tensor,
        groups: Sequence[ParameterGroup],
    ) -> None:
        """Muon with Nesterov momentum on its groups of all members, at learning rates [K, G]."""
        weight, columns, kinds, ahead = 1.0 - self._recipe.momentum, [], [], []
        for column, group in enumerate(groups):
            if group.matrices is not None:
                momentum, gradient = momenta[:, group.span], gradients[:, group.span]
                momentum.lerp_(gradient, weight)
                ahead.append(torch.lerp(momentum, gradient, weight))
                columns.append(column)
                kinds.append(group.matrices)
        for column, direction in zip(columns, directions(ahead, kinds, self._precision), strict=True):
            group, rate = groups[column], rates[:, column, None]
            values = parameters[:, group.span]
            values.mul_(1.0 - rate * (self._recipe.weight_decay * group.decay))
            values.sub_(direction.mul_(rate))


def _groups(matrices: Sequence[Matrix], recipe: Recipe, by_module: bool) -> list[ParameterGroup]:
    """The fewest groups; each of Muon's is of one kind of matrix."""
    found: list[ParameterGroup] = []
    start = 0
    for key, equal in groupby(matrices, lambda matrix: _group_key(matrix, recipe, by_module)):
        members, (kind, module, rate, decay, epsilon) = list(equal), key
        stop = start + sum(matrix.size for matrix in members)
        found.append(
            ParameterGroup(
                span=slice(start, stop),
                module=module,
                rate=rate,
                decay=decay,
                epsilon=epsilon,
                matrices=None if kind is None else _matrices(kind, members),
            )
        )
        start = stop
    return found


def _group_key(
    matrix: Matrix, recipe: Recipe, by_module: bool
) -> tuple[str | None, Module | None, float, float, float]:
    """Equal for matrices of one group: the kind if Muon updates it, the module if `by_module`, and the rule."""
    rule, kind = matrix.rule, matrix.rule.kind
    by_muon = recipe.optimizer == "muon" and kind.module in MUON
    return (
        kind.name if by_muon else None,
        kind.module if by_module else None,
        rule.rate,
        rule.decay,
        rule.epsilon,
    )


def _matrices(kind: str, members: Sequence[Matrix]) -> Matrices:
    return Matrices(
        count=sum(matrix.count for matrix in members),
        rows=members[0].rows,
        columns=members[0].columns,
        parts=3 if kind == "attention_in" else 1,
    )
