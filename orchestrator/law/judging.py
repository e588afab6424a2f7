"""What a law says of cells that it has not seen, and what that would have cost there."""

import numpy as np

from orchestrator.law.bowl import Z95, Bowl
from orchestrator.law.cells import CLOSE
from orchestrator.law.heldout import HeldOutCell, excess_loss
from orchestrator.law.law import Law
from orchestrator.law.observations import Array, Observations
from orchestrator.law.status import BowlStatus


def judge(rest: Law, law: Law, wanted: Observations) -> tuple[HeldOutCell, ...]:
    """The cells of `wanted` that have a minimum and that `rest` has not seen.

    Args:
        rest: A law fitted without `wanted`.
        law: The law of all runs, whose bowls say where the minima are.
        wanted: The runs held out.
    """
    seen = {place(bowl) for bowl in rest.bowls}
    bowls = [bowl for bowl in law.bowls if bowl.status is BowlStatus.INTERIOR and place(bowl) not in seen]
    if not bowls:
        return ()
    mean, sd = rest.optimum(*np.array([place(bowl) for bowl in bowls]).T)
    lost = [cost(law, bowl, wanted, at) for bowl, at in zip(bowls, mean.tolist(), strict=True)]
    ends = np.exp(mean + Z95 * sd * np.array([[-1.0], [1.0]]))
    return tuple(
        HeldOutCell(
            params=bowl.params,
            tokens=bowl.tokens,
            batch_tokens=bowl.batch_tokens,
            learning_rate=float(np.exp(mean[at])),
            low=float(ends[0, at]),
            high=float(ends[1, at]),
            measured=bowl.learning_rate,
            excess_loss=lost[at],
        )
        for at, bowl in enumerate(bowls)
    )


def cost(law: Law, bowl: Bowl, runs: Observations, at: float) -> float:
    """Excess loss of ln η = `at` in a cell: between the recorded rates by them, outside by the law's own bowl."""
    own = np.isfinite(runs.loss)
    for name in ("params", "tokens", "batch_tokens"):
        own &= np.isclose(getattr(runs, name), getattr(bowl, name), rtol=CLOSE)
    lost = excess_loss(np.log(runs.learning_rate[own]), runs.loss[own], at)
    if lost is not None:
        return lost
    where: list[Array] = [np.array([value]) for value in place(bowl)]
    return float(law.excess_loss(where[0], where[1], where[2], np.exp(np.array([at])))[0])


def place(bowl: Bowl) -> tuple[float, float, float]:
    """N, D and B of a bowl's cell."""
    return bowl.params, bowl.tokens, bowl.batch_tokens
