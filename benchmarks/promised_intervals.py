"""Whether a further size narrows the target's interval as promised: synthetic laws, and recorded sizes left out.

    OPENBLAS_NUM_THREADS=1 [ETALON_RECORDED_RUNS=<folder with run tables>] python -m benchmarks.promised_intervals
        [--worlds 200] [--design NAME] [--table FILE …]

Synthetic: sweeps whose law is known are fitted, the planner proposes a further size for a target that is 2 to 20 times
the largest, the proposed runs are made with noise, and the law is fitted again. Recorded: of each table the largest size
is the target and another is left out; of that one the recorded runs nearest to the proposed cells and rates are added,
or to the shortest horizon's where nothing is proposed. Promised and found: factor of the interval at the target; their
ratio is that of the logarithms. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.synthetic import COLUMNS, Truth, crossed, draw_truth, losses, world
from orchestrator.cells import TRAINING_FLOPS_PER_PARAM_TOKEN, Point
from orchestrator.errors import Refused
from orchestrator.law import FitOptions, Law, Observations, fit
from orchestrator.law.bowl import Z95
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.observations import Array, Index, point_array, point_list
from orchestrator.planner.further_size import FurtherCell, FurtherSize, expected_factor, further_size
from orchestrator.tables.formats import read_table

Random = np.random.Generator
FAST = FitOptions(heldout=False)
FEWEST_RATES = 3
TABLES = ("steplaw_dense.csv", "oellm_dense.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Runs of a further size and what came of them.

    Attributes:
        size: the proposed N over the target's; None where none was proposed.
        before, promised, found: ln of the factor of the target's 95 % interval before the runs, expected, and after them.
        holds: whether the interval after them holds the optimum at the target.
        share: FLOPs of the runs over those of one at the target.
    """

    size: float | None
    before: float
    promised: float
    found: float
    holds: bool
    share: float


def grid(sizes: int, horizons: int, batches: int = 1) -> Array:
    """All sizes, a factor two apart, at all horizons, a factor three apart, in all batches."""
    factors = [base ** np.arange(float(number)) for base, number in ((2, sizes), (3, horizons), (2, batches))]
    return crossed(1e8 * factors[0], 2e9 * factors[1], 131_072 * factors[2])


def compute_optimal() -> Array:
    """D of 20 N at four sizes, B following N."""
    sizes = 1e8 * 2 ** np.arange(4.0)
    return np.column_stack([sizes, 20 * sizes, 131_072 * (sizes / 1e8) ** 0.5])


DESIGNS: dict[str, Array] = {
    "one size": grid(1, 3),
    "two sizes": grid(2, 3, 2),
    "three sizes": grid(3, 3, 2),
    "four sizes": grid(4, 2, 2),
    "five sizes": grid(5, 3),
    "one horizon": grid(4, 1),
    "D = 20 N": compute_optimal(),
    "a third missing": grid(3, 3, 2)[np.arange(18) % 3 != 1],
}
SHIFTS = {"": None, ", no shift": 0.0, ", large shifts": 0.15}


def main() -> None:
    """Prints the two tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--worlds", type=int, default=200)
    arguments.add_argument("--design", choices=DESIGNS, nargs="*", default=list(DESIGNS))
    arguments.add_argument("--table", nargs="*", default=TABLES)
    options = arguments.parse_args()
    print_head("synthetic")
    for name in options.design:
        for words, shift in SHIFTS.items():
            print_row(name + words, list(kept_promises(DESIGNS[name], options.worlds, shift)), options.worlds)
    if "ETALON_RECORDED_RUNS" not in os.environ:
        return
    print()
    print_head("recorded, left out")
    for file in options.table:
        runs = read_table((Path(os.environ["ETALON_RECORDED_RUNS"]) / file).read_bytes()).observations()
        for size in np.unique(runs.params)[:-1].tolist():
            found = list(left_out(runs, size))
            print_row(f"{file.removesuffix('.csv')}, {size:.3g}", found, len(found))


def kept_promises(cells: Array, worlds: int, shift: float | None) -> Iterator[Promise]:
    """Makes the proposed runs in synthetic worlds; worlds without a law or a proposal are left out."""
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        truth = draw_truth(rng)
        truth = truth if shift is None else replace(truth, size=shift)
        aim = cells[[-1]] * [2 * 10 ** rng.uniform(0, 1), 3 ** rng.uniform(0, 1), 1.0]
        here = world(rng, truth, cells, aim)
        (target,) = point_list(aim)
        try:
            law = fit(here.runs, options=FAST)
        except Refused:
            continue
        proposal = further_size(law, target)
        if isinstance(proposal, str):
            continue
        again = fit(joined(here.runs, made(truth, rng, proposal)), options=FAST)
        mean, sd = (float(value[0]) for value in again.optimum(aim))
        yield Promise(
            size=proposal.params / target.params,
            before=float(np.log(proposal.factor_before)),
            promised=float(np.log(proposal.factor_after)),
            found=Z95 * sd,
            holds=bool(abs(mean - here.optimum[0]) <= Z95 * sd),
            share=proposal.flops / flops_at(target),
        )


def made(truth: Truth, rng: Random, proposal: FurtherSize) -> Observations:
    """The runs of a proposal in a synthetic world: the size draws its shift, each cell its own."""
    rows: list[tuple[float, ...]] = []
    shift = rng.normal(0, truth.size)
    for one in proposal.cells:
        (place,) = point_array([one.cell])
        bottom = float(truth.optimum(place[None, :])[0]) + shift + rng.normal(0, truth.cell)
        loss = losses(truth, rng, place, np.log(one.rates) - bottom, None)
        rows += [(*place, rate, value) for rate, value in zip(one.rates, loss.tolist(), strict=True)]
    return Observations(**dict(zip(COLUMNS, np.array(rows).T, strict=True)))


def left_out(runs: Observations, size: float) -> Iterator[Promise]:
    """For each interior cell of the largest size: the runs of `size` that are nearest to the proposed ones are added."""
    largest = float(runs.params.max())
    known = runs.where((runs.params < largest) & (runs.params != size))
    there = runs.where((runs.params == size) & np.isfinite(runs.loss))
    law, whole = fit(known, options=FAST), fit(runs, options=FAST)
    for bowl in whole.bowls:
        if bowl.params != largest or bowl.status is not BowlStatus.INTERIOR:
            continue
        (aim,) = point_array([bowl.point])
        found = further_size(law, bowl.point)
        proposal = None if isinstance(found, str) else found
        cells = recorded(there, law, proposal.cells if proposal else shortest(there, law, bowl.point))
        if not cells:
            continue
        rows = np.concatenate([rows_of(there, one) for one in cells])
        again = fit(joined(known, there.where(rows)), options=FAST)
        mean, sd = (float(value[0]) for value in again.optimum(aim[None, :]))
        cost = sum(one.cell.params * one.cell.tokens * len(one.rates) for one in cells)
        yield Promise(
            size=proposal.params / largest if proposal else None,
            before=Z95 * float(law.optimum(aim[None, :])[1][0]),
            promised=float(np.log(expected_factor(law, bowl.point, cells))),
            found=Z95 * sd,
            holds=bool(abs(mean - np.log(bowl.learning_rate)) <= Z95 * sd),
            share=TRAINING_FLOPS_PER_PARAM_TOKEN * cost / flops_at(bowl.point),
        )


def shortest(runs: Observations, law: Law, target: Point) -> tuple[FurtherCell, ...]:
    """The shortest horizon of one size at the target's batch, three rates a factor two apart."""
    cell = replace(target, params=float(runs.params[0]), tokens=float(runs.tokens.min()))
    middle = float(law.band(point_array([cell]))[0][0])
    rates = np.exp(middle + np.log(2) * np.array([-1.0, 0.0, 1.0]))
    return (FurtherCell(cell=cell, rates=tuple(rates.tolist())),)


def recorded(runs: Observations, law: Law, wanted: Sequence[FurtherCell]) -> list[FurtherCell]:
    """The recorded cells and rates nearest to those wanted, the rates in distance from the predicted optima."""
    places = np.unique(runs.points, axis=0)
    found: dict[Point, FurtherCell] = {}
    for one in wanted:
        asked = point_array([one.cell])
        here = places[[np.abs(np.log(places[:, 1:] / asked[:, 1:])).sum(axis=1).argmin()]]
        tried = np.unique(runs.learning_rate[(runs.points == here).all(axis=1)])
        moved = np.log(one.rates) + law.band(here)[0] - law.band(asked)[0]
        nearest = {int(np.abs(np.log(tried) - at).argmin()) for at in moved}
        if len(nearest) >= FEWEST_RATES:
            (cell,) = point_list(here)
            found[cell] = FurtherCell(cell=cell, rates=tuple(tried[sorted(nearest)].tolist()))
    return list(found.values())


def rows_of(runs: Observations, one: FurtherCell) -> Index:
    """The numbers of the recorded runs of a cell at its rates."""
    here = (runs.points == point_array([one.cell])).all(axis=1)
    return np.flatnonzero(here & np.isin(runs.learning_rate, one.rates))


def joined(one: Observations, other: Observations) -> Observations:
    """Two tables one under the other."""
    return Observations(
        **{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in COLUMNS}
    )


def flops_at(target: Point) -> float:
    """FLOPs of a run at the target."""
    return TRAINING_FLOPS_PER_PARAM_TOKEN * target.params * target.tokens


def print_head(title: str) -> None:
    """Prints the head of a table."""
    columns = (
        *("offers", "N over the target's", "FLOPs over a run there", "before ×/÷", "promised", "found"),
        *("found / promised (10 to 90 %)", "95 % holds"),
    )
    print(f"| {' | '.join((title, *columns))} |")
    print(f"| {' | '.join(['---'] * (len(columns) + 1))} |", flush=True)


def print_row(name: str, found: list[Promise], asked: int) -> None:
    """Prints one row: medians, and the ratio of the logarithms of the factors with its spread."""
    offers = [one.size for one in found if one.size is not None]
    columns = [f"{len(offers)} of {asked}", f"{np.median(offers):.2g}" if offers else "–"]
    if found:
        before, promised, after, share = np.array(
            [(one.before, one.promised, one.found, one.share) for one in found]
        ).T
        low, middle, high = np.quantile(after / promised, (0.1, 0.5, 0.9))
        columns.append(f"{100 * np.median(share):.2g} %")
        columns += [f"{np.exp(np.median(column)):.2f}" for column in (before, promised, after)]
        columns.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        columns.append(f"{100 * np.mean([one.holds for one in found]):.0f} %")
    print(f"| {' | '.join((name, *columns))} |", flush=True)


if __name__ == "__main__":
    main()
