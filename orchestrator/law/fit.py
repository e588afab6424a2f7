"""From runs to a law: group, start, fit jointly, measure the bowls, judge what was held out, say what is missing."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.law import support
from orchestrator.law.bowl import Bowl, measure
from orchestrator.law.cells import Cells, group
from orchestrator.law.effects import basis
from orchestrator.law.evidence import OPTIMUM, Locals
from orchestrator.law.features import FEATURES, matrix
from orchestrator.law.heldout import Alternative, HeldOut, largest_parts
from orchestrator.law.joint import Fitted, Model, fit_joint, pooled_rows
from orchestrator.law.judging import judge
from orchestrator.law.law import Law
from orchestrator.law.minima import refuse_without_minimum
from orchestrator.law.nested import SMALLER, best, matters
from orchestrator.law.observations import Array, Observations
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.scales import Scales
from orchestrator.law.shape import TYPICAL
from orchestrator.law.status import BowlStatus
from orchestrator.law.surface import Surface, fit_surface
from orchestrator.law.terms import Reference

CURVATURE_MEAN, CURVATURE_SDS = -4.0, (2.0, 0.3, 0.3, 0.3)
"""Prior of ln C and of its exponents in N, D and B: relative loss rises by about e^-4 at a factor e from the bottom."""
ASYMMETRY_MEAN, ASYMMETRY_SD = TYPICAL, 0.4
"""Prior of the bowls' a: that of recorded dense runs, vaguely enough for symmetric bowls."""
FEWEST_RUNS = 3
LEFT_OUT_SD = 1e-6  # prior sd of a term that is left out
UNSURE = 0.4  # sd of an exponent over its prior's, above which the runs do not tell it


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What may be chosen about a fit.

    Attributes:
        heldout: Whether to fit once more without the largest cells, report what that law would have cost, and take a
            smaller law if it would have cost less (nested.py).
        without: Names of terms to leave out.
    """

    heldout: bool = True
    without: tuple[str, ...] = ()


DEFAULT = FitOptions()


def fit(observations: Observations, *, options: FitOptions = DEFAULT, start: Law | None = None) -> Law:
    """Fits a law to runs of one recipe. The same runs give the same law, bit for bit, in whatever order.

    Args:
        observations: All runs, diverged ones included.
        options: What to compute besides the law.
        start: A law of nearly the same runs: the fit begins there instead of cold, takes a third of the time, and ends
            as near to the optimum as a cold one (2e-3 in ln η), though not at the same bits.

    Raises:
        Refused: Too few finished runs, or no cell with an interior minimum.
    """
    counting = observations.counting()
    law = fit_once(counting, options, start)
    heldout, reason, law = tried_where_absent(counting, law, options)
    failed = 0 if observations.failed is None else int(observations.failed.sum())
    copies = observations.size - failed - counting.size
    return replace(
        law,
        runs=observations.size,
        warnings=(*law.warnings, *support.copy_warnings(copies)),
        heldout=heldout,
        heldout_reason=reason,
    )


def fit_once(observations: Observations, options: FitOptions, near: Law | None = None) -> Law:
    """The law without its held-out error, begun at a law that is near, if there is one."""
    finished = int(np.isfinite(observations.loss).sum())
    if finished < FEWEST_RUNS:
        raise Refused(LawRefusal.NO_RUNS, finite=finished, runs=observations.size)
    cells = group(observations)
    reference = Reference.amid(cells.coordinates)
    points = reference.points(*cells.places.T)
    effects = basis(points)
    columns, missing = effects.matrix(points)
    start = begin(cells) if near is None else begin_near(cells, near)
    left_out = np.array([feature.name in options.without for feature in FEATURES])
    model = Model(
        cells=cells,
        curvature=np.column_stack([np.ones(cells.size), points]),
        optimum=np.column_stack([matrix(points, reference), columns]),
        missing=missing,
        mean=prior_mean(start, columns.shape[1], left_out),
        asymmetry_sd=ASYMMETRY_SD,
        fixed_sd=np.array([*CURVATURE_SDS, *np.where(left_out, LEFT_OUT_SD, [f.sd for f in FEATURES])]),
        drifting=np.array([False] * len(CURVATURE_SDS) + [feature.degree > 1 for feature in FEATURES]),
        counts=effects.counts,
    )
    fitted = fit_joint(model, start, Scales() if near is None else near.scales)
    mean, spread = pooled_rows(model, fitted.pooled, fitted.covariance)
    law_sd = np.sqrt(fitted.local_covariance[:, OPTIMUM, OPTIMUM])
    pool = mean, np.sqrt(np.einsum("cii->ci", spread))
    bowls, gain = measure(cells, fitted.locals, law_sd, pool, fitted.scales)
    refuse_without_minimum(cells, bowls, gain)
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


def begin_near(cells: Cells, law: Law) -> Locals:
    """Where the bowls start: where a law of nearly the same runs has them."""
    params, tokens, batch_tokens = cells.places.T
    optimum = law.optimum(params, tokens, batch_tokens)[0]
    curvature = np.log(law.curvature(params, tokens, batch_tokens))
    return Locals(
        bottom=np.zeros(cells.size),
        shape=np.column_stack(np.broadcast_arrays(curvature, optimum, law.asymmetry)),
        unrest=np.ones(cells.size),
    )


def prior_mean(start: Locals, effects: int, left_out: NDArray[np.bool_]) -> Array:
    """Prior mean of the pooled unknowns; the level of ln η* is centred on the rates that did best, vaguely."""
    level = float(np.median(start.optimum))
    return np.concatenate(
        [
            [CURVATURE_MEAN, 0.0, 0.0, 0.0],
            [level],
            np.where(left_out, 0.0, [feature.mean for feature in FEATURES])[1:],
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


def with_bowl(cells: Cells, bowls: tuple[Bowl, ...]) -> NDArray[np.bool_]:
    """Which cells say where their optimum is: those with a minimum, or two rates to tell a slope from."""
    interior = np.array([bowl.status is BowlStatus.INTERIOR for bowl in bowls])
    return np.asarray(interior | (cells.total(np.ones_like(cells.x)) >= 2))


def warnings(law: Law, coordinates: Array) -> tuple[str, ...]:
    """Everything that the user should know of the law, whatever the target; `coordinates` are of cells with a bowl."""
    terms = law.coefficients
    spread = np.ptp(coordinates, axis=0)
    unsure = {term.name for term in terms if term.sd > UNSURE * term.prior_sd}
    return (
        *support.single_warnings(coordinates),
        *support.tie_warnings(coordinates, np.array([name in unsure for name in support.TERMS])),
        *support.bowl_warnings(law.bowls),
        *support.bend_warning("params", *law.bend(0, spread[0] / 2)),
        *support.bend_warning("tokens", *law.bend(1, spread[1] / 2)),
    )


def tried_where_absent(
    observations: Observations, law: Law, options: FitOptions
) -> tuple[HeldOut | None, str | None, Law]:
    """Judges the law, and smaller ones, at the largest cells when fitted without them.

    Returns:
        (the held-out error, or why there is none; the law, or the smaller one that lost less by more than chance).
    """
    if not options.heldout:
        return None, "it was not asked for", law
    reason = "the cells with a minimum have one size and one horizon"
    for left_out, words in largest_parts(observations, law.bowls):
        rest, wanted = observations.where(~left_out), observations.where(left_out)
        try:
            full = judge(fit_once(rest, options, law), law, wanted)
        except Refused as refused:
            reason = f"without {words} the other runs give no law: {refused.detail}"
            continue
        if not full:
            reason = f"without {words} no cell with a minimum is left to judge by"
            continue
        judged = {
            smaller: judge(fit_once(rest, replace(options, without=smaller.without), law), law, wanted)
            for smaller in SMALLER
            if matters(smaller, law)
        }
        found = {smaller: Alternative.against(smaller.name, cells, full) for smaller, cells in judged.items()}
        chosen = best(found)
        if chosen is None:
            return HeldOut.of(words, full, tuple(found.values())), None, law
        law = fit_once(observations, replace(options, without=chosen.without), law)
        law = replace(law, warnings=(*law.warnings, found[chosen].sentence))
        return HeldOut.of(words, judged[chosen], tuple(found.values())), None, law
    return None, reason, law
