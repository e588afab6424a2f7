"""From runs to a law: group, start, fit jointly, measure the bowls, judge what was held out, say what is missing."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.law import support
from orchestrator.law.bowl import Z95, Bowl, measure
from orchestrator.law.cells import Cells, group
from orchestrator.law.effects import basis
from orchestrator.law.evidence import OPTIMUM, Locals
from orchestrator.law.features import FEATURES, matrix
from orchestrator.law.heldout import HeldOut, HeldOutCell, excess_loss, largest_parts
from orchestrator.law.joint import Fitted, Model, fit_joint, pooled_rows
from orchestrator.law.law import Law
from orchestrator.law.observations import Array, Observations
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.scales import Scales
from orchestrator.law.shape import TYPICAL
from orchestrator.law.status import LEAST_TOLD, BowlStatus
from orchestrator.law.surface import Surface, fit_surface
from orchestrator.law.terms import Reference

CURVATURE_MEAN, CURVATURE_SDS = -4.0, (2.0, 0.3, 0.3, 0.3)
"""Prior of ln C and of its exponents in N, D and B: relative loss rises by about e^-4 at a factor e from the bottom."""
ASYMMETRY_MEAN, ASYMMETRY_SD = TYPICAL, 0.4
"""Prior of the bowls' a: that of recorded dense runs, vaguely enough for symmetric bowls."""
FEWEST_RUNS = 3
UNSURE = 0.4  # sd of an exponent over its prior's, above which the runs do not tell it
CHANCE = 3.0  # squared noise that a bowl explains of a cell of noise: 1 to 2 on average


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What may be chosen about a fit.

    Attributes:
        heldout: Whether to fit once more without the largest cells and report what that law would have cost.
    """

    heldout: bool = True


DEFAULT = FitOptions()


def fit(observations: Observations, *, options: FitOptions = DEFAULT) -> Law:
    """Fits a law to runs of one recipe. The same runs give the same law, bit for bit, in whatever order.

    Args:
        observations: All runs, diverged ones included.
        options: What to compute besides the law.

    Raises:
        Refused: Too few finished runs, or no cell with an interior minimum.
    """
    counting = observations.counting()
    finished = int(np.isfinite(counting.loss).sum())
    if finished < FEWEST_RUNS:
        raise Refused(LawRefusal.NO_RUNS, finite=finished, runs=observations.size)
    law = fit_once(counting, options)
    failed = 0 if observations.failed is None else int(observations.failed.sum())
    copies = observations.size - failed - counting.size
    heldout, reason = held_out(counting, law) if options.heldout else (None, "it was not asked for")
    return replace(
        law,
        runs=observations.size,
        warnings=(*law.warnings, *support.copy_warnings(copies)),
        heldout=heldout,
        heldout_reason=reason,
    )


def fit_once(observations: Observations, options: FitOptions) -> Law:
    """The law without its held-out error."""
    cells = group(observations)
    reference = Reference.amid(cells.coordinates)
    points = reference.points(*cells.places.T)
    effects = basis(points)
    columns, missing = effects.matrix(points)
    start = begin(cells)
    model = Model(
        cells=cells,
        curvature=np.column_stack([np.ones(cells.size), points]),
        optimum=np.column_stack([matrix(points, reference), columns]),
        missing=missing,
        mean=prior_mean(start, columns.shape[1]),
        asymmetry_sd=ASYMMETRY_SD,
        fixed_sd=np.array([*CURVATURE_SDS, *(feature.sd for feature in FEATURES)]),
        drifting=np.array([False] * len(CURVATURE_SDS) + [feature.degree > 1 for feature in FEATURES]),
        counts=effects.counts,
    )
    fitted = fit_joint(model, start, Scales())
    mean, spread = pooled_rows(model, fitted.pooled, fitted.covariance)
    law_sd = np.sqrt(fitted.local_covariance[:, OPTIMUM, OPTIMUM])
    pool = mean, np.sqrt(np.einsum("cii->ci", spread))
    bowls, gain = measure(cells, fitted.locals, law_sd, pool, fitted.scales)
    refuse_without_minimum(bowls, gain, observations)
    shown = with_bowl(cells, bowls)
    law = Law(
        reference=reference,
        pooled=fitted.pooled,
        pooled_covariance=fitted.covariance,
        effects=effects,
        scales=fitted.scales,
        surface=bottoms(cells, points, fitted),
        smallest=cells.places[shown].min(axis=0),
        largest=cells.places[shown].max(axis=0),
        bowls=bowls,
        heldout=None,
        warnings=(),
        fingerprint=observations.digest(repr(options)),
        runs=observations.size,
    )
    return replace(law, warnings=warnings(law, cells.coordinates[shown]))


def begin(cells: Cells) -> Locals:
    """Where the bowls start: at the best run of each cell; a cell without a usable run at the median of the others."""
    order = np.lexsort((cells.x, cells.y, cells.cell))
    first = np.concatenate([[True], np.diff(cells.cell[order]) > 0])
    best = order[first]
    optimum = np.full(cells.size, float(np.median(cells.x[best])))
    optimum[cells.cell[best]] = cells.x[best]
    return Locals(
        bottom=np.zeros(cells.size),
        shape=np.column_stack(np.broadcast_arrays(CURVATURE_MEAN, optimum, ASYMMETRY_MEAN)),
        unrest=np.ones(cells.size),
    )


def prior_mean(start: Locals, effects: int) -> Array:
    """Prior mean of the pooled unknowns; the level of ln η* is centred on the rates that did best, vaguely."""
    level = float(np.median(start.optimum))
    return np.concatenate(
        [
            [CURVATURE_MEAN, 0.0, 0.0, 0.0],
            [level],
            [feature.mean for feature in FEATURES[1:]],
            np.zeros(effects),
            [ASYMMETRY_MEAN],
        ]
    )


def bottoms(cells: Cells, points: Array, fitted: Fitted) -> Surface:
    """The loss surface through the bottoms of all cells that have a usable run."""
    has = np.isfinite(cells.best_loss)
    level = np.log(cells.best_loss[has]) + fitted.locals.bottom[has]
    tilt = fitted.evidence.tilt[has]
    spread = np.einsum("ci,cij,cj->c", tilt, fitted.local_covariance[has], tilt)
    return fit_surface(points[has], level, 1 / fitted.evidence.weight[has] + spread)


def refuse_without_minimum(bowls: tuple[Bowl, ...], gain: Array, observations: Observations) -> None:
    """Refuses when the losses do not depend on the rate, or no cell shows a minimum with a rise on both sides."""
    count = {status: sum(bowl.status is status for bowl in bowls) for status in BowlStatus}
    few, low, high = (count[s] for s in (BowlStatus.TOO_FEW, BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH))
    enough = len(bowls) - few
    told = float(sum(g for g, bowl in zip(gain, bowls, strict=True) if bowl.status is not BowlStatus.TOO_FEW))
    least = LEAST_TOLD + CHANCE * enough
    if enough and told < least:
        raise Refused(LawRefusal.FLAT, cells=enough, told=max(told, 0.0), least=least)
    if count[BowlStatus.INTERIOR]:
        return
    where = " downwards" if low > high else " upwards" if high > low else ""
    raise Refused(
        LawRefusal.NO_INTERIOR_MINIMUM,
        cells=len(bowls),
        low=low,
        high=high,
        few=few,
        flat=count[BowlStatus.FLAT],
        lowest=float(observations.learning_rate.min()),
        highest=float(observations.learning_rate.max()),
        advice=f"Widen the learning rates{where} until at least one cell rises on both sides."
        if enough
        else "Run a third learning rate in at least one cell, so that it can rise on both sides.",
    )


def with_bowl(cells: Cells, bowls: tuple[Bowl, ...]) -> NDArray[np.bool_]:
    """Which cells say where their optimum is: those with a minimum, or two rates to tell a slope from."""
    interior = np.array([bowl.status is BowlStatus.INTERIOR for bowl in bowls])
    return np.asarray(interior | (cells.total(np.ones_like(cells.x)) >= 2))


def warnings(law: Law, coordinates: Array) -> tuple[str, ...]:
    """Everything that the user should know of the law, whatever the target; `coordinates` are of cells with a bowl."""
    terms = law.coefficients
    unsure = {term.name for term in terms if term.sd > UNSURE * term.prior_sd}
    return (
        *support.single_warnings(coordinates),
        *support.tie_warnings(coordinates, np.array([name in unsure for name in support.TERMS])),
        *support.bowl_warnings(law.bowls),
        *support.bend_warnings(
            [term.name for term in terms],
            np.array([term.value for term in terms]),
            np.array([term.sd for term in terms]),
        ),
    )


def held_out(observations: Observations, law: Law) -> tuple[HeldOut | None, str | None]:
    """Fits without the largest cells and judges that law on them, or says why there is no such law."""
    reason = "the cells with a minimum have one size and one horizon"
    for left_out, words in largest_parts(observations, law.bowls):
        try:
            rest = fit(observations.where(~left_out), options=FitOptions(heldout=False))
        except Refused as refused:
            reason = f"without {words} the other runs give no law: {refused.detail}"
            continue
        return judge(rest, law, observations.where(left_out), words), None
    return None, reason


def judge(rest: Law, law: Law, wanted: Observations, words: str) -> HeldOut:
    """What `rest` says of the cells left out that have a minimum."""
    places = {(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in rest.bowls}
    rows = [
        judged(rest, law, bowl, wanted)
        for bowl in law.bowls
        if bowl.status is BowlStatus.INTERIOR and (bowl.params, bowl.tokens, bowl.batch_tokens) not in places
    ]
    lost = np.array([row.excess_loss for row in rows])
    inside = [row.low <= row.measured <= row.high for row in rows]
    return HeldOut(
        left_out=words,
        mean=float(lost.mean()),
        worst=float(lost.max()),
        coverage=float(np.mean(inside)),
        cells=tuple(rows),
    )


def judged(rest: Law, law: Law, bowl: Bowl, runs: Observations) -> HeldOutCell:
    """One cell: what `rest`, which had not seen it, says, and what that would have cost."""
    place = np.array([[bowl.params], [bowl.tokens], [bowl.batch_tokens]])
    mean, sd = (float(value[0]) for value in rest.optimum(place[0], place[1], place[2]))
    own = (
        np.isclose(runs.params, bowl.params, rtol=1e-8)
        & np.isclose(runs.tokens, bowl.tokens, rtol=1e-8)
        & np.isclose(runs.batch_tokens, bowl.batch_tokens, rtol=1e-8)
        & np.isfinite(runs.loss)
    )
    lost = excess_loss(np.log(runs.learning_rate[own]), runs.loss[own], mean)
    if lost is None:  # outside the rates tried: what the whole law's bowl says
        lost = float(law.excess_loss(place[0], place[1], place[2], np.exp(np.array([mean])))[0])
    return HeldOutCell(
        params=bowl.params,
        tokens=bowl.tokens,
        batch_tokens=bowl.batch_tokens,
        learning_rate=float(np.exp(mean)),
        low=float(np.exp(mean - Z95 * sd)),
        high=float(np.exp(mean + Z95 * sd)),
        measured=bowl.learning_rate,
        excess_loss=lost,
    )
