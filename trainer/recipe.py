"""Everything that decides a run besides its learning rate, its horizon and its corpus."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trainer.errors import BadRecipe
from trainer.parametrization import Parametrization
from trainer.schedule import Schedule, Timetable
from trainer.shape import Shape

OptimizerKind = Literal["adamw", "muon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Shape, schedule, batch, seed, optimizer and initialization of one cell of the grid.

    The optimizer decays every parameter, decoupled from the gradient; each member of a stack has its own
    moments and its own gradient clip.

    Attributes:
        shape: The proxy.
        schedule: Warmup-stable-decay.
        batch_tokens: Tokens per optimizer step; a multiple of the shape's context.
        tokens: The horizon, where the parametrization's rule `horizon` needs it; else None.
        parametrization: How rates, decay and initial values follow the scale.
        seed: Decides the initial parameters and the order of the data.
        optimizer: `adamw` (arXiv 1711.05101), or `muon` (arXiv 2502.16982) for the hidden matrices and AdamW
            for the embedding, the router and the head.
        momentum: Of Muon.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Decoupled decay, multiplied by the learning rate.
        clip: Largest norm of a member's gradient.
        embedding_std: Standard deviation of the initial token embedding; 1 makes losses less noisy than 0.02.
        qk_scale: Factor on normalized attention logits, which gain-free norms cap at the root of the head
            width; without `qk_norm` it is not used.

    Raises:
        BadRecipe: A number is out of range, or the batch is no whole number of sequences.
    """

    shape: Shape
    schedule: Schedule
    batch_tokens: int
    tokens: int | None = None
    parametrization: Parametrization = field(default_factory=Parametrization)
    seed: int = 0
    optimizer: OptimizerKind = "adamw"
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-10
    weight_decay: float = 0.1
    clip: float = 1.0
    embedding_std: float = 1.0
    qk_scale: float = 2.0

    def __post_init__(self) -> None:
        context = self.shape.context
        if self.batch_tokens < context or self.batch_tokens % context:
            raise BadRecipe(
                f"recipe: batch_tokens is {self.batch_tokens}; allowed: a multiple of the context ({context})"
            )
        if not 0 <= self.seed < 2**32:
            raise BadRecipe(f"recipe: seed is {self.seed}; allowed: 0 to 2**32 - 1")
        if self.optimizer not in get_args(OptimizerKind):
            raise BadRecipe(
                f"recipe: optimizer is {self.optimizer!r}; allowed: {', '.join(get_args(OptimizerKind))}"
            )
        if self.tokens is not None and self.tokens < self.batch_tokens:
            raise BadRecipe(
                f"recipe: tokens is {self.tokens}; allowed: at least a batch ({self.batch_tokens})"
            )
        for name in ("beta1", "beta2", "momentum"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise BadRecipe(f"recipe: {name} is {getattr(self, name)}; allowed: from 0 to below 1")
        for name in ("epsilon", "clip", "embedding_std", "qk_scale"):
            if not getattr(self, name) > 0.0:
                raise BadRecipe(f"recipe: {name} is {getattr(self, name)}; allowed: above 0")
        if not self.weight_decay >= 0.0:
            raise BadRecipe(f"recipe: weight_decay is {self.weight_decay}; allowed: 0 or more")

    @property
    def sequences(self) -> int:
        """Sequences in one batch."""
        return self.batch_tokens // self.shape.context

    @property
    def timetable(self) -> Timetable:
        """The schedule in steps of this batch."""
        return self.schedule.in_steps(self.batch_tokens)
