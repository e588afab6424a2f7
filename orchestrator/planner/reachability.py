"""Which targets the cells of a sweep can lead to, and what to say of those that they cannot."""

from __future__ import annotations

import numpy as np

from orchestrator.amounts import count
from orchestrator.law import Point
from orchestrator.law.bowl import Z95
from orchestrator.law.law import WIDEST
from orchestrator.planner.greedy_search import format_interval
from orchestrator.planner.information import Information
from orchestrator.planner.linear_model import Array, places
from orchestrator.planner.values import Cells

BEYOND = 1.5
"""A target so many times outside the cells in N, D or B is called beyond them in it."""


def reachable(information: Information, targets: tuple[Point, ...]) -> tuple[Point, ...]:
    """The targets at which every rate of every cell, if run, could give a prediction that is not refused."""
    sds = np.sqrt(information.attainable())
    return tuple(target for target, sd in zip(targets, sds, strict=True) if Z95 * sd <= np.log(WIDEST))


def cannot_tell(information: Information, targets: tuple[Point, ...]) -> str:
    """Sentences on the targets that are not reachable."""
    sds = np.sqrt(information.attainable())
    worst = int(np.argmax(sds))
    here = places(information.cells)
    whose = "This target" if len(targets) == 1 else f"The target {_place(targets[worst])}"
    return (
        f"{whose} cannot be told from these proxies: with every rate of every cell run, its 95 % interval would still "
        f"be {format_interval(float(sds[worst]))}, and beyond ×/÷ {WIDEST:.0f} a prediction is refused.{_cure(targets[worst], here)}"
    )


def largest_cell(cells: Cells) -> Point:
    """The cell with the most FLOPs in a run, as a target."""
    cell = max(cells, key=lambda cell: (cell.flops, cell.params, cell.batch_tokens, -cell.number))
    return cell.point


def _cure(target: Point, here: Array) -> str:
    """What proxies would help, where the target lies outside those there are."""
    aim = np.array([target.params, target.tokens, target.batch_tokens])
    outside = np.maximum(aim / here.max(axis=0), here.min(axis=0) / aim)
    names = ("params", "tokens", "batch_tokens")
    far = [
        f"{outside[axis]:.3g} times in {names[axis]}"
        for axis in np.argsort(-outside)
        if outside[axis] > BEYOND
    ]
    return f" It lies outside them {', '.join(far)}: add proxies nearer to it." if far else ""


def _place(target: Point) -> str:
    return f"of {count(target.params)} parameters, {count(target.tokens)} tokens and {count(target.batch_tokens)} tokens a step"
