"""The exponents that the runs identify, and those that rest on priors: the notices of a law and of a prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from orchestrator.amounts import count, number, percent, sized
from orchestrator.cells import CLOSE, Point
from orchestrator.errors import Refused
from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_status import FEWEST_RATES, BowlStatus
from orchestrator.law.features import Coefficient
from orchestrator.law.grouped_runs import BLOWN
from orchestrator.law.notices import Notice
from orchestrator.law.observations import Array, Index, Mask, point_array
from orchestrator.law.refusal import LawRefusal

AXES = ("params", "tokens", "batch_tokens")
TERMS = ("ln N", "ln D", "ln B")
SYMBOLS = ("N", "D", "B")
TIED = 0.95  # R² of one logarithm on another from which they are called tied
FAR = 30.0  # extrapolation beyond this is reported
FEW_BOWLS = 3
WASTED = percent(float(np.expm1(BLOWN)))  # above the best loss of a cell, a run is no part of its bowl
MOST_LISTED = 4
NEAR = 1.05  # factor outside the runs up to which a target is among them …
OUTSIDE = 1.01  # … and up to which a prior exponent moves the rate too little to report
UNKNOWN = 100.0  # factor of an interval beyond which its width says nothing
ASIDE = 2.0  # factor from the line that the runs follow, from which a target is reported
FOLLOWS = 0.5  # R² of one logarithm on the others from which it follows them
RANK = 1e-6  # relative size below which a direction in which the cells vary is rounding
BENT = 2.0  # a drift of an exponent in N or D by so many standard deviations is reported …
LEAST_BEND = 0.05  # … if it bends ln η* by this much from the middle of the runs to their ends


def tie_notices(coordinates: Array, unsure: Mask) -> list[Notice]:
    """Names the axes that never vary apart in the cells, so that the runs hardly separate their exponents.

    Args:
        coordinates: (ln N, ln D, ln B) of the cells, shape [cells, 3].
        unsure: Whether the exponent of each axis is still mostly its prior's, shape [3].
    """
    spread = np.ptp(coordinates, axis=0)
    varying = [axis for axis in range(3) if spread[axis] > CLOSE]
    found = [
        _tied(one, other, float(power), r2, unsure=bool(unsure[one] or unsure[other]))
        for other, one in permutations(varying, 2)
        if other < one
        for (power,), r2, _ in [regress(coordinates[:, [other]], coordinates[:, one])]
        if r2 > TIED
    ]
    if not found and len(varying) == 3 and unsure.any():
        _, r2, _ = regress(coordinates[:, :2], coordinates[:, 2])
        if r2 > TIED:
            message = (
                f"batch_tokens is tied to params and tokens together in these runs (R² {r2:.3f}). The runs cannot "
                "separate its exponent from theirs; priors do. Add runs at another batch_tokens."
            )
            found.append(Notice(code="tied", message=message))
    return found


def _tied(one: int, other: int, power: float, r2: float, *, unsure: bool) -> Notice:
    message = (
        f"{AXES[one]} is tied to {AXES[other]} in these runs ({SYMBOLS[one]} ∝ {SYMBOLS[other]}^{power:.2g}, R² {r2:.3f}). "
        f"The runs {'cannot' if unsure else 'can hardly'} separate their exponents; priors do. Add runs in which "
        f"{AXES[one]} and {AXES[other]} vary apart."
    )
    return Notice(code="tied", message=message)


def regress(rows: Array, values: Array) -> tuple[Array, float, Array]:
    """The least-squares line of values that vary, shape [m], on rows [m, k]: slopes [k], R², residuals [m].

    Of rows that vary together the smallest slopes are taken.
    """
    centred = rows - rows.mean(axis=0)
    left = values - values.mean()
    slopes = np.linalg.lstsq(centred, left, rcond=RANK)[0]
    residual = left - centred @ slopes
    return slopes, float(1 - (residual @ residual) / (left @ left)), residual


def single_notices(coordinates: Array) -> list[Notice]:
    """Names the axes that take one value only; `coordinates` as in `tie_notices`."""
    return [
        Notice(
            code="single_value",
            message=f"All runs have {sized(name, float(np.exp(coordinates[0, axis])))}, so the exponent of {name} comes "
            "from a prior, not from your runs.",
        )
        for axis, name in enumerate(AXES)
        if np.ptp(coordinates[:, axis]) <= CLOSE
    ]


def copy_notices(copies: int) -> list[Notice]:
    """Reports how many rows repeat another."""
    if not copies:
        return []
    rows = "1 row is an exact copy" if copies == 1 else f"{copies} rows are exact copies"
    return [Notice(code="copies", message=f"{rows} of another row and not counted again.")]


def trunk_notices(trunks: Index) -> list[Notice]:
    """Reports how many runs share a trunk with others.

    Args:
        trunks: Label of each run, negative for a run of its own, shape [runs].
    """
    shared = trunks[trunks >= 0]
    if not shared.size:
        return []
    message = (
        f"{shared.size} runs are branches of {np.unique(shared).size} trunks. Branches share noise, so further horizons of one "
        "trunk count for less than runs of their own."
    )
    return [Notice(code="trunks", message=message)]


def listed_cells(*kinds: tuple[int, str]) -> str:
    """Numbers of cells with what each has, without zeros: ``2 have fewer than three rates, 1 has no bowl``."""
    return ", ".join(f"{cells} {'has' if cells == 1 else 'have'} {what}" for cells, what in kinds if cells)


def bowl_notices(bowls: Sequence[Bowl]) -> list[Notice]:
    """Names what the bowls lack."""
    number = {status: sum(bowl.status is status for bowl in bowls) for status in BowlStatus}
    interior, low, high = (
        number[status] for status in (BowlStatus.INTERIOR, BowlStatus.EDGE_LOW, BowlStatus.EDGE_HIGH)
    )
    few, wasted = too_few(bowls)
    found = []
    if interior < max(FEW_BOWLS, len(bowls) / 2):
        others = listed_cells(
            (few, "fewer than three rates"),
            (
                wasted,
                f"three rates or more but fewer than three that neither diverged nor lie {WASTED} above the best",
            ),
            (low + high, "the best run at the edge"),
            (number[BowlStatus.FLAT], "no bowl beyond noise"),
        )
        priors = "; most of this law comes from its priors" if interior < FEW_BOWLS else ""
        message = (
            f"Only {interior} of {len(bowls)} cells show a minimum with a rise on both sides{priors}"
            f"{': ' if others else ''}{others}."
        )
        found.append(Notice(code="few_minima", message=message))
    if low + high > 0.2 * len(bowls):
        ends = listed_cells(
            (low, "the best run at the lowest rate tried"), (high, "the best run at the highest")
        )
        message = f"Of {len(bowls)} cells, {ends}: bounds, not minima. Widen the learning rates there."
        found.append(Notice(code="edges", message=message))
    found += [line for name in ("params", "tokens") for line in without_minimum(bowls, name)]
    return found + low_outlier_notices(bowls) + step_notices(bowls)


def too_few(bowls: Sequence[Bowl]) -> tuple[int, int]:
    """Numbers of cells that lack three rates: because fewer were tried, and because the others gave no usable loss."""
    lacking = [bowl for bowl in bowls if bowl.status is BowlStatus.TOO_FEW]
    wasted = sum(bowl.runs >= FEWEST_RATES > bowl.runs - bowl.diverged for bowl in lacking)
    return len(lacking) - wasted, wasted


def without_minimum(bowls: Sequence[Bowl], name: str) -> list[Notice]:
    """Names the sizes, or the horizons, at which no cell shows a minimum."""
    tried = {getattr(bowl, name) for bowl in bowls}
    shown = {getattr(bowl, name) for bowl in bowls if bowl.status is BowlStatus.INTERIOR}
    lacking = sorted(tried - shown)
    if not lacking or len(lacking) > len(tried) / 2:  # if most lack one, the number of cells already says so
        return []
    listed = ", ".join(count(value) for value in lacking[:MOST_LISTED])
    more = f" and {len(lacking) - MOST_LISTED} more" if len(lacking) > MOST_LISTED else ""
    message = (
        f"No cell with {name} of {listed}{more} shows a minimum: the law there rests on the other cells."
    )
    return [Notice(code="no_minimum", message=message)]


def low_outlier_notices(bowls: Sequence[Bowl]) -> list[Notice]:
    """Names the cells of runs whose loss is too low to believe."""
    spoilt = [bowl for bowl in bowls if bowl.doubted]
    if not spoilt:
        return []
    places = [bowl.in_words for bowl in spoilt[:MOST_LISTED]]
    more = f" and {len(spoilt) - MOST_LISTED} more cells" if len(spoilt) > MOST_LISTED else ""
    runs = sum(bowl.doubted for bowl in spoilt)
    message = (
        f"{runs} run{'s are' if runs > 1 else ' is'} left out for a loss far below all others of the same cell and below "
        f"what the other cells reach, at {'; '.join(places)}{more}. Check the loss and its unit."
    )
    return [Notice(code="low_outliers", message=message)]


def step_notices(bowls: Sequence[Bowl]) -> list[Notice]:
    """Reports that cells have fewer tokens than one step takes."""
    short = [bowl for bowl in bowls if bowl.batch_tokens > (1 + CLOSE) * bowl.tokens]
    if not short:
        return []
    message = (
        f"{len(short)} of {len(bowls)} cells have more batch_tokens than tokens, less than one step, the first "
        f"{count(short[0].batch_tokens)} and {count(short[0].tokens)}. Check whether the two columns are swapped."
    )
    return [Notice(code="below_one_step", message=message)]


def bend_notice(name: str, *bends: tuple[float, float]) -> list[Notice]:
    """Names an axis along which ln η* departs from a straight power law by more than chance, and by enough to matter.

    Args:
        name: Of the axis.
        bends: By how much it departs at the ends of the runs, in ln η, and the standard deviation of that; all of
            several ways to count it must agree.
    """
    if any(abs(bend) <= max(BENT * sd, LEAST_BEND) for bend, sd in bends):
        return []
    bend, sd = bends[0]
    message = (
        f"ln η* curves in {name}: at the ends of the runs it lies {abs(bend):.2g} ± {sd:.1g} "
        f"{'above' if bend > 0 else 'below'} a straight power law, so extrapolate little."
    )
    return [Notice(code="curved", message=message)]


def outside(target: Point, used: Array) -> Array:
    """How many times a target lies outside the cells `used`, shape [cells, 3], along each axis: >= 1, shape [3]."""
    (point,) = point_array([target])
    return np.asarray(np.maximum(np.maximum(point / used.max(axis=0), used.min(axis=0) / point), 1.0))


def target_notices(
    target: Point, used: Array, coefficients: Sequence[Coefficient], *, no_valley: bool
) -> list[Notice]:
    """Notices of a prediction.

    Args:
        target: The (N, D, B) predicted for.
        used: (N, D, B) of the cells that the law rests on, shape [cells, 3].
        coefficients: Of the law.
        no_valley: Whether no rate loses at most 0.1 % with the probability asked for.
    """
    smallest, largest, times = used.min(axis=0), used.max(axis=0), outside(target, used)
    found = [
        Notice(
            code="far_outside",
            message=f"The target's {name}, {count(getattr(target, name))}, are {number(float(times[axis]))} times outside the runs "
            f"({count(float(smallest[axis]))} to {count(float(largest[axis]))}). Beyond {FAR:.0f} times no law of this kind "
            "has been checked.",
        )
        for axis, name in enumerate(AXES)
        if times[axis] > FAR
    ]
    found += aside_notices(target, used)
    for axis, term in from_prior(coefficients):
        if times[axis] > OUTSIDE:
            one = smallest[axis] * (1 + CLOSE) > largest[axis]
            source = (
                "comes from a prior, not from your runs"
                if one
                else "comes mostly from a prior: the runs say little of it"
            )
            message = (
                f"The target's {AXES[axis]} are {number(float(times[axis]))} times outside the runs, and the exponent of "
                f"{AXES[axis]} ({term.value:+.2f} ± {term.sd:.2f}) {source}."
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


def from_prior(coefficients: Sequence[Coefficient]) -> list[tuple[int, Coefficient]]:
    """The exponents that come from a prior, each with its axis."""
    by_name = {term.name: term for term in coefficients if term.from_prior}
    return [(axis, by_name[name]) for axis, name in enumerate(TERMS) if name in by_name]


def too_wide(target: Point, factor: float, used: Array, coefficients: Sequence[Coefficient]) -> Refused:
    """The refusal of a target whose 95 % interval is within ×/÷ `factor`; other arguments as in `target_notices`."""
    cause, advice = causes(target, used, [AXES[axis] for axis, _ in from_prior(coefficients)])
    return LawRefusal.INTERVAL_TOO_WIDE.error(
        place=target.in_words,
        known=f"only known within ×/÷ {number(factor)}" if factor <= UNKNOWN else "not known at all",
        cause=cause,
        advice=advice,
    )


def causes(target: Point, used: Array, prior_axes: Sequence[str]) -> tuple[str, str]:
    """The reason why an interval is too wide, and the runs that would narrow it.

    Args:
        target: The (N, D, B) predicted for.
        used: (N, D, B) of the cells that the law rests on, shape [cells, 3].
        prior_axes: Axes whose exponent comes from a prior.
    """
    smallest, largest, times = used.min(axis=0), used.max(axis=0), outside(target, used)
    found = []
    for axis, name in enumerate(AXES):
        if times[axis] < NEAR:
            continue
        if largest[axis] / smallest[axis] < 1 + CLOSE:
            found.append(
                f"its {name} are {number(float(times[axis]))} times away from the only value tried ({count(float(largest[axis]))})"
            )
        else:
            by_prior = ", and the exponent comes from a prior" if name in prior_axes else ""
            found.append(
                f"its {name} are {number(float(times[axis]))} times outside what was tried{by_prior}"
            )
    off = aside(target, used)
    if off and off.times > ASIDE * times.max():
        return off.sentence, f", or at other values of {AXES[off.axis]}"
    if found:
        names = " and ".join(name for axis, name in enumerate(AXES) if times[axis] >= NEAR)
        return " and ".join(found), f", or at other values of {names}"
    return "the runs are too few or too noisy to place the optimum", ", or more rates round the optimum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Distance of a target from the line that the cells follow: the axis, and the factor (< 1: below)."""

    axis: int
    factor: float

    @property
    def times(self) -> float:
        """The factor upwards or downwards, >= 1."""
        return max(self.factor, 1 / self.factor)

    @property
    def sentence(self) -> str:
        """The target's position, for people."""
        others = " and ".join(name for name in AXES if name != AXES[self.axis])
        side = "above" if self.factor > 1 else "below"
        return f"its {AXES[self.axis]} are {number(self.times)} times {side} what these runs used at such {others}"


def aside(target: Point, used: Array) -> Aside | None:
    """The largest distance of a target from the line that the cells follow; None if it is on it or there is no line.

    Each logarithm that follows the other two is predicted from them, and the cells' own scatter is subtracted. Distances
    are shares of the cells' range. An axis on which the target is inside the range of the cells takes precedence over one
    on which it is outside.
    """
    cells = np.log(used)
    away = np.log(point_array([target])[0]) - cells.mean(axis=0)
    inside = np.flatnonzero(outside(target, used) < NEAR).tolist()
    farthest, found = 0.0, None
    for axis in (2, 1, 0):  # of a tied pair, users change the batch, or else the horizon
        if np.ptp(cells[:, axis]) <= CLOSE or (inside and axis not in inside):
            continue
        others = [other for other in range(3) if other != axis]
        slopes, r2, residual = regress(cells[:, others], cells[:, axis])
        apart = float(away[axis] - away[others] @ slopes)
        beyond = (abs(apart) - float(np.abs(residual).max())) / float(np.ptp(cells[:, axis]))
        if r2 > FOLLOWS and beyond > farthest + CLOSE:
            farthest, found = beyond, Aside(axis=axis, factor=float(np.exp(np.clip(apart, -500, 500))))
    return found


def aside_notices(target: Point, used: Array) -> list[Notice]:
    """Reports that the target lies off the line that the cells follow."""
    off = aside(target, used)
    if off is None or off.times <= ASIDE:
        return []
    message = (
        f"The target lies off the line that the runs follow: {off.sentence}. The farther from it, the more "
        "the answer rests on priors."
    )
    return [Notice(code="off_the_line", message=message)]
