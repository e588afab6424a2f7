"""K members of one shape that train together: parameters and moments [K, P], one batch, K learning rates."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import fsum

import torch
from torch import Tensor

from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel, initial_parameters

STATE = ("parameters", "first_moments", "second_moments", "balance")
"""Names of the tensors of a stack; their first dimension is the members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """Measurements of one update.

    Attributes:
        losses: Each member's loss before the update, nats per token, [K].
        gradient_norms: Norms of the gradients before the clip, [K].
        loads: Each expert's share of the choices, [K, depth, E]; None for a dense proxy.
    """

    losses: Tensor
    gradient_norms: Tensor
    loads: Tensor | None


@dataclass(slots=True, kw_only=True)
class Stack:
    """The state of K members; all else follows from the recipe, the rates and the step.

    Attributes:
        parameters: float32 [K, P].
        first_moments: AdamW's mean of gradients, float32 [K, P].
        second_moments: AdamW's mean of squared gradients, float32 [K, P].
        balance: Biases on the experts' scores, float32 [K, depth, E]; [K, 0, 0] for a dense proxy.
        step: Updates made so far.
    """

    parameters: Tensor
    first_moments: Tensor
    second_moments: Tensor
    balance: Tensor
    step: int

    @classmethod
    def initial(cls, model: ProxyModel, members: int) -> "Stack":
        """Equal members before their first update."""
        parameters = initial_parameters(model.recipe).to(model.device).repeat(members, 1)
        return cls(
            parameters=parameters,
            first_moments=torch.zeros_like(parameters),
            second_moments=torch.zeros_like(parameters),
            balance=torch.zeros(members, *model.balance_shape, device=model.device),
            step=0,
        )

    def select(self, members: Sequence[int]) -> "Stack":
        """A copy of some members, in the given order."""
        return Stack(**{name: getattr(self, name)[list(members)] for name in STATE}, step=self.step)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in STATE}

    def train(
        self,
        model: ProxyModel,
        optimizer: StackOptimizer,
        inputs: Tensor,
        targets: Tensor,
        rates: Sequence[MemberRates],
    ) -> UpdateResult:
        """Updates every member once, in place.

        Args:
            model: The members' model.
            optimizer: The optimizer of that model.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow, [sequences, context].
            rates: Learning rates of each member at this step.
        """

        def update(gradients: Tensor) -> Tensor:
            moments = self.first_moments, self.second_moments
            return optimizer.update(self.parameters, gradients, moments, self.step + 1, rates)

        result = self.advance(model, inputs, targets, update)
        self.step += 1
        return result

    def advance(
        self, model: ProxyModel, inputs: Tensor, targets: Tensor, update: Callable[[Tensor], Tensor]
    ) -> UpdateResult:
        """Updates every member once, in place, without `step`; never waits for the device.

        Args:
            model: The members' model.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow, [sequences, context].
            update: Updates the parameters from their gradients [K, P] and returns the gradients' norms [K].
        """
        parameters = self.parameters.detach().requires_grad_()
        output = model.differentiable(parameters, self.balance, inputs, targets)
        objective = output.losses if output.penalties is None else output.losses + output.penalties
        (gradients,) = torch.autograd.grad(objective.sum(), parameters)
        norms = update(gradients)
        if output.loads is not None:
            self._rebalance(model, output.loads)
        return UpdateResult(losses=output.losses.detach(), gradient_norms=norms, loads=output.loads)

    def _rebalance(self, model: ProxyModel, loads: Tensor) -> None:
        """Lowers the bias of experts with more than their share of tokens (arXiv 2408.15664, algorithm 1)."""
        experts = model.recipe.shape.experts
        if experts is not None and experts.balance == "bias":
            self.balance += experts.strength * torch.sign(1.0 / experts.count - loads)

    @torch.no_grad()
    def evaluate(self, model: ProxyModel, batches: Iterator[tuple[Tensor, Tensor]]) -> list[float]:
        """Each member's mean loss over equal batches of (inputs, targets), in nats per token, summed exactly."""
        losses = torch.stack(
            [model.forward(self.parameters, self.balance, *batch).losses for batch in batches]
        )
        return [fsum(member) / len(member) for member in losses.T.tolist()]
