"""Nested laws: which terms the runs speak for, judged where the laws had not been.

The full law shrinks what the runs do not need, so leaving terms out rarely helps: a smaller law is taken only where it
loses less at the cells held out, by more than chance (heldout.py). How well it fits the runs it has seen decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.law.features import FEATURES
from orchestrator.law.grouped_runs import CLOSE
from orchestrator.law.heldout import Alternative
from orchestrator.law.law import Law


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller:
    """A law without some of the terms; `varying` names the column without which they say nothing."""

    name: str
    without: tuple[str, ...]
    varying: str | None = None


BENT = {"s"} | {feature.name for feature in FEATURES if feature.degree > 1}
SMALLER = (
    Smaller(name="without bends", without=tuple(sorted(BENT))),
    Smaller(
        name="without terms in batch_tokens",
        without=tuple(feature.name for feature in FEATURES if feature.name in BENT or feature.name == "ln B"),
        varying="batch_tokens",
    ),
)


def matters(smaller: Smaller, law: Law) -> bool:
    """Whether the runs of a law vary in what a smaller law leaves out."""
    if smaller.varying is None:
        return True
    values = np.log([getattr(bowl, smaller.varying) for bowl in law.bowls])
    return bool(np.ptp(values) > CLOSE)


def best(alternatives: Mapping[Smaller, Alternative]) -> Smaller | None:
    """The smaller law that gains most among those that are better than the full one; None where none is."""
    better = [smaller for smaller, alternative in alternatives.items() if alternative.better]
    return max(better, key=lambda smaller: alternatives[smaller].gain, default=None)
