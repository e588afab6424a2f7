"""How a law is written down: its coefficients, and the point they hold at."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from orchestrator.law.observations import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One coefficient of ln η*, at the reference point.

    Attributes:
        name: "1", "ln N", "ln D", "ln B", "ln D·ln B", …
        value, sd: Posterior mean and standard deviation.
        prior_sd: Standard deviation of its prior.
        from_prior: Whether the runs hardly moved it.
    """

    name: str
    value: float
    sd: float
    prior_sd: float
    from_prior: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The point whose logarithms n, d, b count from: the geometric mean of the cells."""

    params: float
    tokens: float
    batch_tokens: float

    @classmethod
    def amid(cls, coordinates: Array) -> Self:
        """The geometric mean of cells, given their (ln N, ln D, ln B), shape [cells, 3]."""
        params, tokens, batch_tokens = np.exp(coordinates.mean(axis=0)).tolist()
        return cls(params=params, tokens=tokens, batch_tokens=batch_tokens)

    def points(self, params: Array, tokens: Array, batch_tokens: Array) -> Array:
        """(n, d, b) of cells, shape [m, 3]."""
        place = np.column_stack(np.broadcast_arrays(*map(np.atleast_1d, (params, tokens, batch_tokens))))
        return np.log(place.astype(np.float64)) - np.log([self.params, self.tokens, self.batch_tokens])
