"""A law: η*(N, D, B) with its uncertainty, and its predictions. Immutable; it predicts without the runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from orchestrator.cells import Point
from orchestrator.errors import Conflict
from orchestrator.law import identifiability
from orchestrator.law.best_batch import batch_to_ask
from orchestrator.law.bowl import Z95, Bowl
from orchestrator.law.bowl_shape import expected_rise, half_widths, likely_within, rise
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.effects import Effects
from orchestrator.law.features import FEATURES, Coefficient, Reference, prior_sds
from orchestrator.law.held_out_error import HeldOut
from orchestrator.law.identifiability import AXES
from orchestrator.law.loss_level import loss_level
from orchestrator.law.notices import Notice, messages
from orchestrator.law.observations import Array, point_array, rows_among
from orchestrator.law.packing import pack, unpack
from orchestrator.law.published import Anchor
from orchestrator.law.scales import PRIOR, Scales
from orchestrator.law.surface import Surface

VERSION = 4
"""Of the document; `Law.from_document` reads no other."""
VALLEY = float(np.log(1.001))  # ln of the excess loss that a valley allows
VALLEY_PROBABILITY = 0.8  # probability with which a rate in the valley loses no more
MOSTLY_PRIOR = 0.6  # sd of a coefficient over its prior's, above which the coefficient counts as the prior's
WIDEST = 3.0  # a 95 % interval wider than ×/÷ this is refused
LOSS_SD = 0.03  # sd of ln loss above which no loss is reported
CURVATURE_TERMS = 4
COEFFICIENTS = slice(
    CURVATURE_TERMS, CURVATURE_TERMS + len(FEATURES)
)  # where θ stands in the pooled unknowns
OPTIMUM = slice(CURVATURE_TERMS, -1)  # … and (θ, w)


class OutdatedLaw(Conflict):
    """A law document is of another version of the law, or has other terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The learning rate at a target, with its uncertainty.

    Attributes:
        target: The (N, D, B) predicted for.
        learning_rate: η*, the median of the law's posterior.
        low, high: 95 % interval of η*.
        valley_low, valley_high: Rates that lose at most 0.1 % with a probability of 80 % each; equal if there are none.
        expected_loss: Loss at `learning_rate` in the table's unit, None if unknown.
        loss_low, loss_high: 95 % interval of the loss of a run with it, None if unknown.
        extrapolation: Target over the largest value tried, per axis.
        notices: What the user should know.
    """

    target: Point
    learning_rate: float
    low: float
    high: float
    valley_low: float
    valley_high: float
    expected_loss: float | None
    loss_low: float | None
    loss_high: float | None
    extrapolation: Mapping[str, float]
    notices: tuple[Notice, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of the notices."""
        return messages(self.notices)


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
        points: N, D and B of the bowls, shape [bowls, 3].
        heldout: Held-out error, None if there is none.
        heldout_reason: Why there is none.
        without: Names of the terms that are left out.
        notices: What the user should know, whatever the target.
        fingerprint: sha256 of the sorted runs and the options.
        runs: Number of runs given.
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
    points: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", point_array(self.bowls))

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
        """The asymmetry of the bowls, steeper above their bottoms than below if positive: a of bowl_shape.py."""
        return float(self.pooled[-1])

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The law's terms at the reference point."""
        sds = np.sqrt(np.diag(self.covariance))
        prior = prior_sds(self.scales, self.without).tolist()
        return tuple(
            Coefficient(
                name=feature.name,
                value=float(value),
                sd=float(sd),
                prior_sd=float(prior_sd),
                from_prior=bool(sd > MOSTLY_PRIOR * prior_sd),
            )
            for feature, value, sd, prior_sd in zip(
                FEATURES, self.pooled[COEFFICIENTS], sds, prior, strict=True
            )
        )

    @property
    def covariance(self) -> Array:
        """Covariance of the coefficients, in their order."""
        return self.pooled_covariance[COEFFICIENTS, COEFFICIENTS]

    def band(self, points: Array) -> tuple[Array, Array]:
        """Confidence band: mean and sd of ln η* at (N, D, B), [m, 3], without the scatter of a new cell, shape [m] each."""
        return self._pooled_optimum(points)[:2]

    def prediction_band(self, points: Array) -> tuple[Array, Array]:
        """Prediction band: mean and sd of ln η* in new cells, random effects included; arguments as in `band`."""
        mean, sd, outside = self._pooled_optimum(points)
        return mean, np.sqrt(sd**2 + outside)

    def optimum(self, points: Array) -> tuple[Array, Array]:
        """Mean and sd of ln η*, shape [m] each: the prediction band, or the bowl's posterior in a cell that has runs."""
        mean, sd = self.prediction_band(points)
        rows = rows_among(self.points, points)
        bowls = [self.bowls[row] for row in rows[rows >= 0]]
        mean[rows >= 0] = np.log([bowl.law_learning_rate for bowl in bowls])
        sd[rows >= 0] = [bowl.law_sd for bowl in bowls]
        return mean, sd

    def bowl_at(self, point: Point) -> Bowl | None:
        """The bowl of the cell at this (N, D, B); None if it has no runs."""
        row = int(rows_among(self.points, point_array([point]))[0])
        return None if row < 0 else self.bowls[row]

    def bend(self, axis: int, *, beyond_critical: bool = False) -> tuple[float, float]:
        """The distance by which ln η* departs from a straight line at the ends of the cells along N or D: the quadratic part.

        Computed from the law's values in its cells, without the powers of the other axes. The scatter of sizes and
        pairs, which every recipe shows, does not count as a bend.

        Args:
            axis: 0 for ln N, 1 for ln D.
            beyond_critical: Also subtract the bend at the critical batch, a term of the law (features.py).

        Returns:
            (height of the ends above the line through the middle, its standard deviation; infinite if the cells have
            fewer than three values on the axis).
        """
        coordinates = self.reference.coordinates(self.points)
        if np.unique(np.round(coordinates[:, axis], 2)).size < 3:
            return 0.0, np.inf
        rows, _ = self.effects.rows(coordinates, self.reference, self.scales)
        known = [at for at, feature in enumerate(FEATURES) if feature.at_critical_batch and beyond_critical]
        design = np.column_stack(
            [coordinates[:, axis] ** 2, np.ones(len(coordinates)), coordinates, rows[:, known]]
        )
        apart = np.linalg.pinv(design, rcond=1e-6)[0] @ rows * (np.ptp(coordinates[:, axis]) / 2) ** 2
        scatter = {"size": PRIOR.size, "path": PRIOR.path, "pair": PRIOR.pair, "smooth": 0.0}
        counts = self.effects.counts
        sds = np.repeat([0.0, *(scatter[name] for name in counts)], [len(FEATURES), *counts.values()])
        variance = apart @ self.pooled_covariance[OPTIMUM, OPTIMUM] @ apart + ((sds * apart) ** 2).sum()
        return float(apart @ self.pooled[OPTIMUM]), float(np.sqrt(variance))

    def curvature(self, points: Array) -> Array:
        """Pooled C of ln L = ln L_min + C·(ln η − ln η*)² at (N, D, B), shape [m, 3] -> [m]."""
        return self._curvature(self.reference.coordinates(points))

    def expected_loss(self, points: Array, learning_rate: Array) -> Array:
        """The fitted L(N, D, B, η) in the table's unit; the arguments broadcast, [m, 3] and [m] -> [m]."""
        coordinates = self.reference.coordinates(points)
        u = np.log(learning_rate) - self.optimum(points)[0]
        height = self._curvature(coordinates) * rise(u, self.asymmetry)
        return np.asarray(np.exp(self.surface.at(coordinates)[0] + height))

    def excess_loss(self, points: Array, learning_rate: Array) -> Array:
        """Expected excess loss over the best rate (0.001 is 0.1 %), the optimum's uncertainty included; as `expected_loss`."""
        mean, sd = self.optimum(points)
        height = self.curvature(points) * expected_rise(np.log(learning_rate) - mean, sd**2, self.asymmetry)
        return np.asarray(np.expm1(height))

    def completed(self, *, params: float, tokens: float, batch_tokens: float | None = None) -> Point:
        """The target to ask: without a batch, the best one at its N and D, or where the runs show none the best tried."""
        batch = batch_to_ask(self.bowls, params, tokens) if batch_tokens is None else batch_tokens
        return Point(params=params, tokens=tokens, batch_tokens=batch)

    def predict(self, target: Point) -> Prediction:
        """Predicts the learning rate at a target.

        Args:
            target: The (N, D, B).

        Raises:
            Refused: The 95 % interval passes ×/÷ 3.
        """
        point = point_array([target])
        mean, sd = (float(value[0]) for value in self.optimum(point))
        if sd * Z95 > np.log(WIDEST):
            raise identifiability.too_wide(target, float(np.exp(sd * Z95)), self._used(), self.coefficients)
        coordinates = self.reference.coordinates(point)
        curvature = self._curvature(coordinates)
        widths = half_widths(VALLEY / curvature, self.asymmetry)
        below, above = likely_within(*widths, np.array([sd]), VALLEY_PROBABILITY)
        half_width = Z95 * sd
        loss, loss_low, loss_high = self._loss(point, curvature, sd)
        notices = identifiability.target_notices(
            target, self._used(), self.coefficients, no_valley=bool(above[0] == below[0])
        )
        return Prediction(
            target=target,
            learning_rate=float(np.exp(mean)),
            low=float(np.exp(mean - half_width)),
            high=float(np.exp(mean + half_width)),
            valley_low=float(np.exp(mean + below[0])),
            valley_high=float(np.exp(mean + above[0])),
            expected_loss=loss,
            loss_low=loss_low,
            loss_high=loss_high,
            extrapolation=dict(zip(AXES, (point[0] / self.largest).tolist(), strict=True)),
            notices=(*self.notices, *notices),
        )

    def _loss(
        self, point: Array, curvature: Array, sd: float
    ) -> tuple[float, float, float] | tuple[None, None, None]:
        """Expected loss of a run at a point, [1, 3], with the predicted rate, and its 95 % interval; None if too uncertain.

        Args:
            point: The (N, D, B).
            curvature: C there, shape [1].
            sd: Standard deviation of ln η* there.
        """
        level = loss_level(self.bowls)
        if level is None:
            return None, None, None
        (mean,), (level_sd,) = level.at(point)
        (lift,) = curvature * expected_rise(np.zeros(1), np.array([sd**2]), self.asymmetry)
        if level_sd > LOSS_SD:
            return None, None, None
        half_width = Z95 * float(np.hypot(np.hypot(level_sd, lift), self.noise))
        middle = float(mean + lift)
        return float(np.exp(middle)), float(np.exp(middle - half_width)), float(np.exp(middle + half_width))

    def anchor(self, batch_tokens: float) -> Anchor:
        """The measured optimum from which published ratio-only laws start; most of them hold at one batch.

        Args:
            batch_tokens: B of the target.

        Returns:
            The optimum of the costliest cell with an interior minimum among those whose batch is nearest to the target's.
        """
        interior = [bowl for bowl in self.bowls if bowl.status is BowlStatus.INTERIOR]
        apart = [round(abs(float(np.log(bowl.batch_tokens / batch_tokens))), 3) for bowl in interior]
        least = min(apart)
        nearest = [bowl for bowl, far in zip(interior, apart, strict=True) if far == least]
        bowl = max(nearest, key=lambda b: (b.params * b.tokens, b.batch_tokens))
        return Anchor(**asdict(bowl.point), learning_rate=bowl.law_learning_rate)

    def to_document(self) -> dict[str, Any]:
        """The law as nested dicts, lists, numbers and strings; `from_document` predicts exactly the same from it."""
        return {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "runs": self.runs,
            "noise": self.noise,
            "reference": asdict(self.reference),
            "coefficients": [asdict(coefficient) for coefficient in self.coefficients],
            "covariance": self.covariance.tolist(),
            "warnings": list(self.warnings),
            "notices": [asdict(notice) for notice in self.notices],
            "heldout": None if self.heldout is None else self.heldout.to_document(),
            "heldout_reason": self.heldout_reason,
            "without": list(self.without),
            "range": {"smallest": self.smallest.tolist(), "largest": self.largest.tolist()},
            "scales": asdict(self.scales),
            "surface": self.surface.to_document(),
            "effects": self.effects.to_document(),
            "pooled": {"mean": self.pooled.tolist(), "covariance": pack(self.pooled_covariance)},
            "bowls": [asdict(bowl) for bowl in self.bowls],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_document`.

        Raises:
            OutdatedLaw: The document has another version, or other coefficients than the present features.
        """
        _check_version(document)
        mean, heldout = np.array(document["pooled"]["mean"]), document["heldout"]
        return cls(
            reference=Reference(**document["reference"]),
            pooled=mean,
            pooled_covariance=unpack(document["pooled"]["covariance"], mean.size),
            effects=Effects.from_document(document["effects"]),
            scales=Scales(**document["scales"]),
            surface=Surface.from_document(document["surface"]),
            smallest=np.array(document["range"]["smallest"]),
            largest=np.array(document["range"]["largest"]),
            bowls=tuple(Bowl.from_document(bowl) for bowl in document["bowls"]),
            heldout=None if heldout is None else HeldOut.from_document(heldout),
            heldout_reason=document["heldout_reason"],
            without=tuple(document["without"]),
            notices=tuple(Notice(**notice) for notice in document["notices"]),
            fingerprint=document["fingerprint"],
            runs=document["runs"],
        )

    def _pooled_optimum(self, points: Array) -> tuple[Array, Array, Array]:
        """Mean and sd of the pooled ln η*, and the variance that a new cell adds, shape [m] each."""
        coordinates = self.reference.coordinates(points)
        rows, outside = self.effects.rows(coordinates, self.reference, self.scales)
        mean = rows @ self.pooled[OPTIMUM]
        block = self.pooled_covariance[OPTIMUM, OPTIMUM]
        return mean, np.sqrt(((rows @ block) * rows).sum(axis=1)), outside

    def _curvature(self, coordinates: Array) -> Array:
        rows = np.column_stack([np.ones(len(coordinates)), coordinates])
        return np.asarray(np.exp(rows @ self.pooled[:CURVATURE_TERMS]))

    def _used(self) -> Array:
        """(N, D, B) of the cells in the range of the runs that the law rests on, shape [m, 3]."""
        inside = (self.points >= self.smallest) & (self.points <= self.largest)
        return np.asarray(self.points[inside.all(axis=1)])


def _check_version(document: Mapping[str, Any]) -> None:
    """Refuses a document that this version of the law cannot read."""
    version = document.get("version")
    names = [coefficient.get("name") for coefficient in document.get("coefficients", ())]
    if version != VERSION or names != [feature.name for feature in FEATURES]:
        raise OutdatedLaw(
            f"The law was fitted by another version of Etalon (law version {version}, here {VERSION}) and cannot be "
            "used. It needs a new fit: submit a new sweep with the finished runs of this one as its prior_runs."
        )
