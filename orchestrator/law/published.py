"""Published laws of the peak learning rate, with their units, sources and conditions.

They differ six-fold at one point, because a law belongs to its recipe. A law known only as a ratio starts from an optimum
measured in the sweep. N counts parameters without embeddings, D and B tokens, C = 6·N·D FLOPs. A further law is a function
and an entry of `LAWS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.cells import Point

FLOPS_PER_PARAM_TOKEN: Final = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A cell with a measured best rate, from which a ratio-only law starts."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLaw:
    """A published law of the peak learning rate.

    Attributes:
        name: Its usual name.
        source: Paper.
        applies: Units and recipe it was fitted in.
        rate: η at (N, D, B); None if the formula gives no positive rate.
        ratio_only: Whether the constant holds in the authors' units only: use `rate` as a ratio from an anchor.
        of_mup: Whether it gives the global rate of muP, which does not depend on N; other laws give the model's rate.
        of_experts: Whether it is a law of mixtures of experts alone.
    """

    name: str
    source: str
    applies: str
    rate: Callable[[float, float, float], float | None]
    ratio_only: bool = False
    of_mup: bool = False
    of_experts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedOptimum:
    """The learning rate of a published law at a target.

    Attributes:
        law: Its name.
        learning_rate: η there.
        source: Paper.
        applies: Units and recipe it was fitted in.
        anchor: The measured optimum that a ratio starts from; None if the law gives the rate itself.
    """

    law: str
    learning_rate: float
    source: str
    applies: str
    anchor: Anchor | None = None

    @property
    def note(self) -> str:
        """Condition of the law and start of its ratio, for people."""
        start = self.anchor
        if start is None:
            return self.applies
        return (
            f"{self.applies} ({amounts.rate(start.learning_rate, 3)} at {amounts.count(start.params)} parameters, "
            f"{amounts.count(start.tokens)} tokens, a batch of {amounts.count(start.batch_tokens)})"
        )


def step_law(params: float, tokens: float) -> float:
    """η = 1.79·N^-0.713·D^0.307 (arXiv 2503.04715, eq. 1)."""
    return float(1.79 * params**-0.713 * tokens**0.307)


def step_law_batch(tokens: float) -> float:
    """B = 0.58·D^0.571 tokens (arXiv 2503.04715, eq. 1)."""
    return float(0.58 * tokens**0.571)


def deepseek(params: float, tokens: float) -> float:
    """η = 0.3118·C^-0.125 (arXiv 2401.02954, eq. 1)."""
    return float(0.3118 * (FLOPS_PER_PARAM_TOKEN * params * tokens) ** -0.125)


def deepseek_batch(params: float, tokens: float) -> float:
    """B = 0.2920·C^0.3271 tokens (arXiv 2401.02954, eq. 1)."""
    return float(0.2920 * (FLOPS_PER_PARAM_TOKEN * params * tokens) ** 0.3271)


def porian(params: float) -> float:
    """η = 3.7·N^-0.36 along a fixed D/N (arXiv 2406.19146)."""
    return float(3.7 * params**-0.36)


def porian_batch(params: float) -> float:
    """B = 0.7576·N^0.703 tokens along a fixed D/N (arXiv 2406.19146)."""
    return float(0.7576 * params**0.703)


def kaplan(params: float) -> float | None:
    """η = 0.003239 − 0.0001395·ln N (arXiv 2001.08361, eq. D.1); None from N = 1.2e10, where it passes zero."""
    rate = 0.003239 - 0.0001395 * math.log(params)
    return rate if rate > 0 else None


def joint_moe(params_active: float, experts: float = 1.0) -> float:
    """η = exp(8.39 − 0.81 ln N_active − 0.25 ln E) (arXiv 2502.05172)."""
    return math.exp(8.39 - 0.81 * math.log(params_active) - 0.25 * math.log(experts))


def bjorck_ratio(params_ratio: float, tokens_ratio: float) -> float:
    """η ratio = (N/N0)^-0.23·(D/D0)^-0.32 at a fixed batch (arXiv 2409.19913)."""
    return float(params_ratio**-0.23 * tokens_ratio**-0.32)


def power_scheduler(sequences: float, tokens: float) -> float:
    """η = 4.6·(sequences per batch)·T^-0.51, muP and warmup-stable-decay, base-width units (arXiv 2408.13359)."""
    return float(4.6 * sequences * tokens**-0.51)


def zhou(params: float, tokens: float) -> float:
    """η = 38.4588·N^-0.2219·D^-0.3509 (arXiv 2601.05049, eq. 6); a ratio unless the units are its authors'."""
    return float(38.4588 * params**-0.2219 * tokens**-0.3509)


LAWS: Final = (
    PublishedLaw(
        name="Step Law",
        source="arXiv 2503.04715",
        applies="N without embeddings (mixture of experts: total), cosine decay to a fixed 1e-5, "
        "at its own best batch 0.58·D^0.571",
        rate=lambda params, tokens, _: step_law(params, tokens),
    ),
    PublishedLaw(
        name="DeepSeek",
        source="arXiv 2401.02954",
        applies="C from non-embedding FLOPs, multi-step decay, at its own best batch 0.2920·C^0.3271",
        rate=lambda params, tokens, _: deepseek(params, tokens),
    ),
    PublishedLaw(
        name="Porian",
        source="arXiv 2406.19146",
        applies="compute-optimal runs along a fixed D/N, at its own best batch 0.7576·N^0.703",
        rate=lambda params, _tokens, _batch: porian(params),
    ),
    PublishedLaw(
        name="Kaplan",
        source="arXiv 2001.08361",
        applies="early GPT-2-like models, a batch of 0.5 M tokens; no tokens in it, zero at N = 1.2e10",
        rate=lambda params, _tokens, _batch: kaplan(params),
    ),
    PublishedLaw(
        name="Joint MoE",
        source="arXiv 2502.05172",
        applies="active parameters, one expert assumed here; no tokens in it",
        rate=lambda params, _tokens, _batch: joint_moe(params),
        of_experts=True,
    ),
    PublishedLaw(
        name="Bjorck",
        source="arXiv 2409.19913",
        applies="a fixed batch; a ratio from the sweep's own optimum",
        rate=lambda params, tokens, _: bjorck_ratio(params, tokens),
        ratio_only=True,
    ),
    PublishedLaw(
        name="Power Scheduler",
        source="arXiv 2408.13359",
        applies="muP and warmup-stable-decay in base-width units, linear in the batch; "
        "a ratio from the sweep's own optimum at one width",
        rate=lambda _params, tokens, batch: power_scheduler(batch, tokens),
        ratio_only=True,
        of_mup=True,
    ),
    PublishedLaw(
        name="Zhou",
        source="arXiv 2601.05049",
        applies="mixture of experts, warmup-stable-decay, validation loss; a ratio from the sweep's own optimum",
        rate=lambda params, tokens, _: zhou(params, tokens),
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
        learning_rate = law.rate(target.params, target.tokens, target.batch_tokens)
        if learning_rate is not None and start is not None:
            base = law.rate(start.params, start.tokens, start.batch_tokens)
            learning_rate = None if base is None else start.learning_rate * learning_rate / base
        if learning_rate is not None:
            found.append(
                PublishedOptimum(
                    law=law.name,
                    learning_rate=learning_rate,
                    source=law.source,
                    applies=law.applies,
                    anchor=start,
                )
            )
    return found
