"""Which rules carry a learning rate from a base proxy to another scale, and from which base."""

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.errors import BadRecipe

Kind = Literal["standard", "mup"]
ScalingRule = Literal["depth", "weight_decay", "batch", "horizon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The scale in whose units the learning rate is.

    Attributes:
        width: Width of the residual stream.
        depth: Number of blocks.
        head_width: Width of one attention head; None where it is the same everywhere.
        expert_width: Hidden width of all chosen experts together (`Experts.active_width`); None for dense.
        batch_tokens: Tokens per optimizer step; needed by the rules `batch` and `horizon`.
        tokens: Horizon; needed by the rule `horizon`.

    Raises:
        BadRecipe: A field is not positive.
    """

    width: int
    depth: int
    head_width: int | None = None
    expert_width: int | None = None
    batch_tokens: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for field in ("width", "depth", "head_width", "expert_width", "batch_tokens", "tokens"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise BadRecipe(f"base: {field} is {value}; allowed: at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrization:
    """How initial values, rates, decay and ε depend on the scale (`trainer.rules` has the table).

    Attributes:
        kind: `standard`, the same rate everywhere; or `mup`, rates by width from the base.
        base: The scale where `mup` is the standard parametrization; needed by `mup`.
        rules: What `mup` scales besides width.
        horizon_exponent: Exponent of the horizon on the rate that the rule `horizon` takes; None takes the
            square roots of Complete(d)P (arXiv 2512.22382), which touch decay, ε and β as well.

    Raises:
        BadRecipe: Fields that contradict each other.
    """

    kind: Kind = "standard"
    base: Base | None = None
    rules: frozenset[ScalingRule] = frozenset()
    horizon_exponent: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise BadRecipe(f"parametrization: kind is {self.kind!r}; allowed: {', '.join(get_args(Kind))}")
        if unknown := self.rules - set(get_args(ScalingRule)):
            raise BadRecipe(
                f"parametrization: rules are {sorted(unknown)}; allowed: {', '.join(get_args(ScalingRule))}"
            )
        if self.kind == "standard" and (self.base is not None or self.rules):
            raise BadRecipe("parametrization: standard takes no base and no rules; take mup")
        if self.kind == "mup" and self.base is None:
            raise BadRecipe("parametrization: mup needs the base that its learning rate is tuned at")
        if self.horizon_exponent is not None and "horizon" not in self.rules:
            raise BadRecipe("parametrization: horizon_exponent needs the rule horizon")
        if self.horizon_exponent is not None and not -1.0 <= self.horizon_exponent <= 0.0:
            raise BadRecipe(
                f"parametrization: horizon_exponent is {self.horizon_exponent}; allowed: from -1 to 0"
            )
        for field, needed in (("batch_tokens", {"batch", "horizon"}), ("tokens", {"horizon"})):
            if self.rules & needed and self.base is not None and getattr(self.base, field) is None:
                raise BadRecipe(f"parametrization: the rules {sorted(self.rules & needed)} need base.{field}")
