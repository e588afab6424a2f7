"""One place in the space that a law is about: a number of parameters, of training tokens, and a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.amounts import sized
from orchestrator.law.refusal import LawRefusal, Refused


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Point:
    """One (N, D, B): params N without embeddings, training tokens D, batch_tokens B per optimizer step, each > 0.

    Raises:
        Refused: A value is not a positive finite number.
    """

    params: float
    tokens: float
    batch_tokens: float

    @property
    def in_words(self) -> str:
        """The place for people: ``1 B parameters, 20 B tokens, 1.05 M tokens a batch``."""
        return ", ".join(sized(name, getattr(self, name)) for name in ("params", "tokens", "batch_tokens"))

    def __post_init__(self) -> None:
        for name in ("params", "tokens", "batch_tokens"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise Refused(LawRefusal.BAD_TARGET, name=name, value=value)
