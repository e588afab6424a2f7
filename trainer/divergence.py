"""The test for divergence.

A loss above the corpus's unigram entropy is worse than a prediction without any context. That alone does not prove a
divergence: a fresh model starts there, and a very low learning rate stays there for long. A member above that entropy
counts as diverged only if its loss has clearly risen from its own best, or if it is annealed and had room to learn:
AdamW moves a weight by at most about the learning rate in one step, so the sum of the rates bounds the distance that
any weight has moved, and weights start at one or less. Above `TRAVEL` times that, a member was not slow but unstable.

The training loss decides. A held-out loss alone is no evidence: it may rise through overfitting, and lie above the
entropy because that text differs. It counts if it is not finite, and if it is below the smoothed training loss, which
just after the decay still includes steps at higher rates.
"""

from math import fsum, isfinite

from trainer.schedule import Timetable

GRACE_STEPS = 64
"""Steps after the warm-up in which only a loss that is not finite counts: high rates often recover from a rise."""

RISE = 0.5
"""Nats above its own best loss that count as clearly worse; many times the noise of a smoothed loss."""

TRAVEL = 4.0
"""Sum of learning rates above which slow learning is ruled out; stable members need a hundredth to a tenth of it.

Under `mup` the rates are those of the base: the hidden matrices of wider members move less, all others as much.
"""


def travel(timetable: Timetable, horizon: int, learning_rate: float) -> float:
    """Sum of the learning rates of all steps of a run, from the first to the end of its decay.

    Args:
        timetable: The schedule in steps.
        horizon: Tokens of the run.
        learning_rate: Peak learning rate.
    """
    warmup, fork = timetable.warmup_steps, timetable.fork(horizon)
    rise = (warmup + 1) / 2 if warmup else 0.0
    decay = fsum(timetable.multiplier(step, horizon) for step in range(fork, timetable.end(horizon)))
    return learning_rate * (rise + fork - warmup + decay)


def judged_loss(smoothed: float, heldout: float) -> float:
    """The loss to test for divergence after an evaluation, in nats per token.

    Args:
        smoothed: Smoothed training loss; infinite before the first logging interval ends.
        heldout: Loss on held-out text.
    """
    return min(smoothed, heldout) if isfinite(heldout) else heldout


def find_divergence(loss: float, best: float, travel: float | None, unigram_entropy: float) -> str | None:
    """Tests a member that has passed its warm-up.

    Args:
        loss: Its smoothed training loss, or its `judged_loss`, in nats per token.
        best: The lowest value that its smoothed training loss has had.
        travel: Sum of the learning rates of all its steps if the loss is annealed, else None.
        unigram_entropy: That of the training text, in nats per token.

    Returns:
        How it has diverged, as a sentence without its full stop; None if it has not.
    """
    above = f"above the corpus's unigram entropy of {unigram_entropy:.3f}"
    if not isfinite(loss):
        return "the loss is not finite"
    if loss <= unigram_entropy:
        return None
    if loss > best + RISE:
        return f"the loss rose from {best:.3f} to {loss:.3f} nats, {above}"
    if travel is not None and travel > TRAVEL:
        return f"the loss after the decay is {loss:.3f} nats, {above}"
    return None
