"""The best batch and the expected loss at sizes and horizons that a law has not seen.

    ETALON_RECORDED_RUNS=<folder with the recorded tables> OPENBLAS_NUM_THREADS=1 python -m benchmarks.batch [--replicates 20]

A part of a table is left out, the law is fitted to the rest and asked for the best pair of batch and rate at every (N, D) of
the part. The joint excess loss is that of the pair over the best recorded pair of that (N, D): in each batch the recorded
losses are interpolated at the rate (PCHIP in ln η, held at the ends), and these at the batch (PCHIP in ln B). The best batch
of an (N, D) of its own is the bottom of a parabola through the five batches round its best, where that is interior.

Tables of mixtures are not public. The stand-in draws them: a best batch ∝ D^0.33 to D^0.45, the optimum's peak at 60,000
to 100,000 steps, horizons up to 8 B tokens known and 20 B asked for.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from orchestrator.cells import Point
from orchestrator.law import Bowl, BowlStatus, FitOptions, Law, Observations, fit
from orchestrator.law.batch_cost import BestBatch
from orchestrator.law.best_batch import BatchLaw, batch_law
from orchestrator.law.bottoms import Bottoms
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_shape import rise
from orchestrator.law.loss_level import LossLevel, loss_level
from orchestrator.law.observations import point_array
from orchestrator.law.published import LAWS
from orchestrator.law.unseen_cells import RecordedBowl
from orchestrator.tables.formats import read_table

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
FAST = FitOptions(heldout=False)
STEP_LAW = next(law for law in LAWS if law.name == "Step Law")
ROUND_BEST = 5


@dataclass(frozen=True, kw_only=True)
class LeftOutParts:
    """Parts of a table to leave out in turn, and what is wanted of the mean joint excess loss, in per cent."""

    name: str
    table: str
    parts: Callable[[Observations], Iterator[Mask]]
    target: str = ""


def each_size(runs: Observations) -> Iterator[Mask]:
    """Every size in turn."""
    for params in np.unique(runs.params):
        yield runs.params == params


def long_horizons(runs: Observations) -> Iterator[Mask]:
    """The horizons of 120 B tokens and more."""
    yield runs.tokens > 1.19e11


TASKS = (
    LeftOutParts(name="Step Law, each size left out", table="steplaw_dense", parts=each_size, target="0.085"),
    LeftOutParts(name="OELLM, D < 120 B → longer", table="oellm_dense", parts=long_horizons, target="0.045"),
    LeftOutParts(name="OELLM, each size left out", table="oellm_dense", parts=each_size),
)


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """What was answered at one (N, D), losses in per cent.

    Attributes:
        excess: Joint excess loss of the answer.
        own: … of the (N, D)'s own best batch at the law's rate.
        step_law: … of Step Law's pair.
        largest: … of the largest batch tried, at the law's rate.
        off: ln of the answered over the own best batch; NaN where that is at an edge.
        sd: Standard deviation that the answer names.
    """

    excess: float
    own: float
    step_law: float
    largest: float
    off: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class JudgedCell:
    """Expected loss of one cell left out, and the cost of its batch: off by, and whether the interval holds."""

    off: float
    holds: bool
    cost_holds: bool


def recorded_losses(
    runs: Observations, place: Array, rate: Callable[[float], float]
) -> tuple[Array, Array, float]:
    """Ln B and recorded loss at `rate(B)` of the batches of an (N, D), and its least loss."""
    here = runs.where((runs.points[:, :2] == place).all(axis=1) & np.isfinite(runs.loss))
    batches, losses = [], []
    for batch in np.unique(here.batch_tokens).tolist():
        own = here.where(here.batch_tokens == batch)
        if np.unique(own.learning_rate).size > 1:
            bowl = RecordedBowl.of(np.log(own.learning_rate), own.loss)
            batches.append(np.log(batch))
            losses.append(bowl.best * (1 + bowl.held(float(np.log(rate(batch))))))
    return np.array(batches), np.array(losses), float(here.loss.min())


def excess_at(recorded: tuple[Array, Array, float], log_batch: float) -> float:
    """Joint excess loss in per cent; the batch is held at the ends of those recorded."""
    x, losses, best = recorded
    inside = min(max(log_batch, x[0]), x[-1])
    loss = float(PchipInterpolator(x, losses)(inside)) if x.size > 1 else float(losses[0])
    return 100 * (loss / best - 1)


def own_best(whole: Law, place: Array) -> tuple[float, bool]:
    """Ln of the best batch of an (N, D) by its own bowls, and whether it lies between the batches tried."""
    bowls = [bowl for bowl in whole.bowls if (bowl.params, bowl.tokens) == tuple(place.tolist())]
    bottoms = Bottoms.of(bowls)
    x, y = bottoms.logs[:, 2], bottoms.log_loss
    best = int(np.argmin(y))
    if best in {0, y.size - 1}:
        return float(x[best]), False
    first = max(0, min(best - ROUND_BEST // 2, y.size - ROUND_BEST))
    near = slice(first, first + ROUND_BEST)
    bend, slope, _ = np.polyfit(x[near], y[near], 2, w=1 / np.sqrt(bottoms.variance[near] + 4e-4**2))
    return (float(-slope / (2 * bend)), True) if bend > 0 else (float(x[best]), False)


def judge_pair(law: Law, best: BestBatch, whole: Law, part: Observations, place: Array) -> JudgedPair:
    """Judges the answer at one (N, D)."""
    params, tokens = place.tolist()

    def rate(batch: float) -> float:
        return float(np.exp(law.optimum(np.array([[params, tokens, batch]]))[0][0]))

    published = Point(params=params, tokens=tokens, batch_tokens=0.58 * tokens**0.571)
    recorded = recorded_losses(part, place, rate)
    by_formula = recorded_losses(part, place, lambda _: STEP_LAW.rate(published))
    own, interior = own_best(whole, place)
    return JudgedPair(
        excess=excess_at(recorded, float(best.mean[0])),
        own=excess_at(recorded, own),
        step_law=excess_at(by_formula, float(np.log(published.batch_tokens))),
        largest=excess_at(recorded, np.inf),
        off=float(best.mean[0]) - own if interior else np.nan,
        sd=best.sd,
    )


def judge_cells(
    level: LossLevel, batches: BatchLaw, law: Law, whole: Law, part: Observations
) -> list[JudgedCell]:
    """Judges the expected loss, and the cost of each batch, in the cells of a part by their own bowls."""
    places = {tuple(point) for point in part.points.tolist()}
    bowls = [
        bowl
        for bowl in whole.bowls
        if (bowl.params, bowl.tokens, bowl.batch_tokens) in places
        and bowl.loss is not None
        and bowl.status is not BowlStatus.TOO_FEW
    ]
    points, truth = point_array(bowls), np.log([bowl.loss for bowl in bowls if bowl.loss is not None])
    mean, sd = level.at(points)
    off = mean - truth
    held = np.abs(off) < Z95 * np.hypot(sd, law.noise)
    found = []
    for row, point in enumerate(points):
        same = (points[:, :2] == point[:2]).all(axis=1)
        cost = np.expm1(truth[row] - truth[same].min())
        _, low, high = batches.at(*point[:2].tolist()).excess_loss(point[2:])
        slack = Z95 * np.sqrt(2) * law.noise
        found.append(
            JudgedCell(
                off=float(off[row]),
                holds=bool(held[row]),
                cost_holds=bool(low[0] - slack <= cost <= high[0] + slack),
            )
        )
    return found


def judge(runs: Observations, left_out: Mask, whole: Law) -> tuple[list[JudgedPair], list[JudgedCell]]:
    """Fits without a part and judges the answers there."""
    law, part = fit(runs.where(~left_out), options=FAST), runs.where(left_out)
    batches, level = batch_law(law.bowls), loss_level(law.bowls)
    if isinstance(batches, str) or level is None:
        raise SystemExit(f"no best batch: {batches}")
    pairs = [
        judge_pair(law, batches.at(*place.tolist()), whole, part, place)
        for place in np.unique(part.points[:, :2], axis=0)
    ]
    return pairs, judge_cells(level, batches, law, whole, part)


def stand_in(seed: int) -> Observations:
    """Runs of a mixture that nobody has trained: three sizes, 2 to 20 B tokens, seven batches, nine rates."""
    rng = np.random.default_rng(seed)
    exponent, peak = rng.uniform(0.33, 0.45), rng.uniform(6e4, 1e5)
    level, falls, bowl = rng.normal(-6.5, 0.5), rng.normal(-0.45, 0.1), rng.uniform(0.006, 0.012)
    valley, tilt = rng.uniform(0.003, 0.007), rng.uniform(0.2, 0.6)
    rows = []
    for params in (1e8, 3e8, 9e8):
        shift = rng.normal(0.0, 0.08, 2)
        for tokens in (2e9, 4e9, 8e9, 2e10):
            log_best = np.log(2.5e5 * (tokens / 8e9) ** exponent) + shift[0] + rng.normal(0.0, 0.1)
            bottom = 1.7 + 0.9 * (params / 1e8) ** -0.34 + 0.7 * (tokens / 8e9) ** -0.28
            for batch in 32_768.0 * 2 ** np.arange(7):
                steps = tokens / batch
                optimum = level + falls * np.log(params / 3e8) + shift[1] - 0.5 * np.log1p(peak / steps)
                optimum += 0.25 * np.log(batch / 2.5e5) - 0.15 * np.log(steps / peak)
                x = optimum + 0.35 * (np.arange(9) - 4) + rng.uniform(-0.17, 0.17)
                height = bowl * rise(x - optimum, 0.6) + valley * rise(np.log(batch) - log_best, tilt)
                loss = bottom * np.exp(height + 5e-4 * rng.standard_normal(x.size))
                rows += [
                    (params, tokens, batch, at, value) for at, value in zip(np.exp(x), loss, strict=True)
                ]
    columns = np.array(rows).T
    return Observations(
        params=columns[0],
        tokens=columns[1],
        batch_tokens=columns[2],
        learning_rate=columns[3],
        loss=columns[4],
    )


def show(name: str, target: str, pairs: list[JudgedPair], cells: list[JudgedCell]) -> None:
    """Prints a row."""
    excess, own, step_law, largest, off, sd = np.array(
        [(p.excess, p.own, p.step_law, p.largest, p.off, p.sd) for p in pairs]
    ).T
    known = np.isfinite(off)
    held = int((np.abs(off) < Z95 * sd)[known].sum())
    misses = np.array([cell.off for cell in cells])
    print(
        f"| {name} | {len(pairs)} | {excess.mean():.3f} | {target} | {own.mean():.3f} | {step_law.mean():.3f} | "
        f"{largest.mean():.2f} | {np.sqrt((off[known] ** 2).mean()):.2f} | {held} of {known.sum()} | "
        f"{sum(cell.cost_holds for cell in cells)} of {len(cells)} | {100 * np.sqrt((misses**2).mean()):.2f} | "
        f"{sum(cell.holds for cell in cells)} of {len(cells)} |"
    )


def speed() -> None:
    """Prints the milliseconds of one thread for 20 and 120 (N, D) of eight batches."""
    print("\n| (N, D) | best batch, ms | level of the loss, ms |\n|---|---|---|")
    for sizes, horizons in ((5, 4), (12, 10)):
        runs = _grid(sizes, horizons)
        bowls = fit(runs, options=FAST).bowls
        took = [min(_seconds(work, bowls) for _ in range(9)) for work in (batch_law, loss_level)]
        print(f"| {sizes * horizons} | {1e3 * took[0]:.1f} | {1e3 * took[1]:.1f} |")


def _seconds(work: Callable[[Sequence[Bowl]], object], bowls: Sequence[Bowl]) -> float:
    start = time.process_time()
    work(bowls)
    return time.process_time() - start


def _grid(sizes: int, horizons: int) -> Observations:
    rng = np.random.default_rng(0)
    places = np.array(
        [
            (5e7 * 1.5**i, 2e9 * 1.4**j, 65_536 * 2.0**k)
            for i in range(sizes)
            for j in range(horizons)
            for k in range(8)
        ]
    )
    u = np.tile([-0.7, -0.35, 0.0, 0.35, 0.7], len(places))
    params, tokens, batch_tokens = np.repeat(places, 5, axis=0).T
    off = np.log(batch_tokens / (0.58 * tokens**0.571))
    loss = (1.7 + (params / 1e8) ** -0.34 + (tokens / 1e10) ** -0.28) * np.exp(
        0.01 * u**2 + 0.005 * rise(off, 0.4)
    )
    return Observations(
        params=params,
        tokens=tokens,
        batch_tokens=batch_tokens,
        learning_rate=1e-3 * np.exp(u),
        loss=loss * np.exp(5e-4 * rng.standard_normal(loss.size)),
    )


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=20, help="how many stand-ins for mixtures")
    replicates = parser.parse_args().replicates
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    print(
        "| fitted → asked | (N, D) | joint excess % | target ≤ | own best batch % | Step Law's pair % | largest tried % | "
        "ln B off, rms (≤ 0.2) | interval holds (≥ 90 %) | costs hold | ln L off, rms % | loss interval holds (≥ 90 %) |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    if folder is None:
        print("| ETALON_RECORDED_RUNS is not set: no recorded runs |" + " |" * 11)
    for task in TASKS if folder is not None else ():
        path = Path(folder or "") / f"{task.table}.csv"
        if not path.exists():
            print(f"| {task.name}: {path.name} is not there |" + " |" * 11)
            continue
        runs = read_table(path.read_bytes()).observations()
        whole = fit(runs, options=FAST)
        judged = [judge(runs, left_out, whole) for left_out in task.parts(runs)]
        show(
            task.name,
            task.target,
            *([item for part in parts for item in part] for parts in zip(*judged, strict=True)),
        )
    drawn = []
    for seed in range(replicates):
        runs = stand_in(seed)
        drawn.append(judge(runs, runs.tokens > 1.9e10, fit(runs, options=FAST)))
    show(
        f"stand-in for mixtures ({replicates}), D ≤ 8 B → 20 B",
        "0.08",
        *([item for part in parts for item in part] for parts in zip(*drawn, strict=True)),
    )
    speed()


if __name__ == "__main__":
    main()
