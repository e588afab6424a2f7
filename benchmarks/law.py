"""How good the law is: accuracy on recorded runs, calibration on them and on synthetic truth, speed.

    ETALON_RECORDED_RUNS=<folder with steplaw_dense.csv> OPENBLAS_NUM_THREADS=1 python -m benchmarks.law [--synthetic 1000]

Accuracy: the law is fitted without a part of the table and asked for every cell of that part with 131,072 tokens a
step or more. Excess loss: the recorded rates of the cell interpolated (PCHIP in ln η) at the answer, over the best
recorded one. The floor is what the cells' own bowls cost by the same measure, each seeing all its runs: noise of
the recorded losses that no law can avoid.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from orchestrator.law import Bowl, BowlStatus, FitOptions, Law, Observations, Refused, fit
from orchestrator.law.published import step_law

Array = NDArray[np.float64]
FAST = FitOptions(heldout=False)
LEAST_BATCH = 131_072


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


def read(path: Path) -> Observations:
    """A run table of one recipe."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("params", "tokens", "batch_tokens", "learning_rate", "loss")
    return Observations(**{name: np.array([float(row[name] or "nan") for row in rows]) for name in columns})


def recorded_excess(runs: Observations, bowl: Bowl, log_rate: float) -> float:
    """Excess loss in per cent of a rate in a recorded cell, held at the ends of the rates tried."""
    own = (
        (runs.params == bowl.params) & (runs.tokens == bowl.tokens) & (runs.batch_tokens == bowl.batch_tokens)
    )
    own &= np.isfinite(runs.loss)
    x, where = np.unique(np.log(runs.learning_rate[own]), return_inverse=True)
    loss = np.bincount(where, weights=runs.loss[own]) / np.bincount(where)
    at = PchipInterpolator(x, loss)(np.clip(log_rate, x[0], x[-1]))
    return 100 * float(at / loss.min() - 1)


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

    @property
    def coverage(self) -> float:
        """Share of interior bowls whose own optimum lies in the 95 % interval."""
        return float((np.abs(self.error) < 1.96 * self.sd)[self.interior].mean())


def judge(
    runs: Observations, whole: Law, left_out: NDArray[np.bool_], least_batch: float = LEAST_BATCH
) -> Judged:
    """Fits without a part and asks for its cells."""
    law = fit(runs.where(~left_out), options=FAST)
    part = runs.where(left_out)
    places = set(zip(part.params, part.tokens, part.batch_tokens, strict=True))
    bowls = [
        bowl
        for bowl in whole.bowls
        if bowl.batch_tokens >= least_batch and (bowl.params, bowl.tokens, bowl.batch_tokens) in places
    ]
    params, tokens, batch = np.array([(bowl.params, bowl.tokens, bowl.batch_tokens) for bowl in bowls]).T
    mean, sd = law.optimum(params, tokens, batch)
    own = np.log([bowl.learning_rate for bowl in bowls])
    return Judged(
        excess=np.array([recorded_excess(part, bowl, at) for bowl, at in zip(bowls, mean, strict=True)]),
        formula=np.array([recorded_excess(part, b, np.log(step_law(b.params, b.tokens))) for b in bowls]),
        floor=np.array([recorded_excess(part, bowl, at) for bowl, at in zip(bowls, own, strict=True)]),
        error=mean - own,
        sd=sd,
        measured_sd=np.array([bowl.sd for bowl in bowls]),
        interior=np.array([bowl.status is BowlStatus.INTERIOR for bowl in bowls]),
    )


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
    inside = np.concatenate([(np.abs(f.error) < 1.96 * f.sd)[f.interior] for f in every])
    print(
        f"all         {np.mean([f.excess.mean() for f in every]):.4f}; 95 % holds {inside.mean():.3f} of {inside.size}; "
        f"mean sd {np.concatenate([f.sd for f in every]).mean():.3f}"
    )


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A synthetic law: exponents, drifts, how much each cell and size departs, and the noise."""

    level: float
    alpha: float
    beta: float
    gamma: float
    drift: float
    bend: float
    cell: float
    size: float
    noise: float
    curvature: float
    asymmetry: float


def draw_truth(rng: np.random.Generator) -> Truth:
    """A law like those of real recipes : it falls with N, with D by batch, and rises with B until it saturates."""
    return Truth(
        level=rng.normal(-6.0, 1.0),
        alpha=rng.normal(-0.45, 0.2),
        beta=rng.normal(-0.1, 0.2),
        gamma=rng.normal(0.3, 0.15),
        drift=rng.normal(0.08, 0.05),
        bend=rng.normal(-0.06, 0.04),
        cell=np.exp(rng.normal(np.log(0.05), 0.4)),
        size=np.exp(rng.normal(np.log(0.05), 0.4)),
        noise=np.exp(rng.uniform(np.log(2e-4), np.log(4e-3))),
        curvature=rng.normal(-4.3, 0.4),
        asymmetry=rng.uniform(-0.5, 1.5),
    )


def synthetic(rng: np.random.Generator) -> tuple[Observations, Array, Array]:
    """Runs of a synthetic law, all on one lattice of rates, and held-out cells one size up.

    Returns:
        (the runs, the places of the cells held out [m, 3], their true ln η* [m]).
    """
    truth = draw_truth(rng)
    sizes = 1e8 * 2.0 ** np.arange(rng.integers(3, 6))
    horizons = 2e9 * 3.0 ** np.arange(rng.integers(2, 5))
    batches = 131072 * 2.0 ** np.arange(rng.choice([1, 2, 4]))
    places = np.array([(n, d, b) for n in sizes for d in horizons for b in batches])
    n, d, b = np.log(places / [2e8, 1e10, 3e5]).T
    optimum = truth.level + truth.alpha * n + truth.beta * d + truth.gamma * b + truth.drift * d * b
    optimum = optimum + truth.bend * b * b + rng.normal(0, truth.cell, len(places))
    optimum += rng.normal(0, truth.size, sizes.size)[np.searchsorted(sizes, places[:, 0])]
    held = places[:, 0] == sizes[-1]
    lattice = np.median(optimum[~held]) + rng.normal(0, 0.3) + lattice_steps(rng)
    rows = []
    for place, bottom in zip(places[~held], optimum[~held], strict=True):
        rows += [
            (*place, np.exp(x), loss)
            for x, loss in zip(lattice, losses(truth, rng, place, lattice - bottom), strict=True)
        ]
    params, tokens, batch, rate, loss = np.array(rows).T
    runs = Observations(params=params, tokens=tokens, batch_tokens=batch, learning_rate=rate, loss=loss)
    return runs, places[held], optimum[held]


def lattice_steps(rng: np.random.Generator) -> Array:
    """Distances in ln η of a lattice from its middle: five to ten rates, a factor 1.4 to 2 apart."""
    rates = int(rng.integers(5, 11))
    return np.asarray(rng.uniform(0.35, 0.7) * (np.arange(rates) - (rates - 1) / 2), dtype=np.float64)


def losses(truth: Truth, rng: np.random.Generator, place: Array, u: Array) -> Array:
    """Losses of one cell at distances u from its bottom, NaN where a run diverged."""
    a = truth.asymmetry
    rise = np.exp(truth.curvature + rng.normal(0, 0.15)) * 2 / a**2 * (np.expm1(a * u) - a * u)
    noise = rng.standard_t(5, u.size) * truth.noise * np.sqrt(3 / 5)
    loss = (
        3.0 * (place[0] / 1e8) ** -0.06 * (place[1] / 1e10) ** -0.07 * np.exp(np.minimum(rise, 2.0) + noise)
    )
    return np.asarray(np.where((u > 1.5) & (rng.random(u.size) < 0.5), np.nan, loss), dtype=np.float64)


def calibration(laws: int) -> None:
    """Prints coverage over synthetic laws, at the cells of a size that was never run."""
    inside, sds, z, refused = [], [], [], 0
    per_law = []
    for seed in range(laws):
        runs, places, truth = synthetic(np.random.default_rng(seed))
        try:
            law = fit(runs, options=FAST)
        except Refused:
            refused += 1
            continue
        mean, sd = law.optimum(*places.T)
        inside += (np.abs(mean - truth) < 1.96 * sd).tolist()
        per_law.append((np.abs(mean - truth) < 1.96 * sd).mean())
        z += ((mean - truth) / sd).tolist()
        sds += sd.tolist()
    print(
        f"synthetic   {laws} laws ({refused} refused), {len(inside)} unseen cells: 95 % holds {np.mean(inside):.3f} "
        f"(per law {np.mean(per_law):.3f}), mean sd {np.mean(sds):.3f}, rms z {np.sqrt(np.mean(np.square(z))):.2f}"
    )


def speed(runs: Observations) -> None:
    """Prints the processor time of a refit, and of one ten times larger, with and without the held-out error."""
    copies = [
        Observations(
            params=runs.params * factor,
            tokens=runs.tokens * factor**0.5,
            batch_tokens=runs.batch_tokens,
            learning_rate=runs.learning_rate * factor**-0.4,
            loss=runs.loss,
        )
        for factor in 1.07 ** np.arange(10)
    ]
    columns = ("params", "tokens", "batch_tokens", "learning_rate", "loss")
    many = Observations(
        **{name: np.concatenate([getattr(copy, name) for copy in copies]) for name in columns}
    )
    for table in (runs, many):
        for options in (FAST, FitOptions()):
            times = []
            for _ in range(5):
                start = time.process_time()
                fit(table, options=options)
                times.append(time.process_time() - start)
            print(
                f"speed       {table.size} runs, held-out error {options.heldout}: {1e3 * min(times):.0f} ms"
            )


def main() -> None:
    """Prints everything."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--synthetic", type=int, default=300, help="how many synthetic laws")
    laws = arguments.parse_args().synthetic
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    if folder is None:
        print("ETALON_RECORDED_RUNS is not set: no recorded runs, synthetic laws only")
    else:
        runs = read(Path(folder) / "steplaw_dense.csv")
        accuracy(runs)
        speed(runs)
    calibration(laws)


if __name__ == "__main__":
    main()
