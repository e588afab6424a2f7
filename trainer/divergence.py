"""When a member counts as diverged.

A loss above the corpus's unigram entropy is worse than knowing no context at all, but it is not enough:
every fresh model begins there, and one with a very low rate honestly stays there for long. So a member
above that entropy must besides have got clearly worse than it already was; or, once its loss is annealed,
have had ample room to learn. AdamW moves a weight by at most about its rate in one step, so the sum of the
rates bounds how far any weight has travelled, and weights start at one or less: whoever has travelled
several times that and ends worse than the unigram was not slow but lost.

All of this is judged on the text trained on. A loss on held-out text alone is no sign: it may rise because the member
overfits, and lie above the entropy because that text differs. It only counts where it is not finite, and where it is
the lower of the two: just after the decay the smoothed training loss still remembers higher rates.
"""

from math import fsum, isfinite

from trainer.schedule import Timetable

GRACE_STEPS = 64
"""Steps after the warm-up in which only a loss that is not finite counts: high rates often stumble and recover."""

RISE = 0.5
"""Nats above its own best that count as clearly worse; many times the noise of a smoothed loss."""

TRAVEL = 4.0
"""Sum of learning rates after which no member is merely slow; healthy ones need a hundredth to a tenth of it.

Under `mup` the rates are the base's: wider members travel less in their hidden matrices, and as much in the rest.
"""


def travel(timetable: Timetable, horizon: int, learning_rate: float) -> float:
    """Sum of the learning rates of all steps of a run, from the first to the end of its decay.

    Args:
        timetable: The schedule in steps.
        horizon: Tokens of the run.
        learning_rate: Its peak.
    """
    warmup, fork = timetable.warmup_steps, timetable.fork(horizon)
    rise = (warmup + 1) / 2 if warmup else 0.0
    decay = fsum(timetable.multiplier(step, horizon) for step in range(fork, timetable.end(horizon)))
    return learning_rate * (rise + fork - warmup + decay)


def judged_loss(smoothed: float, heldout: float) -> float:
    """The loss that a member is judged by where its loss on held-out text is known, in nats per token.

    Args:
        smoothed: Its smoothed training loss; infinite before it is first known.
        heldout: Its loss on held-out text.
    """
    return min(smoothed, heldout) if isfinite(heldout) else heldout


def reason_for_divergence(
    loss: float, best: float, travel: float | None, unigram_entropy: float
) -> str | None:
    """Why a member that has passed its warm-up is diverged, or None.

    Args:
        loss: Its smoothed training loss, or its `judged_loss`, in nats per token.
        best: The lowest that its smoothed training loss has been.
        travel: Sum of the learning rates of all its steps if the loss is an annealed one, else None.
        unigram_entropy: That of the text trained on, in nats per token.
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
