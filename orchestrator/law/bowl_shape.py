"""The shape that all bowls share: convex, and steeper above its bottom than below by a fitted asymmetry.

    g(u) = (2 / a²)(e^{a u} − 1 − a u) = u² + a u³ / 3 + …,    u = ln η − ln η*

A quadratic at the bottom (a → 0 everywhere). A wrong a shifts the bottom, so a is fitted (joint.py). On recorded dense
runs a rate twice too high costs more than one twice too low: a ≈ 0.7.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from orchestrator.law.observations import Array

FARTHEST = 12.0  # |u| is clipped here: no recorded rate is further off, and exp would overflow
TYPICAL = 0.7  # a of recorded dense runs
BISECTIONS = 40
LEAST = 1e-3  # |a| below which the formulas lose digits and the shape is a quadratic within rounding


class Profile(NamedTuple):
    """g(u) and its derivatives by u and by a, of one shape."""

    rise: Array
    slope: Array
    bend: Array


def profile(u: Array, asymmetry: Array | float) -> Profile:
    """The bowl of unit curvature at distances u = ln η − ln η* from its bottom; the arguments broadcast."""
    a = apart_from_zero(asymmetry)
    v = a * np.clip(u, -FARTHEST, FARTHEST)
    grown = np.expm1(v)
    return Profile(
        rise=np.asarray((2 / a**2) * (grown - v)),
        slope=np.asarray((2 / a) * grown),
        bend=np.asarray((2 / a**3) * ((v - 2) * grown + 2 * v)),
    )


def rise(u: Array, asymmetry: Array | float = TYPICAL) -> Array:
    """The bowl g(u) of unit curvature at a distance u = ln η − ln η* from its bottom."""
    return profile(u, asymmetry).rise


def slope(u: Array, asymmetry: Array | float) -> Array:
    """The derivative g'(u)."""
    return profile(u, asymmetry).slope


def expected_rise(u: Array, variance: Array, asymmetry: float) -> Array:
    """E g(u + ε) for ε ~ N(0, variance): the expected rise when the bottom is uncertain."""
    a = apart_from_zero(asymmetry)
    v = a * np.clip(u, -FARTHEST, FARTHEST)
    lift = a**2 * np.minimum(variance, FARTHEST) / 2
    return np.asarray((2 / a**2) * (np.expm1(v + lift) - v))


def apart_from_zero(asymmetry: Array | float) -> Array:
    """The asymmetry, or the nearest value at which the formulas keep their digits."""
    return np.asarray(np.where(np.abs(asymmetry) < LEAST, np.copysign(LEAST, asymmetry), asymmetry))


def half_widths(height: Array, asymmetry: float) -> tuple[Array, Array]:
    """The distances u below and above the bottom within which g(u) ≤ height.

    Args:
        height: Allowed rise in units of the curvature, >= 0, any shape.
        asymmetry: The shape's a.

    Returns:
        (low <= 0, high >= 0).
    """
    a = float(apart_from_zero(asymmetry))
    root = np.sqrt(height)
    far = 3 if a > 0 else 1
    low, high = -far * root, (4 - far) * root
    for _ in range(6):  # g is convex: Newton from outside converges monotonically
        low = low - newton(low, height, a)
        high = high - newton(high, height, a)
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def newton(u: Array, height: Array, asymmetry: float) -> Array:
    """A step towards g(u) = height."""
    at = profile(u, asymmetry)
    safe = np.copysign(np.maximum(np.abs(at.slope), 1e-12), at.slope)
    return np.asarray((at.rise - height) / safe)


def likely_within(low: Array, high: Array, sd: Array, chance: float) -> tuple[Array, Array]:
    """The distances u from the expected bottom at which u + ε lies between `low` and `high` with probability `chance`.

    Args:
        low: Lower end, <= 0, shape [m].
        high: Upper end, >= 0, shape [m].
        sd: Of ε ~ N(0, sd²), the error of the bottom, shape [m].
        chance: The probability.

    Returns:
        The lowest and the highest such u, shape [m] each; both 0 if there is none.
    """
    inside = middle = (low + high) / 2  # where the probability is largest
    outside = high
    safe = np.maximum(sd, np.finfo(np.float64).tiny)
    for _ in range(BISECTIONS):
        half = (inside + outside) / 2
        enough = ndtr((high - half) / safe) - ndtr((low - half) / safe) >= chance
        inside, outside = np.where(enough, half, inside), np.where(enough, outside, half)
    some = ndtr((high - middle) / safe) - ndtr((low - middle) / safe) >= chance
    above, below = np.where(some, inside, 0.0), np.where(some, 2 * middle - inside, 0.0)
    return np.minimum(below, 0.0), np.maximum(above, 0.0)
