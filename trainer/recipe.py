"""Everything that determines a run besides its learning rate, horizon and corpus; the parametrization included."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from trainer.exceptions import BadRecipe
from trainer.proxy_shape import Shape
from trainer.schedule import Schedule, Timetable

OptimizerKind = Literal["adamw", "muon"]
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
            BadRecipe.unless(value is None or value >= 1, f"base: {name}", value, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """The dependence of initial values, learning rates, weight decay and ε on the scale (`trainer.scaling_rules`).

    Attributes:
        base: The scale from which `mup` scales rates by width; None for `standard`, the same rate at every scale.
        rules: What `mup` scales besides width.
        horizon_exponent: Exponent of the horizon on the learning rate, for the rule `horizon`; None takes the
            square roots of Complete(d)P (arXiv 2512.22382), which also scale decay, ε and β.

    Raises:
        BadRecipe: Fields that contradict each other.
    """

    base: BaseScale | None = None
    rules: frozenset[ScalingRule] = frozenset()
    horizon_exponent: float | None = None

    def __post_init__(self) -> None:
        unknown, known = sorted(self.rules - set(get_args(ScalingRule))), ", ".join(get_args(ScalingRule))
        BadRecipe.unless(not unknown, "parametrization: rules", unknown, known)
        if self.rules and self.base is None:
            raise BadRecipe("parametrization: rules need the base that the learning rate is tuned at")
        if self.horizon_exponent is not None:
            if "horizon" not in self.rules:
                raise BadRecipe("parametrization: horizon_exponent needs the rule horizon")
            within = -1.0 <= self.horizon_exponent <= 0.0
            BadRecipe.unless(
                within, "parametrization: horizon_exponent", self.horizon_exponent, "from -1 to 0"
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
        context, kinds = self.shape.context, get_args(OptimizerKind)
        whole = self.batch_tokens >= context and self.batch_tokens % context == 0
        self._check("batch_tokens", whole, f"a multiple of the context ({context})")
        self._check("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1")
        self._check("optimizer", self.optimizer in kinds, ", ".join(kinds))
        long = self.tokens is None or self.tokens >= self.batch_tokens
        self._check("tokens", long, f"at least a batch ({self.batch_tokens})")
        for name in ("beta1", "beta2", "momentum"):
            self._check(name, 0.0 <= getattr(self, name) < 1.0, "from 0 to below 1")
        for name in ("epsilon", "clip", "embedding_std", "qk_scale"):
            self._check(name, getattr(self, name) > 0.0, "above 0")
        self._check("weight_decay", self.weight_decay >= 0.0, "0 or more")

    def _check(self, name: str, allowed: bool, values: str) -> None:
        BadRecipe.unless(allowed, f"recipe: {name}", getattr(self, name), values)

    @property
    def sequences(self) -> int:
        """Sequences in one batch."""
        return self.batch_tokens // self.shape.context

    @property
    def timetable(self) -> Timetable:
        """The schedule in steps of this batch."""
        return self.schedule.in_steps(self.batch_tokens)
