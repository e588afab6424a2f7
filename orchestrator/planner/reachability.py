"""Targets that runs in the cells of a sweep can predict for, and the sentences for the others."""

from __future__ import annotations

import numpy as np

from orchestrator.cells import Cells, Point
from orchestrator.law.bowl import Z95
from orchestrator.law.identifiability import AXES, outside
from orchestrator.law.law import WIDEST
from orchestrator.law.observations import point_array
from orchestrator.planner.greedy_search import format_interval
from orchestrator.planner.information import Information

BEYOND = 1.5
"""A target this many times outside the cells in N, D or B is reported as outside."""


def reachable(information: Information, targets: tuple[Point, ...]) -> tuple[tuple[Point, ...], str]:
    """The targets at which a prediction would not be refused if every rate of every cell were run.

    Returns:
        (these targets, sentences about the others; empty if there are none).
    """
    sds = np.sqrt(information.attainable())
    within = tuple(target for target, sd in zip(targets, sds, strict=True) if Z95 * sd <= np.log(WIDEST))
    if within == targets:
        return within, ""
    worst = int(np.argmax(sds))
    subject = "This target" if len(targets) == 1 else f"The target of {targets[worst].in_words}"
    return within, (
        f"{subject} is out of reach of these proxies: with every rate of every cell run, its 95 % interval would still be "
        f"{format_interval(float(sds[worst]))}, and beyond ×/÷ {WIDEST:.0f} a prediction is refused."
        f"{_advice(targets[worst], information.cells)}"
    )


def largest_cell(cells: Cells) -> Point:
    """The point of the cell with the most FLOPs in a run."""
    cell = max(cells, key=lambda cell: (cell.flops, cell.params, cell.batch_tokens, -cell.number))
    return cell.point


def _advice(target: Point, cells: Cells) -> str:
    """The proxies to add, if the target lies outside the cells."""
    times = outside(target, point_array(cells))
    far = [f"{times[axis]:.3g} times in {AXES[axis]}" for axis in np.argsort(-times) if times[axis] > BEYOND]
    return f" It lies outside them {', '.join(far)}: add proxies nearer to it." if far else ""
