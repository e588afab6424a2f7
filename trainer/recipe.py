"""Everything that determines a run besides its learning rate, horizon and corpus; the parametrization included."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trainer.exceptions import BadRecipe
from trainer.proxy_shape import Shape
from trainer.schedule import Schedule, Timetable

OptimizerKind = Literal["adamw", "muon"]
ParametrizationKind = Literal["standard", "mup"]
ScalingRule = Literal["depth", "weight_decay", "batch", "horizon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseScale:
    """The scale whose learning rate is carried to other scales.

    Attributes:
        width: Width of the residual stream.
        depth: Number of blocks.
        head_width: Width of one attention head; None if it is the same at every scale.
        expert_width: Hidden width of all experts of one token together (`Experts.active_width`); None for dense.
        batch_tokens: Tokens per optimizer step; required by the rules `batch` and `horizon`.
        tokens: Horizon; required by the rule `horizon`.

    Raises:
        BadRecipe: A field is below 1.
    """

    width: int
    depth: int
    head_width: int | None = None
    expert_width: int | None = None
    batch_tokens: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "depth", "head_width", "expert_width", "batch_tokens", "tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BadRecipe(f"base: {name} is {value}; allowed: at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """The dependence of initial values, learning rates, weight decay and ε on the scale (`trainer.scaling_rules`).

    Attributes:
        kind: `standard`, the same rate at every scale; or `mup`, rates scaled by width from the base.
        base: The scale at which `mup` equals `standard`; required by `mup`.
        rules: What `mup` scales besides width.
        horizon_exponent: Exponent of the horizon on the learning rate, for the rule `horizon`; None takes the
            square roots of Complete(d)P (arXiv 2512.22382), which also scale decay, ε and β.

    Raises:
        BadRecipe: Fields that contradict each other.
    """

    kind: ParametrizationKind = "standard"
    base: BaseScale | None = None
    rules: frozenset[ScalingRule] = frozenset()
    horizon_exponent: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(ParametrizationKind):
            allowed = ", ".join(get_args(ParametrizationKind))
            raise BadRecipe(f"parametrization: kind is {self.kind!r}; allowed: {allowed}")
        if unknown := self.rules - set(get_args(ScalingRule)):
            raise BadRecipe(
                f"parametrization: rules are {sorted(unknown)}; allowed: {', '.join(get_args(ScalingRule))}"
            )
        if self.kind == "standard" and (self.base is not None or self.rules):
            raise BadRecipe("parametrization: standard takes no base and no rules; use mup")
        if self.kind == "mup" and self.base is None:
            raise BadRecipe("parametrization: mup needs the base that its learning rate is tuned at")
        if self.horizon_exponent is not None and "horizon" not in self.rules:
            raise BadRecipe("parametrization: horizon_exponent needs the rule horizon")
        if self.horizon_exponent is not None and not -1.0 <= self.horizon_exponent <= 0.0:
            raise BadRecipe(
                f"parametrization: horizon_exponent is {self.horizon_exponent}; allowed: from -1 to 0"
            )
        for name, needed in (("batch_tokens", {"batch", "horizon"}), ("tokens", {"horizon"})):
            if self.rules & needed and self.base is not None and getattr(self.base, name) is None:
                raise BadRecipe(f"parametrization: the rules {sorted(self.rules & needed)} need base.{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Shape, schedule, batch, seed, optimizer and initialization of one cell of the grid.

    Weight decay applies to every parameter, decoupled from the gradient. Each member of a stack has its own
    moments, and its gradient is clipped alone.

    Attributes:
        shape: The proxy.
        schedule: Warmup-stable-decay, or cosine.
        batch_tokens: Tokens per optimizer step; a multiple of the shape's context.
        tokens: The horizon, if the parametrization has the rule `horizon`; else None.
        parametrization: How rates, decay and initial values follow the scale.
        seed: Determines the initial parameters and the order of the data.
        optimizer: `adamw` (arXiv 1711.05101), or `muon` (arXiv 2502.16982) for the hidden matrices and AdamW
            for the embedding, the router and the head.
        momentum: Momentum of Muon.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Decoupled decay, multiplied by the learning rate.
        clip: Largest norm of a member's gradient.
        embedding_std: Standard deviation of the initial token embedding; 1 makes losses less noisy than 0.02.
        qk_scale: Factor on normalized attention logits, whose size is at most the square root of the
            head width; ignored without `qk_norm`.

    Raises:
        BadRecipe: A number is out of range, or the batch is not a whole number of sequences.
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
