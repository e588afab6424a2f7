"""From runs to a law: the joint fit, the bowls, the held-out error and the notices."""

from dataclasses import dataclass, replace

import numpy as np

from orchestrator.cells import CLOSE
from orchestrator.errors import Refused
from orchestrator.law import identifiability
from orchestrator.law.bowl import Bowl, measure
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.cell_information import OPTIMUM
from orchestrator.law.fit_problem import FitProblem, refuse_few_runs
from orchestrator.law.grouped_runs import GroupedRuns
from orchestrator.law.held_out_error import Alternative, HeldOut, largest_parts, smaller_laws
from orchestrator.law.joint import JointFit, fit_joint
from orchestrator.law.law import Law
from orchestrator.law.minima import refuse_without_minimum
from orchestrator.law.notices import Notice
from orchestrator.law.observations import Array, Mask, Observations, rows_among
from orchestrator.law.pooled import pooled_rows
from orchestrator.law.refusal import LawRefusal
from orchestrator.law.surface import Surface, fit_surface
from orchestrator.law.unseen_cells import Unseen

ROUGHLY = 1e-2  # tolerance in ln η of a law that is fitted for its held-out error only
UNSURE = 0.4  # sd of an exponent over its prior's, above which the runs do not identify it


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """Options of a fit.

    Attributes:
        heldout: Whether to fit again without the largest cells, report the excess loss there, and take a smaller law if
            its excess loss is less (held_out_error.py).
        without: Names of terms to leave out.
    """

    heldout: bool = True
    without: tuple[str, ...] = ()


DEFAULT = FitOptions()


def fit(observations: Observations, *, options: FitOptions = DEFAULT) -> Law:
    """Fits a law to runs of one recipe. The same runs give the same law, bit for bit, in whatever order.

    Args:
        observations: All runs, diverged ones included.
        options: Options of the fit.

    Raises:
        Refused: Too few finished runs, or no cell with an interior minimum.
    """
    counting = observations.counting()
    failed = 0 if observations.failed is None else int(observations.failed.sum())
    refuse_few_runs(counting, recorded=counting.size + failed)
    law = fit_once(counting, options)
    heldout, reason, law = judged_without_largest(counting, law, options)
    copies = observations.size - failed - counting.size
    return replace(
        law,
        runs=observations.size,
        notices=(
            *law.notices,
            *identifiability.trunk_notices(counting.trunks),
            *identifiability.copy_notices(copies),
        ),
        heldout=heldout,
        heldout_reason=reason,
    )


def fit_once(observations: Observations, options: FitOptions, near: Law | None = None) -> Law:
    """The law without its held-out error, starting from the law `near` if given."""
    problem = FitProblem.of(observations, options.without, near)
    cells, fitted = problem.cells, fit_joint(problem.model, problem.start, problem.scales)
    mean, spread = pooled_rows(problem.model, fitted.pooled, fitted.covariance)
    law_sd = np.sqrt(fitted.local_covariance[:, OPTIMUM, OPTIMUM])
    pool = mean, np.sqrt(np.einsum("cii->ci", spread))
    bowls, gain = measure(cells, fitted.locals, law_sd, pool, fitted.scales)
    refuse_without_minimum(cells, bowls, gain)
    shown = with_bowl(cells, bowls)
    law = Law(
        reference=problem.reference,
        pooled=fitted.pooled,
        pooled_covariance=fitted.covariance,
        effects=problem.effects,
        scales=fitted.scales,
        surface=bottoms(cells, problem.coordinates, fitted),
        smallest=cells.points[shown].min(axis=0),
        largest=cells.points[shown].max(axis=0),
        bowls=bowls,
        heldout=None,
        notices=(),
        fingerprint=observations.digest(repr(options)),
        without=options.without,
        runs=observations.size,
    )
    return replace(law, notices=notices(law, cells.coordinates[shown]))


def fit_rest(observations: Observations, law: Law, without: tuple[str, ...]) -> Law:
    """Refits on the remaining runs, starting from `law`. Bowls are copied from `law`.

    Raises:
        Refused: Too few runs remain, or none of their cells has a minimum.
    """
    problem = FitProblem.of(observations, without, law)
    kept = rows_among(problem.cells.points, law.points) >= 0
    bowls = tuple(bowl for bowl, here in zip(law.bowls, kept, strict=True) if here)
    if not any(bowl.status is BowlStatus.INTERIOR for bowl in bowls):
        raise LawRefusal.NO_MINIMUM_LEFT.error(cells=len(bowls))
    fitted = fit_joint(problem.model, problem.start, problem.scales, tolerance=ROUGHLY)
    return replace(
        law,
        reference=problem.reference,
        pooled=fitted.pooled,
        pooled_covariance=fitted.covariance,
        effects=problem.effects,
        scales=fitted.scales,
        bowls=bowls,
    )


def bottoms(cells: GroupedRuns, coordinates: Array, fitted: JointFit) -> Surface:
    """The loss surface through the bottoms of all cells that have a usable run."""
    has = np.isfinite(cells.best_loss)
    level = np.log(cells.best_loss[has]) + fitted.locals.bottom[has]
    tilt = fitted.information.tilt[has]
    spread = np.einsum("ci,cij,cj->c", tilt, fitted.local_covariance[has], tilt)
    return fit_surface(coordinates[has], level, 1 / fitted.information.weight[has] + spread)


def with_bowl(cells: GroupedRuns, bowls: tuple[Bowl, ...]) -> Mask:
    """Whether each cell has information on its optimum: a minimum, or two rates that show a slope."""
    interior = np.array([bowl.status is BowlStatus.INTERIOR for bowl in bowls])
    return np.asarray(interior | (cells.total(np.ones_like(cells.x)) >= 2))


def notices(law: Law, coordinates: Array) -> tuple[Notice, ...]:
    """Notices of the law, whatever the target; `coordinates` are those of cells with a bowl."""
    terms = law.coefficients
    batches_vary = bool(np.ptp(coordinates[:, 2]) > CLOSE)
    unsure = {term.name for term in terms if term.sd > UNSURE * term.prior_sd}
    return (
        *identifiability.single_notices(coordinates),
        *identifiability.tie_notices(
            coordinates, np.array([name in unsure for name in identifiability.TERMS])
        ),
        *identifiability.bowl_notices(law.bowls),
        *identifiability.bend_notice("params", law.bend(0)),
        *identifiability.bend_notice("tokens", law.bend(1), law.bend(1, beyond_critical=batches_vary)),
    )


def judged_without_largest(
    observations: Observations, law: Law, options: FitOptions
) -> tuple[HeldOut | None, str | None, Law]:
    """Judges the law, and smaller laws, at the largest cells when fitted without them.

    Returns:
        (the held-out error or None, why there is none, the law or the smaller law that lost less by more than chance).
    """
    if not options.heldout:
        return None, "it was not requested", law
    reason = "the cells with a minimum have one size and one horizon"
    for part in largest_parts(observations, law.bowls):
        left_out = part.holds(observations)
        rest, unseen = observations.where(~left_out), Unseen.of(law, observations.where(left_out))
        try:
            full = unseen.judge(fit_rest(rest, law, options.without))
        except Refused as refused:
            reason = f"without the {part.in_words} the other runs give no law: {refused.detail}"
            continue
        smaller = smaller_laws(law.points)
        judged = {
            name: unseen.judge(fit_rest(rest, law, (*options.without, *terms)))
            for name, terms in smaller.items()
        }
        found = [Alternative.against(name, cells, full) for name, cells in judged.items()]
        better = [alternative for alternative in found if alternative.better]
        if not better:
            return HeldOut.of(part, full, found), None, law
        best = max(better, key=lambda alternative: alternative.gain)
        law = fit_once(observations, replace(options, without=(*options.without, *smaller[best.name])), law)
        law = replace(law, notices=(*law.notices, best.notice))
        return HeldOut.of(part, judged[best.name], found), None, law
    return None, reason, law
