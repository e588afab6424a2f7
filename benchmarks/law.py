"""The law's accuracy and calibration: on recorded runs, on laws that curve in size, and on synthetic sweeps.

    ETALON_RECORDED_RUNS=<folder of run tables> OPENBLAS_NUM_THREADS=1 python -m benchmarks.law
        [--synthetic 80] [--design NAME …] [--plot FILE.html or FILE.png]

Targets: Step Law's sizes >= 93 % with a mean sd <= 0.13 and a mean excess <= 0.052 %; OpenEuroLLM's (OELLM) sizes >= 90 %;
two sizes for a larger one >= 90 %; curves of 0.03 and 0.06 >= 90 % or refused, a straight law at 10 × N with sd <= 0.30;
synthetic sweeps 93 to 98 %. Coverage is judged by the own bowl of each left-out cell that has a minimum.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from scipy.special import ndtri

from api.figures import page
from api.figures.style import axis, canvas
from benchmarks.calibration import calibration
from benchmarks.figure_page import save
from benchmarks.law_accuracy import accuracy
from benchmarks.left_out import Errors, curved, left_out
from benchmarks.synthetic import DESIGNS
from orchestrator.tables.formats import read_table

TITLE = "Coverage of the law's intervals against their nominal level"
LEVELS = np.linspace(0.02, 0.98, 49)
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#4d7c0f")


def calibration_figure(groups: dict[str, Errors]) -> go.Figure:
    """The share of cells held against the nominal level: the diagonal is right, above it intervals are too wide."""
    figure = canvas(560, xaxis=axis("nominal level"), yaxis=axis("share of cells held"))
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="exact", line={"color": "#9ca3af", "dash": "dot"}
    )
    for (name, errors), colour in zip(groups.items(), COLOURS, strict=False):
        z = np.abs(errors.error) / errors.sd
        held = [float((z < ndtri((1 + level) / 2)).mean()) for level in LEVELS]
        figure.add_scatter(
            x=LEVELS, y=held, mode="lines", name=f"{name} ({z.size})", line={"color": colour, "width": 2}
        )
    return figure


def main() -> None:
    """Prints everything."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--synthetic", type=int, default=80, help="how many synthetic laws of each design")
    arguments.add_argument("--design", choices=DESIGNS, action="append", help="only this one; may repeat")
    arguments.add_argument("--plot", type=Path, help="the calibration as a picture, .html or .png")
    chosen = arguments.parse_args()
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    groups: dict[str, Errors] = {}
    if folder is None:
        print("ETALON_RECORDED_RUNS is not set: no recorded runs, synthetic laws only")
    else:
        accuracy(read_table((Path(folder) / "steplaw_dense.csv").read_bytes()).observations())
        print()
        groups |= left_out(Path(folder))
    print()
    curved()
    print()
    groups |= calibration(chosen.synthetic, chosen.design or DESIGNS)
    if chosen.plot is not None:
        save(page(TITLE, calibration_figure(groups).to_plotly_json()), chosen.plot)


if __name__ == "__main__":
    main()
