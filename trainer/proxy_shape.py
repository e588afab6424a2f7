"""The shape of a proxy, dense or a mixture of experts, and its parameter counts."""

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.exceptions import BadShape

HEAD_WIDTH = 16
"""Least width of an attention head if the shape has no number of heads."""

FEEDFORWARD = 4
"""Hidden width of the dense feed-forward part over the width."""

EXPERT_STEP = 8
"""Divisor of all widths of a mixture: grouped products need rows of 16 bytes, 8 numbers of bfloat16."""

Balance = Literal["bias", "loss"]

BALANCE_RATES: dict[Balance, float] = {"bias": 1e-3, "loss": 1e-2}
"""Default strengths: the bias step of arXiv 2408.15664, the loss coefficient of arXiv 2101.03961."""


_GROUPED = "one product computes the experts of all members, on rows of 16 bytes"


def default_heads(width: int) -> int:
    """The largest number of heads at least 16 wide that divides the width into even parts; 1 if there is none."""
    most = max(1, width // HEAD_WIDTH)
    return next((heads for heads in range(most, 0, -1) if width % (2 * heads) == 0), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in place of the feed-forward part of every block.

    Each token goes to the `top_k` experts with the highest scores, and no token is dropped. The weights of a token's
    experts sum to `top_k` (with `top_k` 1 the weight is twice the score), so that a mixture has the scale of a dense
    feed-forward part as wide as its active experts together.

    Attributes:
        count: Experts of one block.
        top_k: Experts that each token passes.
        width: Hidden width of one expert, a multiple of 8.
        shared: Further experts that every token passes.
        balance: `bias` adjusts a bias on the scores for the choice, without a loss (arXiv 2408.15664); `loss` adds
            the product of an expert's share of tokens and its mean score (arXiv 2101.03961).
        balance_rate: Step of the bias, or coefficient of the loss; None takes the default.

    Raises:
        BadShape: A field is out of range.
    """

    count: int
    top_k: int
    width: int
    shared: int = 0
    balance: Balance = "bias"
    balance_rate: float | None = None

    def __post_init__(self) -> None:
        for field, least in (("count", 2), ("top_k", 1), ("width", 1), ("shared", 0)):
            _check_whole(f"experts.{field}", getattr(self, field), least)
        if self.width % EXPERT_STEP:
            raise BadShape("experts.width", self.width, f"a multiple of {EXPERT_STEP}: {_GROUPED}")
        if self.top_k > self.count:
            raise BadShape("experts.top_k", self.top_k, f"at most the {self.count} experts of a block")
        if self.balance not in get_args(Balance):
            raise BadShape("experts.balance", self.balance, " or ".join(get_args(Balance)))
        if self.balance_rate is None:
            object.__setattr__(self, "balance_rate", BALANCE_RATES[self.balance])
        if not 0.0 < self.strength <= 1.0:
            raise BadShape("experts.balance_rate", self.balance_rate, "above 0, at most 1")

    @property
    def strength(self) -> float:
        """The balance rate, given or default."""
        return BALANCE_RATES[self.balance] if self.balance_rate is None else self.balance_rate

    @property
    def active_width(self) -> int:
        """Hidden width of the chosen experts of one token together."""
        return self.top_k * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A GPT: pre-norm RMSNorm without gain, rotary positions, relu² feed-forward, untied head.

    Attributes:
        width: Width of the residual stream; a multiple of the heads, with experts also of 8.
        depth: Number of blocks.
        heads: Attention heads; None takes `default_heads`.
        vocab_size: Number of different tokens.
        context: Tokens in one sequence.
        qk_norm: Whether queries and keys are normalized.
        experts: A mixture in place of the dense feed-forward part; None for a dense proxy.

    Raises:
        BadShape: A field is out of range.
    """

    width: int
    depth: int
    heads: int | None = None
    vocab_size: int = 256
    context: int = 64
    qk_norm: bool = True
    experts: Experts | None = None

    def __post_init__(self) -> None:
        for field, least in (("width", 2), ("depth", 1), ("vocab_size", 2), ("context", 1)):
            _check_whole(field, getattr(self, field), least)
        if self.experts is not None and self.width % EXPERT_STEP:
            raise BadShape("width", self.width, f"a multiple of {EXPERT_STEP} with experts: {_GROUPED}")
        if self.heads is None:
            object.__setattr__(self, "heads", default_heads(self.width))
            self._check_heads("width", self.width, "an even number")
        else:
            self._check_heads(
                "heads", self.heads, f"at least 1, dividing the width of {self.width} into even parts"
            )

    def _check_heads(self, field: str, value: object, allowed: str) -> None:
        heads = self.heads
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1 or self.width % (2 * heads):
            raise BadShape(field, value, f"{allowed}: rotary positions turn pairs")

    @property
    def head_count(self) -> int:
        """Attention heads of one block."""
        return self.heads or default_heads(self.width)

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.head_count

    @property
    def hidden(self) -> int:
        """Hidden width that every token passes: of the dense part, or of the shared experts together."""
        return FEEDFORWARD * self.width if self.experts is None else self.experts.shared * self.experts.width

    @property
    def params_total(self) -> int:
        """Parameters without token embedding and output head; 12·depth·width² for a dense proxy."""
        return self._params(0 if self.experts is None else self.experts.count)

    @property
    def params_active(self) -> int:
        """Parameters that one token passes: as `params_total`, with `top_k` experts instead of all."""
        return self._params(0 if self.experts is None else self.experts.top_k)

    def _params(self, experts: int) -> int:
        attention, feedforward = 4 * self.width**2, 2 * self.width * self.hidden
        if self.experts is None:
            return self.depth * (attention + feedforward)
        router, one = self.width * self.experts.count, 2 * self.width * self.experts.width
        return self.depth * (attention + feedforward + router + experts * one)

    @property
    def parameters(self) -> int:
        """All parameters, with token embedding and output head."""
        return self.params_total + 2 * self.vocab_size * self.width

    @property
    def flops_per_token(self) -> int:
        """Training FLOPs per token, 6·N with the active parameters as N (arXiv 2001.08361, section 2.1)."""
        return 6 * self.params_active


def _check_whole(field: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadShape(field, value, f"a whole number of at least {least}")
