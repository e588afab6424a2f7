"""K members of one shape that train as one: parameters and moments [K, P], one batch, K learning rates."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import fsum

import torch
from torch import Tensor

from trainer.memory import members_that_fit, memory_per_member
from trainer.model import Model, initial_parameters
from trainer.optimizer import Optimizer, Rates
from trainer.recipe import OptimizerKind
from trainer.shape import Shape

STATE = ("parameters", "first_moments", "second_moments", "balance")
"""The tensors of a stack; all have the members first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one update told.

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
    """The state of K members; everything else follows from the recipe, the rates and the step.

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
    def initial(cls, model: Model, members: int) -> "Stack":
        """Members before their first update, all alike."""
        parameters = initial_parameters(model.recipe).to(model.device).repeat(members, 1)
        return cls(
            parameters=parameters,
            first_moments=torch.zeros_like(parameters),
            second_moments=torch.zeros_like(parameters),
            balance=torch.zeros(members, *model.balance_shape, device=model.device),
            step=0,
        )

    def select(self, members: Sequence[int]) -> "Stack":
        """A copy of some members, in the order asked for."""
        return Stack(**{name: getattr(self, name)[list(members)] for name in STATE}, step=self.step)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, for saving."""
        return {name: getattr(self, name) for name in STATE}

    def train(
        self, model: Model, optimizer: Optimizer, inputs: Tensor, targets: Tensor, rates: Sequence[Rates]
    ) -> Step:
        """One update of every member, in place.

        Args:
            model: The members' shape and recipe.
            optimizer: Of that model.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow, [sequences, context].
            rates: This step's rates of each member.
        """

        def update(gradients: Tensor) -> Tensor:
            moments = self.first_moments, self.second_moments
            return optimizer.update(self.parameters, gradients, moments, self.step + 1, rates)

        told = self.advance(model, inputs, targets, update)
        self.step += 1
        return told

    def advance(
        self, model: Model, inputs: Tensor, targets: Tensor, update: Callable[[Tensor], Tensor]
    ) -> Step:
        """One update of every member, in place, but for the count of steps: nothing in it asks the device.

        Args:
            model: The members' shape and recipe.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow, [sequences, context].
            update: Moves the parameters by their gradients [K, P], and tells the gradients' norms [K].
        """
        parameters = self.parameters.detach().requires_grad_()
        passed = model.differentiable(parameters, self.balance, inputs, targets)
        objective = passed.losses if passed.penalties is None else passed.losses + passed.penalties
        (gradients,) = torch.autograd.grad(objective.sum(), parameters)
        norms = update(gradients)
        if passed.loads is not None:
            self._rebalance(model, passed.loads)
        return Step(losses=passed.losses.detach(), gradient_norms=norms, loads=passed.loads)

    def _rebalance(self, model: Model, loads: Tensor) -> None:
        """Experts with more than their share become a little less likely (arXiv 2408.15664, algorithm 1)."""
        experts = model.recipe.shape.experts
        if experts is not None and experts.balance == "bias":
            self.balance += experts.strength * torch.sign(1.0 / experts.count - loads)

    @torch.no_grad()
    def evaluate(self, model: Model, batches: Iterator[tuple[Tensor, Tensor]]) -> list[float]:
        """Mean loss of each member over equal batches of (inputs, targets), in nats per token, summed exactly."""
        losses = torch.stack(
            [model.forward(self.parameters, self.balance, *batch).losses for batch in batches]
        )
        return [fsum(member) / len(member) for member in losses.T.tolist()]


CACHED_LOGITS = 2_048 * 256
"""Most numbers of all members' logits on a CPU: as many as 2,048 rows of bytes have."""


def stack_limit(
    shape: Shape,
    batch_tokens: int,
    device: str = "cpu",
    *,
    optimizer: OptimizerKind = "adamw",
    share: float = 1.0,
    free_bytes: int | None = None,
) -> int:
    """How many members to train in one stack for the most tokens a second.

    On a CPU all members' activations should stay in the second-level cache: at most 2,048 rows, and 65,536
    numbers of the residual stream, was within about 5 % of the best for widths of 16 to 128 and batches of 128
    and 256 tokens (`benchmarks/trainer.py`, on bytes). The logits have a row's worth of the vocabulary, so a
    large one leaves room for fewer members. On a GPU, which more rows only fill better, as many as its memory
    holds.

    Args:
        shape: The members' shape.
        batch_tokens: Tokens per step of one member.
        device: `cpu`, or a PyTorch device such as `cuda:0`.
        optimizer: Of the members.
        share: Part of a GPU's memory that this process may take, above 0, at most 1.
        free_bytes: Memory of a GPU to count on; None asks for what is free now.
    """
    if torch.device(device).type != "cpu":
        free = _free_bytes(device, share) if free_bytes is None else free_bytes
        return members_that_fit(shape, memory_per_member(shape, batch_tokens, optimizer=optimizer), free)
    cached = min(65_536 // (batch_tokens * shape.width), CACHED_LOGITS // (batch_tokens * shape.vocab_size))
    return max(1, min(16, 2_048 // batch_tokens, cached))


def _free_bytes(device: str, share: float) -> int:
    """What this process may still take of a GPU; what PyTorch keeps of its earlier stacks is free to it."""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_allocated(device)
    kept = torch.cuda.memory_reserved(device) - own
    return min(free + kept, int(share * total) - own)
