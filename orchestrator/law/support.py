"""What the runs can tell apart and what they cannot: the sentences that go with a law and with a prediction."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from orchestrator.law.bowl import Bowl
from orchestrator.law.cells import SAME
from orchestrator.law.observations import Array, Target
from orchestrator.law.status import BowlStatus

AXES = ("params", "tokens", "batch_tokens")
SYMBOLS = ("N", "D", "B")
TIED = 0.95  # R² of one logarithm on another from which they are called tied
FAR = 30.0  # extrapolation beyond this is named
FEW_BOWLS = 3
BENT = 2.0  # a drift of an exponent in N or D of so many standard deviations is named


def tie_warnings(coordinates: Array) -> list[str]:
    """Names the axes that never vary apart in the cells (ln N, ln D, ln B), shape [cells, 3]."""
    spread = np.ptp(coordinates, axis=0)
    varying = [axis for axis in range(3) if spread[axis] > 10 * SAME]
    found = [
        f"{AXES[one]} is tied to {AXES[other]} in these runs ({SYMBOLS[one]} ∝ {SYMBOLS[other]}^{power:.2g}, "
        f"R² {r2:.3f}): the runs cannot tell their exponents apart, priors do. "
        f"Runs where {AXES[one]} and {AXES[other]} vary apart would settle it."
        for other, one in permutations(varying, 2)
        if other < one
        for power, r2 in [regress(coordinates[:, [other]], coordinates[:, one])]
        if r2 > TIED
    ]
    if not found and len(varying) == 3:
        _, r2 = regress(coordinates[:, :2], coordinates[:, 2])
        if r2 > TIED:
            found.append(
                f"batch_tokens is tied to params and tokens together in these runs (R² {r2:.3f}): the runs cannot tell "
                "its exponent from theirs, priors do. Runs at another batch_tokens would settle it."
            )
    return found


def regress(rows: Array, values: Array) -> tuple[float, float]:
    """Slope on the first column and R² of a least-squares line."""
    centred = rows - rows.mean(axis=0)
    left = values - values.mean()
    slopes = np.linalg.lstsq(centred, left, rcond=None)[0]
    residual = left - centred @ slopes
    return float(slopes[0]), float(1 - (residual @ residual) / (left @ left))


def single_warnings(coordinates: Array) -> list[str]:
    """Names the axes that take one value only."""
    return [
        f"All runs have {name}={np.exp(coordinates[0, axis]):.4g}: how the rate moves with {name} is a prior's, not these runs'."
        for axis, name in enumerate(AXES)
        if np.ptp(coordinates[:, axis]) <= 10 * SAME
    ]


def bowl_warnings(bowls: Sequence[Bowl]) -> list[str]:
    """Names what the bowls lack."""
    interior = sum(bowl.status is BowlStatus.INTERIOR for bowl in bowls)
    low = sum(bowl.status is BowlStatus.EDGE_LOW for bowl in bowls)
    high = sum(bowl.status is BowlStatus.EDGE_HIGH for bowl in bowls)
    found = []
    if interior < FEW_BOWLS:
        found.append(
            f"Only {interior} of {len(bowls)} cells show a minimum with a rise on both sides; "
            "most of this law is its priors."
        )
    if low + high > 0.2 * len(bowls):
        found.append(
            f"{low} of {len(bowls)} cells have their best run at the lowest rate tried and {high} at the highest: "
            "bounds, not minima. Widen the learning rates there."
        )
    return found


def bend_warnings(names: Sequence[str], values: Array, sds: Array) -> list[str]:
    """Names exponents of N or D that drift with N or D by more than chance."""
    bends = {"(ln N)²": "params", "(ln D)²": "tokens", "ln N·ln D": "params and tokens"}
    return [
        f"ln η* curves in {bends[name]} ({name}: {value:+.3f} ± {sd:.3f}): a straight power law does not hold, "
        "so extrapolate little."
        for name, value, sd in zip(names, values, sds, strict=True)
        if name in bends and abs(value) > BENT * sd
    ]


def ratios(target: Target, smallest: Array, largest: Array) -> tuple[dict[str, float], Array]:
    """How far a target lies from the runs.

    Returns:
        (target over the largest value tried per axis, how many times outside the tried range, >= 1, shape [3]).
    """
    place = np.array([target.params, target.tokens, target.batch_tokens])
    outside = np.maximum(np.maximum(place / largest, smallest / place), 1.0)
    return dict(zip(AXES, (place / largest).tolist(), strict=True)), outside


def far_warnings(target: Target, smallest: Array, largest: Array) -> list[str]:
    """Names the axes along which the target lies more than 30 times outside the runs."""
    _, outside = ratios(target, smallest, largest)
    return [
        f"{name}={getattr(target, name):.4g} is {outside[axis]:.3g} times outside the runs "
        f"({smallest[axis]:.4g} to {largest[axis]:.4g}); beyond 30 times no law of this kind has been checked."
        for axis, name in enumerate(AXES)
        if outside[axis] > FAR
    ]


def causes(target: Target, smallest: Array, largest: Array, prior_axes: Sequence[str]) -> tuple[str, str]:
    """Why an interval is too wide, and what would narrow it."""
    _, outside = ratios(target, smallest, largest)
    found = []
    for axis, name in enumerate(AXES):
        if outside[axis] < 1.05:
            continue
        if largest[axis] / smallest[axis] < 1 + 10 * SAME:
            found.append(
                f"its {name} is {outside[axis]:.3g} times from the only {name} tried ({largest[axis]:.4g})"
            )
        else:
            by_prior = ", and the exponent is a prior's" if name in prior_axes else ""
            found.append(f"its {name} is {outside[axis]:.3g} times outside what was tried{by_prior}")
    if not found:
        return "the runs are too few or too noisy to place the optimum", ", or more rates round the optimum"
    return " and ".join(found), ", or at other values of " + " and ".join(
        name for axis, name in enumerate(AXES) if outside[axis] >= 1.05
    )
