"""Published laws of the peak learning rate, with their units, sources and conditions.

They differ six-fold at one point, because a law belongs to its recipe. A law known only as a ratio starts from an optimum
measured in the sweep. N counts parameters without embeddings, D and B tokens, C = 6·N·D FLOPs. A further law is an entry
of `LAWS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor(Point):
    """A point with a measured best rate, from which a ratio-only law starts."""

    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLaw:
    """A published law of the peak learning rate.

    Attributes:
        name: Its usual name.
        source: Paper.
        applies: Units and recipe it was fitted in.
        rate: η at (N, D, B); not positive where the formula gives no rate.
        ratio_only: Whether the constant holds in the authors' units only: use `rate` as a ratio from an anchor.
        of_mup: Whether it gives the global rate of muP, which does not depend on N; other laws give the model's rate.
        of_experts: Whether it is a law of mixtures of experts alone.
    """

    name: str
    source: str
    applies: str
    rate: Callable[[Point], float]
    ratio_only: bool = False
    of_mup: bool = False
    of_experts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedOptimum:
    """The learning rate of a published law at a target.

    Attributes:
        law: The law.
        learning_rate: η there.
        anchor: The measured optimum that a ratio starts from; None if the law gives the rate itself.
    """

    law: PublishedLaw
    learning_rate: float
    anchor: Anchor | None = None

    @property
    def note(self) -> str:
        """Condition of the law and start of its ratio, for people."""
        start = self.anchor
        if start is None:
            return self.law.applies
        return f"{self.law.applies} ({amounts.rate(start.learning_rate, 3)} at {start.in_words})"


LAWS: Final = (
    PublishedLaw(
        name="Step Law",
        source="arXiv 2503.04715",
        applies="N without embeddings (mixture of experts: total), cosine decay to a fixed 1e-5, "
        "at its own best batch 0.58·D^0.571",
        rate=lambda at: 1.79 * at.params**-0.713 * at.tokens**0.307,  # eq. 1
    ),
    PublishedLaw(
        name="DeepSeek",
        source="arXiv 2401.02954",
        applies="C from non-embedding FLOPs, multi-step decay, at its own best batch 0.2920·C^0.3271",
        rate=lambda at: 0.3118 * (TRAINING_FLOPS_PER_PARAM_TOKEN * at.params * at.tokens) ** -0.125,  # eq. 1
    ),
    PublishedLaw(
        name="Porian",
        source="arXiv 2406.19146",
        applies="compute-optimal runs along a fixed D/N, at its own best batch 0.7576·N^0.703",
        rate=lambda at: 3.7 * at.params**-0.36,
    ),
    PublishedLaw(
        name="Kaplan",
        source="arXiv 2001.08361",
        applies="early GPT-2-like models, a batch of 0.5 M tokens; no tokens in it, zero at N = 1.2e10",
        rate=lambda at: 0.003239 - 0.0001395 * math.log(at.params),  # eq. D.1
    ),
    PublishedLaw(
        name="Joint MoE",
        source="arXiv 2502.05172",
        applies="active parameters, one expert assumed here; no tokens in it",
        rate=lambda at: math.exp(8.39 - 0.81 * math.log(at.params)),  # − 0.25·ln(experts)
        of_experts=True,
    ),
    PublishedLaw(
        name="Bjorck",
        source="arXiv 2409.19913",
        applies="a fixed batch; a ratio from the sweep's own optimum",
        rate=lambda at: at.params**-0.23 * at.tokens**-0.32,
        ratio_only=True,
    ),
    PublishedLaw(
        name="Power Scheduler",
        source="arXiv 2408.13359",
        applies="muP and warmup-stable-decay in base-width units, linear in the batch; "
        "a ratio from the sweep's own optimum at one width",
        rate=lambda at: 4.6 * at.batch_tokens * at.tokens**-0.51,  # the batch in sequences
        ratio_only=True,
        of_mup=True,
    ),
    PublishedLaw(
        name="Zhou",
        source="arXiv 2601.05049",
        applies="mixture of experts, warmup-stable-decay, validation loss; a ratio from the sweep's own optimum",
        rate=lambda at: 38.4588 * at.params**-0.2219 * at.tokens**-0.3509,  # eq. 6
        ratio_only=True,
    ),
)


def published_rates(
    target: Point, anchor: Anchor | None = None, *, of_mup: bool = False
) -> list[PublishedOptimum]:
    """The rates of all published laws at a target.

    Args:
        target: The (N, D, B).
        anchor: A measured optimum; without one, ratio-only laws are left out.
        of_mup: Whether to give the global rate of muP: then only laws of that rate are included.

    Returns:
        One entry per law that gives a positive rate there.
    """
    found = []
    for law in LAWS:
        if (of_mup and not law.of_mup) or (law.ratio_only and anchor is None):
            continue
        start = anchor if law.ratio_only else None
        learning_rate = law.rate(target)
        if start is not None:
            learning_rate = start.learning_rate * learning_rate / law.rate(start)
        if learning_rate > 0:
            found.append(PublishedOptimum(law=law, learning_rate=learning_rate, anchor=start))
    return found
