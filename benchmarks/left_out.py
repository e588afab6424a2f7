"""Coverage of the law's intervals on parts of recorded runs that it was fitted without, and on laws that curve in size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.law_accuracy import FAST, recorded_excess
from benchmarks.synthetic import crossed, draw_truth, lopsided, world
from orchestrator.law import BowlStatus, Law, Observations, fit
from orchestrator.law.bowl import Z95
from orchestrator.law.law import WIDEST
from orchestrator.law.observations import point_array
from orchestrator.tables.formats import read_table

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
CURLS, TIMES, LAWS = (0.0, 0.03, 0.06), (4, 10, 30), 12
HEADER = "| fitted → asked | cells | 95 % holds | mean sd | rms error | mean excess % | target |\n|---|---|---|---|---|---|---|"
TARGETS = {
    "Step Law: each size left out": "≥ 0.93, sd ≤ 0.13, excess ≤ 0.052",
    "OELLM: each size left out": "≥ 0.895",
    "Step Law: two sizes, a larger one asked": "≥ 0.90",
    "OELLM: two sizes, a larger one asked": "≥ 0.90",
}
CURVED_TARGETS = {
    (0.0, 10): "sd ≤ 0.30",
    (0.03, 4): "≥ 0.90",
    (0.03, 10): "≥ 0.90",
    (0.03, 30): "≥ 0.90",
    (0.06, 10): "≥ 0.90 or refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A part of a table that is left out."""

    group: str
    name: str
    runs: Observations
    fitted: Mask
    asked: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of ln η* in left-out cells with an interior minimum, by the law's sd, and excess losses in per cent."""

    error: Array
    sd: Array
    excess: Array

    @property
    def held(self) -> int:
        """The number of cells whose own optimum lies in the 95 % interval."""
        return int((np.abs(self.error) < Z95 * self.sd).sum())

    def row(self, name: str, target: str = "") -> str:
        """A row of the printed table."""
        return (
            f"| {name} | {self.error.size} | {self.held} ({self.held / self.error.size:.2f}) | {self.sd.mean():.3f} | "
            f"{np.sqrt((self.error**2).mean()):.3f} | {np.nanmean(self.excess):.3f} | {target} |"
        )

    @classmethod
    def joined(cls, parts: list[Errors]) -> Errors:
        """Those of several splits."""
        return cls(
            error=np.concatenate([part.error for part in parts]),
            sd=np.concatenate([part.sd for part in parts]),
            excess=np.concatenate([part.excess for part in parts]),
        )


def recorded_splits(folder: Path) -> Iterator[Split]:
    """Sizes, pairs of sizes and horizons left out of the tables in a folder."""
    step_law, oellm = (
        read_table((folder / f"{name}_dense.csv").read_bytes()).observations()
        for name in ("steplaw", "oellm")
    )
    for name, runs in (("Step Law", step_law), ("OELLM", oellm)):
        sizes = np.unique(runs.params)
        for size in sizes:
            here = np.asarray(runs.params == size)
            yield Split(
                group=f"{name}: each size left out",
                name=f"{name} without {size / 1e6:.0f} M",
                runs=runs,
                fitted=~here,
                asked=here,
            )
        for low, high in ((0, 2), (0, 3), (1, 3)):
            fitted = np.isin(runs.params, sizes[low : low + 2])
            yield Split(
                group=f"{name}: two sizes, a larger one asked",
                name=f"{name} {sizes[low] / 1e6:.0f}, {sizes[low + 1] / 1e6:.0f} → {sizes[high] / 1e6:.0f} M",
                runs=runs,
                fitted=fitted,
                asked=np.asarray(runs.params == sizes[high]),
            )
        for tokens in (2.1e10, 5.1e10):
            short = np.asarray(runs.tokens < tokens)
            yield Split(
                group=f"{name}: horizons",
                name=f"{name} D < {tokens / 1e9:.0f} B → longer",
                runs=runs,
                fitted=short,
                asked=~short,
            )
    muon = read_table((folder / "muon_token_horizons.csv").read_bytes())
    for optimizer, tokens in product(("muon", "muonh"), (4.1e9, 8.1e9)):
        runs = muon.where({"optimizer": optimizer}).observations()
        short = np.asarray(runs.tokens < tokens)
        yield Split(
            group="Muon, MuonH: horizons",
            name=f"{optimizer} D ≤ {tokens / 1e9:.0f} B → 16 B",
            runs=runs,
            fitted=short,
            asked=~short,
        )


def errors_of(split: Split, whole: Law) -> Errors:
    """Fits to one part and compares with the own bowls of the other, which `whole` has."""
    law, part = fit(split.runs.where(split.fitted), options=FAST), split.runs.where(split.asked)
    places = set(zip(part.params, part.tokens, part.batch_tokens, strict=True))
    bowls = [
        bowl
        for bowl in whole.bowls
        if astuple(bowl.point) in places
        and bowl.status is BowlStatus.INTERIOR
        and bowl.runs - bowl.diverged > 1
    ]
    mean, sd = law.prediction_band(point_array(bowls))
    own = np.log([bowl.learning_rate for bowl in bowls])
    excess = [recorded_excess(part, bowl, at) for bowl, at in zip(bowls, mean.tolist(), strict=True)]
    return Errors(error=mean - own, sd=sd, excess=np.array(excess))


def left_out(folder: Path) -> dict[str, Errors]:
    """Prints a row for each split and each group of them.

    Returns:
        The errors by group.
    """
    print(HEADER)
    found: dict[str, list[Errors]] = {}
    wholes: dict[int, Law] = {}
    for split in recorded_splits(folder):
        if id(split.runs) not in wholes:
            wholes[id(split.runs)] = fit(split.runs, options=FAST)
        found.setdefault(split.group, []).append(errors := errors_of(split, wholes[id(split.runs)]))
        print(errors.row(split.name), flush=True)
    groups = {name: Errors.joined(parts) for name, parts in found.items()}
    for name, errors in groups.items():
        print(errors.row(f"**{name}**", TARGETS.get(name, "")))
    return groups


def times_apart(first: float, factor: float, count: int) -> Array:
    """So many values, each `factor` times the last."""
    return np.asarray(first * factor ** np.arange(count), dtype=np.float64)


def curved_in_size(curl: float, sizes: int, times: float, seed: int) -> tuple[Errors, float]:
    """A law straight in ln D and ln B, ln η* curved by curl·(ln N)², asked at `times` the largest of sizes two times apart.

    Returns:
        (the errors at the targets, the share of targets that are refused).
    """
    rng = np.random.default_rng(seed)
    truth = replace(
        draw_truth(rng), curl=curl, drift=0.0, bend=0.0, size=0.0, cell=0.0, noise=1e-3, curvature=-4.3
    )
    truth = replace(truth, shape=lopsided(0.7))
    cells = crossed(times_apart(1e8, 2.0, sizes), times_apart(2e9, 3.0, 4), times_apart(131072, 2.0, 3))
    made = world(rng, truth, cells, cells[cells[:, 0] == cells[:, 0].max()] * [times, 1, 1])
    mean, sd = fit(made.runs, options=FAST).prediction_band(made.places)
    refused = float((sd * Z95 > np.log(WIDEST)).mean())
    return Errors(error=mean - made.optimum, sd=sd, excess=100 * made.excess(mean)), refused


def curved() -> None:
    """Prints how often intervals far outside the sizes hold laws that are straight, or curve, in ln N."""
    print(
        "| ln η* + curl·(ln N)² | asked at | 95 % holds | refused | mean sd | mean excess % | target |\n"
        "|---|---|---|---|---|---|---|"
    )
    for curl, times in product(CURLS, TIMES):
        every = [curved_in_size(curl, 4 + seed % 3, times, seed) for seed in range(LAWS)]
        errors = Errors.joined([errors for errors, _ in every])
        print(
            f"| {curl:.2f} | {times} × N | {errors.held / errors.error.size:.2f} | "
            f"{np.mean([refused for _, refused in every]):.2f} | {errors.sd.mean():.3f} | {errors.excess.mean():.3f} | "
            f"{CURVED_TARGETS.get((curl, times), '')} |",
            flush=True,
        )
