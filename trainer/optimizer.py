"""The update of a stack: AdamW or Muon for every member with its own rates, moments and gradient clip.

| symbol | meaning |
|---|---|
| K, P | members of the stack; parameters of one |
| S | stretches: parameters that lie side by side and move alike |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import sqrt

import torch
from torch import Tensor

from trainer.compiling import compiled_once
from trainer.model import Matrix, Model
from trainer.muon import Matrices, directions
from trainer.recipe import Recipe
from trainer.rules import MUON, Module


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
        module: The part of the model; None where no member has rates of its own for one.
        rate: Their rate over the member's.
        decay: Their weight decay over the recipe's.
        epsilon: Their ε over the recipe's.
        matrices: What Muon finds there; None where AdamW moves them.
    """

    start: int
    stop: int
    module: Module | None
    rate: float
    decay: float
    epsilon: float
    matrices: Matrices | None

    def rate_of(self, member: Rates) -> float:
        """The member's learning rate here."""
        factor = 1.0 if self.module is None else member.modules.get(self.module, 1.0)
        return member.learning_rate * self.rate * factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What changes from one update to the next, as numbers that a device can be sent.

    Attributes:
        rates: Learning rate of each member and stretch, float32 [K, S].
        corrections: 1 − β₁ᵗ and √(1 − β₂ᵗ) at update t, float32 [2].
        by_module: Whether the stretches are cut by module.
    """

    rates: Tensor
    corrections: Tensor
    by_module: bool

    def sent(self, device: torch.device) -> "Moves":
        """The same on a device, on its way there."""
        return Moves(
            rates=sent(self.rates, device),
            corrections=sent(self.corrections, device),
            by_module=self.by_module,
        )


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on its way to a device; nothing waits for the transfer."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Optimizer:
    """Updates parameters and moments in place."""

    def __init__(self, model: Model, *, vectorized: bool | None = None) -> None:
        """Cuts the parameters into stretches.

        Args:
            model: Whose parameters.
            vectorized: Whether one kernel moves a stretch of all members; None does so on a GPU. On a CPU
                PyTorch's fused kernel, member by member, is faster.
        """
        self.vectorized = model.device.type != "cpu" if vectorized is None else vectorized
        self._recipe: Recipe = model.recipe
        self._rules = model.rules
        self._precision = model.precision
        self._apply = compiled_once(self._move) if model.compiled and self.vectorized else self._move
        self._stretches = {by: tuple(_cut(model.matrices, model.recipe, by)) for by in (False, True)}

    def stretches(self, *, by_module: bool) -> tuple[Stretch, ...]:
        """The P parameters cut where rate, decay or ε change, and at modules if asked."""
        return self._stretches[by_module]

    def moves(self, step: int, rates: Sequence[Rates]) -> Moves:
        """The numbers of one update, on the CPU.

        Args:
            step: Updates made with this one, from 1.
            rates: Of each member.
        """
        by_module = any(member.modules for member in rates)
        stretches = self._stretches[by_module]
        corrections = 1.0 - self._rules.beta1**step, sqrt(1.0 - self._rules.beta2**step)
        return Moves(
            rates=torch.tensor([[stretch.rate_of(member) for stretch in stretches] for member in rates]),
            corrections=torch.tensor(corrections),
            by_module=by_module,
        )

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
            moments: Means of gradients and of their squares, [K, P] each, changed in place; where Muon moves,
                the momentum, and zeros.
            step: Updates made with this one, from 1.
            rates: Of each member.

        Returns:
            The norms of the gradients before the clip, [K].
        """
        moves = self.moves(step, rates) if self.vectorized or self._recipe.optimizer == "muon" else None
        if moves is not None and self.vectorized:
            return self.apply(parameters, gradients, moments, moves.sent(parameters.device))
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        scales = self._scales(norms)
        count = torch.tensor(float(step))
        for member, scale, *rows in zip(rates, scales, parameters, gradients, *moments, strict=True):
            for stretch in self._stretches[bool(member.modules)]:
                if stretch.matrices is None:
                    part = [row[stretch.start : stretch.stop] for row in rows]
                    self._fused(part, scale, count, stretch, stretch.rate_of(member))
        if moves is not None:
            stretches = self._stretches[moves.by_module]
            self._muon(parameters, gradients.div_(scales[:, None]), moments[0], moves.rates, stretches)
        return norms

    def apply(
        self, parameters: Tensor, gradients: Tensor, moments: tuple[Tensor, Tensor], moves: Moves
    ) -> Tensor:
        """One update of every member from numbers on the device: as `update`, and nothing asks the device.

        Args:
            parameters: [K, P], changed in place.
            gradients: [K, P], changed in place.
            moments: As of `update`.
            moves: On the device.
        """
        first, second = moments
        return self._apply(
            parameters, gradients, first, second, moves.rates, moves.corrections, moves.by_module
        )

    def _move(
        self,
        parameters: Tensor,
        gradients: Tensor,
        first: Tensor,
        second: Tensor,
        rates: Tensor,
        corrections: Tensor,
        by_module: bool,
    ) -> Tensor:
        """What `apply` says, in a form that compilers take."""
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
        gradients.div_(self._scales(norms)[:, None])
        stretches = self._stretches[by_module]
        for rate, stretch in zip(torch.split(rates, 1, dim=1), stretches, strict=True):
            if stretch.matrices is None:
                where = slice(stretch.start, stretch.stop)
                part = [tensor[:, where] for tensor in (parameters, gradients, first, second)]
                self._adamw(part, rate, corrections, stretch)
        self._muon(parameters, gradients, first, rates, stretches)
        return norms

    def _scales(self, norms: Tensor) -> Tensor:
        """What each member's gradient is divided by, [K]."""
        scales: Tensor = (norms / self._recipe.clip).clamp_min_(1.0)
        return scales

    def _fused(self, part: list[Tensor], scale: Tensor, count: Tensor, stretch: Stretch, rate: float) -> None:
        """AdamW on a stretch of one member; its grad_scale makes the clip cost no pass of its own."""
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
            weight_decay=self._recipe.weight_decay * stretch.decay,
            eps=self._recipe.epsilon * stretch.epsilon,
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
            found_inf=None,
        )

    def _adamw(self, part: list[Tensor], rate: Tensor, corrections: Tensor, stretch: Stretch) -> None:
        """AdamW (arXiv 1711.05101) on a stretch of all members, at rates [K, 1]."""
        values, gradient, first, second = part
        first.lerp_(gradient, 1.0 - self._rules.beta1)
        second.mul_(self._rules.beta2).addcmul_(gradient, gradient, value=1.0 - self._rules.beta2)
        roots = second.sqrt().div_(corrections[1]).add_(self._recipe.epsilon * stretch.epsilon)
        values.mul_(1.0 - rate * (self._recipe.weight_decay * stretch.decay))
        values.sub_((first / roots).mul_(rate / corrections[0]))

    def _muon(
        self,
        parameters: Tensor,
        gradients: Tensor,
        momenta: Tensor,
        rates: Tensor,
        stretches: Sequence[Stretch],
    ) -> None:
        """Muon on the matrices of all members, at rates [K, S]; its momentum is Nesterov's."""
        weight, places, kinds, ahead = 1.0 - self._recipe.momentum, [], [], []
        for place, stretch in enumerate(stretches):
            if stretch.matrices is not None:
                where = slice(stretch.start, stretch.stop)
                momentum, gradient = momenta[:, where], gradients[:, where]
                momentum.lerp_(gradient, weight)
                ahead.append(torch.lerp(momentum, gradient, weight))
                places.append(place)
                kinds.append(stretch.matrices)
        for place, direction in zip(places, directions(ahead, kinds, self._precision), strict=True):
            stretch, rate = stretches[place], rates[:, place, None]
            values = parameters[:, stretch.start : stretch.stop]
            values.mul_(1.0 - rate * (self._recipe.weight_decay * stretch.decay))
            values.sub_(direction.mul_(rate))


def _cut(matrices: Sequence[Matrix], recipe: Recipe, by_module: bool) -> list[Stretch]:
    """Muon's stretches are of one kind of matrix each; AdamW's are as long as they can be."""
    found: list[Stretch] = []
    for key, alike in groupby(matrices, lambda matrix: _alike(matrix, recipe, by_module)):
        members, start = list(alike), found[-1].stop if found else 0
        kind, module, rate, decay, epsilon = key
        found.append(
            Stretch(
                start=start,
                stop=start + sum(matrix.size for matrix in members),
                module=module,
                rate=rate,
                decay=decay,
                epsilon=epsilon,
                matrices=None if kind is None else _matrices(kind, members),
            )
        )
    return found


def _alike(
    matrix: Matrix, recipe: Recipe, by_module: bool
) -> tuple[str | None, Module | None, float, float, float]:
    """What a matrix must have in common with its neighbours: kind if Muon's, module if asked, and the rule."""
    rule, row = matrix.rule, matrix.rule.row
    kind = row.kind if recipe.optimizer == "muon" and row.module in MUON else None
    return kind, row.module if by_module else None, rule.rate, rule.decay, rule.epsilon


def _matrices(kind: str, alike: Sequence[Matrix]) -> Matrices:
    return Matrices(
        count=sum(matrix.count for matrix in alike),
        rows=alike[0].rows,
        columns=alike[0].columns,
        parts=3 if kind == "attention_in" else 1,
    )
