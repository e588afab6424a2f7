"""When a member counts as diverged.

A loss above the corpus's unigram entropy is worse than knowing no context at all, but it is not enough:
every fresh model begins there, and one with a very low rate honestly stays there for long. So a member
above that entropy must besides have got clearly worse than it already was; or, once its loss is annealed,
have had ample room to learn. AdamW moves a weight by at most about its rate in one step, so the sum of the
rates bounds how far any weight has travelled, and weights start at one or less: whoever has travelled
several times that and ends worse than the unigram was not slow but lost.
"""

from math import isfinite

GRACE_STEPS = 64
"""Steps after the warm-up in which only a loss that is not finite counts: high rates often stumble and recover."""

RISE = 0.5
"""Nats above its own best that count as clearly worse; many times the noise of a smoothed loss."""

TRAVEL = 4.0
"""Sum of learning rates after which no member is merely slow; healthy ones need a hundredth to a tenth of it."""


def reason_for_divergence(
    loss: float, best: float, travel: float | None, unigram_entropy: float
) -> str | None:
    """Why a member that has passed its warm-up is diverged, or None.

    Args:
        loss: Its smoothed training loss, or its loss on held-out text, in nats per token.
        best: The lowest that its smoothed training loss has been.
        travel: Sum of the learning rates of all its steps if the loss is an annealed one, else None.
        unigram_entropy: The corpus's, in nats per token.
    """
    if not isfinite(loss):
        return "the loss is not finite"
    if loss <= unigram_entropy:
        return None
    if loss > best + RISE:
        return f"the loss rose from {best:.3f} to {loss:.3f} nats, above the corpus's unigram entropy of {unigram_entropy:.3f}"
    if travel is not None and travel > TRAVEL:
        return f"the loss after the decay is {loss:.3f} nats, above the corpus's unigram entropy of {unigram_entropy:.3f}"
    return None
