"""A law: η*(N, D, B) with its uncertainty, and what it answers. Immutable; it needs no runs to predict."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy.spatial import KDTree
from scipy.special import ndtri

from orchestrator.amounts import count
from orchestrator.law import document, identifiability
from orchestrator.law.bowl import Z95, Bowl
from orchestrator.law.effects import Effects
from orchestrator.law.features import FEATURES, matrix, prior_sds
from orchestrator.law.grouped_runs import CLOSE, Index
from orchestrator.law.heldout import HeldOut
from orchestrator.law.horizon import HorizonLaw, fit_horizons
from orchestrator.law.notices import Notice, messages
from orchestrator.law.observations import Array
from orchestrator.law.point import Point
from orchestrator.law.prediction import Prediction
from orchestrator.law.published import Anchor
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.scales import PRIOR, Scales
from orchestrator.law.shape import expected_rise, half_widths, likely_within, rise
from orchestrator.law.status import BowlStatus
from orchestrator.law.surface import Surface
from orchestrator.law.terms import Coefficient, Reference

VALLEY = float(np.log(1.001))  # ln of the excess loss that a valley allows
VALLEY_PROBABILITY = 0.8  # probability with which a rate in the valley loses no more
MOSTLY_PRIOR = 0.6  # sd of a coefficient over its prior's, above which it is called the prior's
UNKNOWN = 100.0  # beyond it an interval's width says no more
WIDEST = 3.0  # a 95 % interval wider than ×/÷ this is refused
LOSS_SD = 0.03  # sd of ln loss above which no loss is told
CURVATURE_TERMS = 4
OPTIMUM = slice(CURVATURE_TERMS, -1)  # where (θ, w) stand in the pooled unknowns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """A fitted law.

    Attributes:
        reference: Where n, d and b are zero.
        pooled: Posterior mean of (κ | θ, w | a): ln curvature, features and random effects, asymmetry, shape [q].
        pooled_covariance: Its covariance, shape [q, q].
        effects: The basis of the random effects.
        scales: The sizes of noise and of random effects.
        surface: ln L_min over (n, d, b).
        smallest, largest: Extremes of (N, D, B) among the runs, shape [3].
        bowls: One per cell.
        heldout: Held-out error, or None.
        heldout_reason: Why there is none.
        without: Names of the terms that are left out.
        notices: What the user should know, whatever the target.
        fingerprint: sha256 over the sorted runs and the options.
        runs: How many runs were given.
    """

    reference: Reference
    pooled: Array
    pooled_covariance: Array
    effects: Effects
    scales: Scales
    surface: Surface
    smallest: Array
    largest: Array
    bowls: tuple[Bowl, ...]
    heldout: HeldOut | None
    notices: tuple[Notice, ...]
    fingerprint: str
    runs: int
    heldout_reason: str | None = None
    without: tuple[str, ...] = ()
    known: KDTree = field(init=False)

    def __post_init__(self) -> None:
        cells = [(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in self.bowls]
        object.__setattr__(self, "known", KDTree(np.log(cells)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of the notices."""
        return messages(self.notices)

    @property
    def noise(self) -> float:
        """Standard deviation of ln loss between equal runs at the bottom of a bowl."""
        return self.scales.noise

    @property
    def asymmetry(self) -> float:
        """How much steeper the bowls are above their bottoms than below: a of shape.py."""
        return float(self.pooled[-1])

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The law's terms at the reference point."""
        at = slice(CURVATURE_TERMS, CURVATURE_TERMS + len(FEATURES))
        sds = np.sqrt(np.diag(self.pooled_covariance)[at])
        prior = prior_sds(self.scales.drift, self.without).tolist()
        return tuple(
            Coefficient(
                name=feature.name,
                value=float(value),
                sd=float(sd),
                prior_sd=float(prior_sd),
                from_prior=bool(sd > MOSTLY_PRIOR * prior_sd),
            )
            for feature, value, sd, prior_sd in zip(FEATURES, self.pooled[at], sds, prior, strict=True)
        )

    @property
    def covariance(self) -> Array:
        """Covariance of the coefficients, in their order."""
        at = slice(CURVATURE_TERMS, CURVATURE_TERMS + len(FEATURES))
        return self.pooled_covariance[at, at]

    def band(self, params: Array, tokens: Array, batch_tokens: Array) -> tuple[Array, Array]:
        """Confidence band: mean and sd of ln η* as the law knows it, without what a new cell adds, shape [m] each."""
        return self._pooled_optimum(self.reference.points(params, tokens, batch_tokens))[:2]

    def prediction_band(self, params: Array, tokens: Array, batch_tokens: Array) -> tuple[Array, Array]:
        """Prediction band: mean and sd of the ln η* that cells will show, random effects included, shape [m] each."""
        mean, sd, outside = self._pooled_optimum(self.reference.points(params, tokens, batch_tokens))
        return mean, np.sqrt(sd**2 + outside)

    def optimum(self, params: Array, tokens: Array, batch_tokens: Array) -> tuple[Array, Array]:
        """Mean and sd of ln η*: the prediction band, and in a cell that has runs also what they say, shape [m] each."""
        mean, sd = self.prediction_band(params, tokens, batch_tokens)
        rows, bowls = self.known_cells(params, tokens, batch_tokens)
        mean[rows] = np.log([self.bowls[bowl].law_learning_rate for bowl in bowls])
        sd[rows] = [self.bowls[bowl].law_sd for bowl in bowls]
        return mean, sd

    def known_cells(self, params: Array, tokens: Array, batch_tokens: Array) -> tuple[Index, Index]:
        """Which of these cells have runs, and the numbers of their bowls, shape [known] each."""
        places = np.column_stack(np.broadcast_arrays(*map(np.atleast_1d, (params, tokens, batch_tokens))))
        apart, nearest = self.known.query(np.log(places), p=np.inf, distance_upper_bound=CLOSE)
        rows = np.flatnonzero(np.isfinite(apart))
        return rows, nearest[rows]

    def bend(self, axis: int, *, beyond_critical: bool = False) -> tuple[float, float]:
        """How far ln η* lies from a straight line at the ends of the cells along N or D (0, 1): the quadratic part.

        Of the law's values in its cells, the other axes' powers taken out. Sizes and pairs scatter a little in any
        recipe: what such shifts make up is no bend.

        Args:
            axis: Which logarithm.
            beyond_critical: Take out the bend at the critical batch too, which the law knows (features.py).

        Returns:
            (by how much the ends lie above the line through the middle, its standard deviation; infinite where the
            cells have fewer than three values of the axis).
        """
        points = self.reference.points(
            *np.array([(b.params, b.tokens, b.batch_tokens) for b in self.bowls]).T
        )
        if np.unique(np.round(points[:, axis], 2)).size < 3:
            return 0.0, np.inf
        _, rows, _ = self.rows(points)
        known = [at for at, feature in enumerate(FEATURES) if feature.name in {"s", "w²"} and beyond_critical]
        design = np.column_stack([points[:, axis] ** 2, np.ones(len(points)), points, rows[:, known]])
        apart = np.linalg.pinv(design, rcond=1e-6)[0] @ rows * (np.ptp(points[:, axis]) / 2) ** 2
        sds = np.repeat([0.0, PRIOR.size, PRIOR.pair, 0.0], [len(FEATURES), *self.effects.counts])
        variance = apart @ self.pooled_covariance[OPTIMUM, OPTIMUM] @ apart + ((sds * apart) ** 2).sum()
        return float(apart @ self.pooled[OPTIMUM]), float(np.sqrt(variance))

    def curvature(self, params: Array, tokens: Array, batch_tokens: Array) -> Array:
        """C of ln L = ln L_min + C·(ln η − ln η*)² as the pool has it, shape [m]."""
        return self._curvature(self.reference.points(params, tokens, batch_tokens))

    def expected_loss(self, params: Array, tokens: Array, batch_tokens: Array, learning_rate: Array) -> Array:
        """The fitted L(N, D, B, η) in the table's unit; the arguments broadcast, shape [m]."""
        mean, _ = self.optimum(params, tokens, batch_tokens)
        points = self.reference.points(params, tokens, batch_tokens)
        u = np.log(learning_rate) - mean
        return np.asarray(
            np.exp(self.surface.at(points)[0] + self._curvature(points) * rise(u, self.asymmetry))
        )

    def excess_loss(self, params: Array, tokens: Array, batch_tokens: Array, learning_rate: Array) -> Array:
        """What a rate is expected to cost over the best one (0.001 is 0.1 %), the optimum's uncertainty included."""
        mean, sd = self.optimum(params, tokens, batch_tokens)
        height = self.curvature(params, tokens, batch_tokens) * expected_rise(
            np.log(learning_rate) - mean, sd**2, self.asymmetry
        )
        return np.asarray(np.expm1(height))

    def predict(self, target: Point, *, level: float = 0.95) -> Prediction:
        """The learning rate at a target.

        Args:
            target: The cell that is wanted.
            level: Of the interval, between 0.5 and 0.999.

        Raises:
            Refused: The 95 % interval passes ×/÷ 3.
            ValueError: `level` is outside its range.
        """
        if not 0.5 <= level <= 0.999:
            raise ValueError(f"level is {level}; it must lie between 0.5 and 0.999.")
        place = [np.array([value]) for value in (target.params, target.tokens, target.batch_tokens)]
        mean, sd = (float(value[0]) for value in self.optimum(*place))
        if sd * Z95 > np.log(WIDEST):
            self._refuse(target, float(np.exp(sd * Z95)))
        points = self.reference.points(*place)
        curvature = self._curvature(points)
        widths = half_widths(VALLEY / curvature, self.asymmetry)
        below, above = likely_within(*widths, np.array([sd]), VALLEY_PROBABILITY)
        reach = float(ndtri((1 + level) / 2)) * sd
        loss, loss_sd = self.surface.at(points)
        loss_known = float(loss_sd[0]) <= LOSS_SD
        lift = curvature * expected_rise(np.zeros(1), np.array([sd**2]), self.asymmetry)
        return Prediction(
            target=target,
            learning_rate=float(np.exp(mean)),
            low=float(np.exp(mean - reach)),
            high=float(np.exp(mean + reach)),
            level=level,
            valley_low=float(np.exp(mean + below[0])),
            valley_high=float(np.exp(mean + above[0])),
            expected_loss=float(np.exp(loss + lift)[0]) if loss_known else None,
            expected_loss_reason=None
            if loss_known
            else f"the loss there is only known within {100 * Z95 * float(loss_sd[0]):.2g} % (95 %)",
            extrapolation=identifiability.ratios(target, self.smallest, self.largest)[0],
            notices=(*self.notices, *self._target_notices(target, bool(above[0] == below[0]))),
        )

    def anchor(self, batch_tokens: float) -> Anchor:
        """What published ratio-only laws start from: they hold at one batch, most of them.

        Args:
            batch_tokens: B of the target.

        Returns:
            The optimum of the costliest cell with an interior minimum, of those whose batch is nearest to the target's.
        """
        interior = [bowl for bowl in self.bowls if bowl.status is BowlStatus.INTERIOR]
        apart = [round(abs(float(np.log(bowl.batch_tokens / batch_tokens))), 3) for bowl in interior]
        nearest = [bowl for bowl, far in zip(interior, apart, strict=True) if far == min(apart)]
        bowl = max(nearest, key=lambda b: (b.params * b.tokens, b.batch_tokens))
        return Anchor(
            params=bowl.params,
            tokens=bowl.tokens,
            batch_tokens=bowl.batch_tokens,
            learning_rate=bowl.law_learning_rate,
        )

    def horizons(self) -> dict[tuple[float, float], HorizonLaw]:
        """L(D) = L0 + A·D^−γ at the best rate, for every (params, batch_tokens) with minima at three horizons or more.

        Computed from the bowls when asked for: about 5 ms each.
        """
        return fit_horizons(self.bowls)

    def to_document(self) -> dict[str, Any]:
        """The law as nested dicts, lists, numbers and strings; `from_document` predicts exactly the same from it."""
        return document.describe(self)

    @classmethod
    def from_document(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_document`.

        Raises:
            OutdatedLaw: The document was written by a version of the law with other terms.
        """
        return cls(**document.parts(content))

    def rows(self, points: Array) -> tuple[Array, Array, Array]:
        """The pooled model at points (n, d, b), shape [m, 3].

        Returns:
            (rows of ln C on the first unknowns of `pooled`, rows of ln η* on the rest, the variance of ln η* that a
            cell adds of its own, shape [m]).
        """
        columns, missing = self.effects.matrix(points)
        outside = missing @ np.square([self.scales.size, self.scales.pair, self.scales.smooth])
        curvature = np.column_stack([np.ones(len(points)), points])
        return (
            curvature,
            np.column_stack([matrix(points, self.reference), columns]),
            outside + self.scales.cell**2,
        )

    def _pooled_optimum(self, points: Array) -> tuple[Array, Array, Array]:
        """Mean and sd of the pooled ln η*, and the variance that a new cell adds, shape [m] each."""
        _, rows, outside = self.rows(points)
        mean = rows @ self.pooled[OPTIMUM]
        block = self.pooled_covariance[OPTIMUM, OPTIMUM]
        return mean, np.sqrt(((rows @ block) * rows).sum(axis=1)), outside

    def _curvature(self, points: Array) -> Array:
        rows = np.column_stack([np.ones(len(points)), points])
        return np.asarray(np.exp(rows @ self.pooled[:CURVATURE_TERMS]))

    def _used(self) -> Array:
        """(N, D, B) of the cells in the range that the law rests on, shape [m, 3]."""
        places = np.array([(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in self.bowls])
        return np.asarray(places[((places >= self.smallest) & (places <= self.largest)).all(axis=1)])

    def _prior_axes(self) -> list[str]:
        """Axes whose exponent is a prior's."""
        by_name = dict(zip(identifiability.TERMS, identifiability.AXES, strict=True))
        return [by_name[term.name] for term in self.coefficients if term.name in by_name and term.from_prior]

    def _target_notices(self, target: Point, no_valley: bool) -> list[Notice]:
        found = identifiability.far_notices(target, self.smallest, self.largest)
        found += identifiability.aside_notices(target, self._used())
        _, outside = identifiability.ratios(target, self.smallest, self.largest)
        for axis, name in enumerate(identifiability.AXES):
            if name in self._prior_axes() and outside[axis] > 1.01:
                value = next(item for item in self.coefficients if item.name == identifiability.TERMS[axis])
                message = (
                    f"The target's {name} are {outside[axis]:.3g} times outside the runs, and the exponent of {name} "
                    f"({value.value:+.2f} ± {value.sd:.2f}) comes from a prior, not from these runs."
                )
                found.append(Notice(code="prior_exponent", message=message))
        if target.batch_tokens > (1 + CLOSE) * target.tokens:
            message = (
                f"The target trains {count(target.tokens)} tokens in batches of {count(target.batch_tokens)}: less than "
                "one step."
            )
            found.append(Notice(code="target_below_one_step", message=message))
        if no_valley:
            message = "The optimum is too uncertain to name a range of rates that lose at most 0.1 %."
            found.append(Notice(code="no_valley", message=message))
        return found

    def _refuse(self, target: Point, factor: float) -> None:
        cause, advice = identifiability.causes(target, self._used(), self._prior_axes())
        raise Refused(
            LawRefusal.INTERVAL_TOO_WIDE,
            params=count(target.params),
            tokens=count(target.tokens),
            batch_tokens=count(target.batch_tokens),
            known=f"only known within ×/÷ {factor:.3g}" if factor <= UNKNOWN else "not known at all",
            cause=cause,
            advice=advice,
        )
