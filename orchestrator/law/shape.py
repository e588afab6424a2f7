"""The shape that all bowls share: convex, and steeper above its bottom than below.

    g(u) = (2 / a²)(e^{a u} − 1 − a u) = u² + a u³ / 3 + …,    u = ln η − ln η*

A quadratic at the bottom (a → 0 everywhere). On recorded dense runs a rate twice too high costs more than one
twice too low, and a ≈ 0.8 describes both sides; a quadratic moves the bottom of a lopsided bowl.
"""

import numpy as np

from orchestrator.law.observations import Array

ASYMMETRY = 0.8
FARTHEST = 12.0  # |u| beyond which the shape is not evaluated: no recorded rate is e^12 off, overflow is


def rise(u: Array, asymmetry: float = ASYMMETRY) -> Array:
    """The bowl g(u) of unit curvature at a distance u = ln η − ln η* from its bottom."""
    v = asymmetry * np.clip(u, -FARTHEST, FARTHEST)
    return np.asarray((2 / asymmetry**2) * (np.expm1(v) - v))


def slope(u: Array, asymmetry: float = ASYMMETRY) -> Array:
    """The derivative g'(u)."""
    return np.asarray((2 / asymmetry) * np.expm1(asymmetry * np.clip(u, -FARTHEST, FARTHEST)))


def expected_rise(u: Array, variance: Array, asymmetry: float = ASYMMETRY) -> Array:
    """E g(u + ε) for ε ~ N(0, variance): what a rate costs on average when the bottom is uncertain."""
    v = asymmetry * np.clip(u, -FARTHEST, FARTHEST)
    lift = asymmetry**2 * np.minimum(variance, FARTHEST) / 2
    return np.asarray((2 / asymmetry**2) * (np.exp(v + lift) - 1 - v))


def half_widths(height: Array, variance: Array, asymmetry: float = ASYMMETRY) -> tuple[Array, Array]:
    """The distances u below and above the bottom within which E g(u + ε) ≤ height.

    Args:
        height: Allowed rise in units of the curvature, >= 0, any shape.
        variance: Variance of ln η*, same shape.
        asymmetry: The shape's a.

    Returns:
        (low <= 0, high >= 0); both 0 where no rate stays below the height.
    """
    best = -asymmetry * variance / 2  # where the expected rise is least
    floor = expected_rise(best, variance, asymmetry)
    reach = np.sqrt(np.maximum(height - floor, 0.0))
    low, high = best - 3 * reach, best + reach
    for _ in range(6):  # g is convex: Newton from outside converges monotonically
        gradient = slope(low, asymmetry) + (2 / asymmetry) * np.exp(asymmetry * low) * np.expm1(
            asymmetry**2 * variance / 2
        )
        low = low - np.where(
            reach > 0, (expected_rise(low, variance, asymmetry) - height) / np.minimum(gradient, -1e-12), 0
        )
        gradient = slope(high, asymmetry) + (2 / asymmetry) * np.exp(asymmetry * high) * np.expm1(
            asymmetry**2 * variance / 2
        )
        high = high - np.where(
            reach > 0, (expected_rise(high, variance, asymmetry) - height) / np.maximum(gradient, 1e-12), 0
        )
    open_ = height > floor
    return np.where(open_, np.minimum(low, 0.0), 0.0), np.where(open_, np.maximum(high, 0.0), 0.0)
