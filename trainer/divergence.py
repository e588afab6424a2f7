"""When a member counts as diverged.

A loss above the corpus's unigram entropy is worse than knowing no context at all, but it is not enough:
every fresh model begins there, and one with a very low rate honestly stays there for long. So after the
warm-up a member above that entropy must also have either got clearly worse than it already was, or had
ample room to learn. AdamW moves a weight by at most about its rate in one step, so the sum of the rates
bounds how far any weight has travelled, and weights start at one or less: whoever has travelled several
times that and still does worse than the unigram is not slow but lost.
"""

from math import isfinite

RISE = 0.5
"""Nats above its own best interval that count as clearly worse; several times the noise of an interval."""

TRAVEL = 4.0
"""Sum of learning rates after which no member is merely slow."""


def reason_for_divergence(loss: float, best: float, travel: float, unigram_entropy: float) -> str | None:
    """Why a member that has passed its warm-up is diverged, or None.

    Args:
        loss: Its mean loss over an interval, or on held-out text, in nats per token.
        best: Its lowest interval mean so far.
        travel: Sum of the learning rates of all its steps.
        unigram_entropy: The corpus's, in nats per token.
    """
    if not isfinite(loss):
        return "the loss is not finite"
    if loss <= unigram_entropy:
        return None
    if loss > best + RISE:
        return f"the loss rose from {best:.3f} to {loss:.3f} nats, above the corpus's unigram entropy of {unigram_entropy:.3f}"
    if travel > TRAVEL:
        return (
            f"the loss is still {loss:.3f} nats, above the corpus's unigram entropy of {unigram_entropy:.3f}"
        )
    return None
