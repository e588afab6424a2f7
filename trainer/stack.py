"""K members of one shape that train as one: parameters and moments [K, P], one batch, K learning rates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum

import torch
from torch import Tensor

from trainer.model import Model, initial_parameters
from trainer.shape import Shape

_STATE = ("parameters", "first_moments", "second_moments")


@dataclass(slots=True, kw_only=True)
class Stack:
    """The state of K members; everything else follows from the recipe, the rates and the step.

    Attributes:
        parameters: float32 [K, P].
        first_moments: AdamW's mean of gradients, float32 [K, P].
        second_moments: AdamW's mean of squared gradients, float32 [K, P].
        step: Updates made so far.
    """

    parameters: Tensor
    first_moments: Tensor
    second_moments: Tensor
    step: int

    @classmethod
    def initial(cls, model: Model, members: int) -> "Stack":
        """Members before their first update, all alike."""
        parameters = initial_parameters(model.recipe).to(model.device).repeat(members, 1)
        return cls(
            parameters=parameters,
            first_moments=torch.zeros_like(parameters),
            second_moments=torch.zeros_like(parameters),
            step=0,
        )

    def select(self, members: Sequence[int]) -> "Stack":
        """A copy of some members, in the order asked for."""
        return Stack(**{name: getattr(self, name)[list(members)] for name in _STATE}, step=self.step)

    def tensors(self) -> dict[str, Tensor]:
        """The three tensors by name, for saving."""
        return {name: getattr(self, name) for name in _STATE}

    def train(self, model: Model, inputs: Tensor, targets: Tensor, learning_rates: Sequence[float]) -> Tensor:
        """One AdamW update of every member, in place.

        Args:
            model: The members' shape and recipe.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow, [sequences, context].
            learning_rates: This step's rate of each member.

        Returns:
            Each member's loss before the update, [K].
        """
        parameters = self.parameters.requires_grad_()
        losses = model.losses(parameters, inputs, targets)
        (gradients,) = torch.autograd.grad(losses.sum(), parameters)
        self.parameters = parameters.detach()
        self.step += 1
        self._update(model, gradients, learning_rates)
        return losses.detach()

    def _update(self, model: Model, gradients: Tensor, learning_rates: Sequence[float]) -> None:
        recipe = model.recipe
        # The fused kernel divides a gradient by its grad_scale: the clip costs no pass of its own.
        scales = (torch.linalg.vector_norm(gradients, dim=1) / recipe.clip).clamp_min_(1.0)
        step = torch.tensor(float(self.step), device=gradients.device)
        for rate, parameters, gradient, first, second, scale in zip(
            learning_rates,
            self.parameters,
            gradients,
            self.first_moments,
            self.second_moments,
            scales,
            strict=True,
        ):
            torch._fused_adamw_(
                [parameters],
                [gradient],
                [first],
                [second],
                [],
                [step],
                lr=rate,
                beta1=recipe.beta1,
                beta2=recipe.beta2,
                weight_decay=recipe.weight_decay,
                eps=recipe.epsilon,
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
                found_inf=None,
            )

    @torch.no_grad()
    def evaluate(self, model: Model, batches: Iterator[tuple[Tensor, Tensor]]) -> list[float]:
        """Mean loss of each member over equal batches of (inputs, targets), in nats per token, summed exactly."""
        losses = torch.stack([model.losses(self.parameters, *batch) for batch in batches])
        return [fsum(member) / len(member) for member in losses.T.tolist()]


CACHED_LOGITS, GPU_LOGITS = 2_048 * 256, 1 << 28
"""Most numbers of all members' logits: on a CPU as many as 2,048 rows of bytes have; on a GPU 1 GiB of float32."""


def stack_limit(shape: Shape, batch_tokens: int, device: str = "cpu") -> int:
    """How many members to train in one stack for the most tokens a second.

    On a CPU all members' activations should stay in the second-level cache: at most 2,048 rows, and 65,536
    numbers of the residual stream, was within about 5 % of the best for widths of 16 to 128 and batches of 128
    and 256 tokens (`benchmarks/trainer.py`, on bytes). On a GPU the rows should fill the chip. The logits have a row's
    worth of the vocabulary, so a large one leaves room for fewer members.

    Args:
        shape: The members' shape.
        batch_tokens: Tokens per step of one member.
        device: `cpu`, or a PyTorch device such as `cuda:0`.
    """
    if torch.device(device).type != "cpu":
        return max(1, min(128, 65_536 // batch_tokens, GPU_LOGITS // (batch_tokens * shape.vocab_size)))
    cached = min(65_536 // (batch_tokens * shape.width), CACHED_LOGITS // (batch_tokens * shape.vocab_size))
    return max(1, min(16, 2_048 // batch_tokens, cached))
