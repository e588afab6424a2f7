"""The shape of a dense proxy: what decides its parameter count."""

from dataclasses import dataclass

from trainer.errors import BadShape

HEAD_WIDTH = 16
"""Least width of an attention head where the shape does not say how many heads it wants."""


def default_heads(width: int) -> int:
    """The most heads that are at least 16 wide, or a single one, and that cut the width into even parts."""
    most = max(1, width // HEAD_WIDTH)
    return next((heads for heads in range(most, 0, -1) if width % (2 * heads) == 0), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A dense GPT: pre-norm RMSNorm without gain, rotary positions, relu² feed-forward, untied head.

    Attributes:
        width: Width of the residual stream; the heads must divide it.
        depth: Number of blocks.
        heads: Attention heads; None takes `default_heads`.
        vocab_size: Number of different tokens.
        context: Tokens in one sequence.
        qk_norm: Whether queries and keys are normalized.
        feedforward: Hidden width of the feed-forward part over `width`.

    Raises:
        BadShape: A field is out of range; it names the field, its value and what is allowed.
    """

    width: int
    depth: int
    heads: int | None = None
    vocab_size: int = 256
    context: int = 64
    qk_norm: bool = True
    feedforward: int = 4

    def __post_init__(self) -> None:
        for field, least in (
            ("width", 2),
            ("depth", 1),
            ("vocab_size", 2),
            ("context", 1),
            ("feedforward", 1),
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BadShape(field, value, f"a whole number of at least {least}")
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
    def params(self) -> int:
        """Parameters N without the token embedding and the output head: 12·depth·width² at feedforward 4."""
        return self.depth * self.width**2 * (4 + 2 * self.feedforward)

    @property
    def params_total(self) -> int:
        """Parameters with the token embedding and the untied output head."""
        return self.params + 2 * self.vocab_size * self.width

    @property
    def flops_per_token(self) -> int:
        """Training FLOPs of one token by the usual 6·N (arXiv 2001.08361, section 2.1)."""
        return 6 * self.params
