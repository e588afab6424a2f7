"""Accuracy of the law on Step Law's dense runs, with the published formula and the floor beside it.

The law is fitted without a part of the table and predicts every cell of that part with 131,072 tokens a step or more.
Excess loss: the recorded losses of the cell, interpolated (PCHIP in ln η) at the predicted rate, over the best recorded one.
The floor is the excess loss of the cells' own bowls, each fitted to all its runs: the noise of the recorded losses, which no
law can avoid.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import Refused
from orchestrator.law import Bowl, BowlStatus, FitOptions, Law, Observations, fit
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import rise
from orchestrator.law.observations import point_array
from orchestrator.law.published import LAWS
from orchestrator.law.unseen_cells import RecordedBowl

Array = NDArray[np.float64]
FAST = FitOptions(heldout=False)
LEAST_BATCH = 131_072
STEP_LAW = next(law for law in LAWS if law.name == "Step Law")


def size(params: float) -> Callable[[Observations], NDArray[np.bool_]]:
    """The runs whose params are within 1 % of these."""
    return lambda runs: np.abs(np.log(runs.params / params)) < 0.01


PARTS: dict[str, Callable[[Observations], NDArray[np.bool_]]] = {
    "537 M": size(536_872_960),
    "429 M": size(429_260_800),
    "268 M": size(268_304_384),
    "215 M": size(214_663_680),
    "D ≥ 50 B": lambda runs: runs.tokens > 4.9e10,
}


def recorded_excess(runs: Observations, bowl: Bowl, log_rate: float) -> float:
    """Excess loss in per cent of a rate in a recorded cell, held at the ends of the rates tried."""
    own = (
        (runs.params == bowl.params) & (runs.tokens == bowl.tokens) & (runs.batch_tokens == bowl.batch_tokens)
    )
    own &= np.isfinite(runs.loss)
    return 100 * RecordedBowl.of(np.log(runs.learning_rate[own]), runs.loss[own]).held(float(log_rate))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One part left out: excess losses (per cent) and errors of ln η* per cell."""

    excess: Array
    formula: Array
    floor: Array
    error: Array
    sd: Array
    measured_sd: Array
    interior: NDArray[np.bool_]
    valley: Array

    @property
    def coverage(self) -> float:
        """Share of interior bowls whose own optimum lies in the 95 % interval."""
        return float((np.abs(self.error) < Z95 * self.sd)[self.interior].mean())


def judge(runs: Observations, whole: Law, left_out: NDArray[np.bool_]) -> Judged:
    """Fits without a part and predicts its cells."""
    law = fit(runs.where(~left_out), options=FAST)
    part = runs.where(left_out)
    places = set(zip(part.params, part.tokens, part.batch_tokens, strict=True))
    bowls = [
        bowl for bowl in whole.bowls if bowl.batch_tokens >= LEAST_BATCH and astuple(bowl.point) in places
    ]
    mean, sd = law.optimum(point_array(bowls))
    own = np.log([bowl.learning_rate for bowl in bowls])
    return Judged(
        excess=np.array([recorded_excess(part, bowl, at) for bowl, at in zip(bowls, mean, strict=True)]),
        formula=np.array([recorded_excess(part, b, np.log(STEP_LAW.rate(b))) for b in bowls]),
        floor=np.array([recorded_excess(part, bowl, at) for bowl, at in zip(bowls, own, strict=True)]),
        error=mean - own,
        sd=sd,
        measured_sd=np.array([bowl.sd for bowl in bowls]),
        interior=np.array([bowl.status is BowlStatus.INTERIOR for bowl in bowls]),
        valley=np.array([in_valley(law, part, bowl) for bowl in bowls]),
    )


def in_valley(law: Law, runs: Observations, bowl: Bowl) -> tuple[float, float]:
    """Shares of the rates in a predicted valley that lose at most 0.1 %: by the cell's own bowl, by its recorded losses."""
    try:
        predicted = law.predict(bowl.point)
    except Refused:
        return np.nan, np.nan
    if predicted.valley_low == predicted.valley_high:
        return np.nan, np.nan
    rates = np.linspace(np.log(predicted.valley_low), np.log(predicted.valley_high), 11)
    by_bowl = bowl.curvature * rise(rates - np.log(bowl.learning_rate), bowl.asymmetry)
    recorded = np.array([recorded_excess(runs, bowl, at) for at in rates.tolist()])
    return float((by_bowl <= np.log(1.001)).mean()), float((recorded <= 0.1).mean())


def accuracy(runs: Observations) -> None:
    """Prints the accuracy table."""
    whole = fit(runs, options=FAST)
    print(
        "left out    law mean (worst) %   Step Law's formula %   floor %    95 % holds   sd of ln η*   rms z"
    )
    every = []
    for name, part in PARTS.items():
        found = judge(runs, whole, part(runs))
        every.append(found)
        z = (found.error / np.hypot(found.sd, found.measured_sd))[found.interior]
        print(
            f"{name:10s}  {found.excess.mean():.3f} ({found.excess.max():.2f})         "
            f"{found.formula.mean():.3f} ({found.formula.max():.2f})           {found.floor.mean():.3f}      "
            f"{found.coverage:.3f}        {found.sd.mean():.3f}         {np.sqrt((z**2).mean()):.2f}"
        )
    valley = np.concatenate([f.valley[f.interior] for f in every])
    by_bowl, recorded = np.nanmean(valley, axis=0)
    print(
        f"valleys     named in {np.isfinite(valley[:, 0]).mean():.3f} of the cells; of the rates inside {by_bowl:.3f} lose at "
        f"most 0.1 % by the cell's own bowl, {recorded:.3f} by its recorded losses"
    )
    inside = np.concatenate([(np.abs(f.error) < Z95 * f.sd)[f.interior] for f in every])
    print(
        f"all         {np.mean([f.excess.mean() for f in every]):.4f}; 95 % holds {inside.mean():.3f} of {inside.size}; "
        f"mean sd {np.concatenate([f.sd for f in every]).mean():.3f}"
    )
