"""What the parts of a check find, in words."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import amounts
from orchestrator.documents.trainers import Finding
from workers.programs.run_ends import Completed, End


@dataclass(frozen=True, slots=True)
class Found:
    """What a part of a check found.

    Attributes:
        finding: how it ended.
        message: as a sentence.
        lines: the program's last ones, where they help.
        paths: parts of ``message`` that are for operators alone.
    """

    finding: Finding
    message: str
    lines: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


def reason(end: End) -> str:
    """Why a run is not completed, as a clause."""
    return "it completed" if isinstance(end, Completed) else end.reason.rstrip(".")


def relative_difference(loss: float, other: float) -> float:
    """Of a loss from another one."""
    return abs(loss / other - 1.0) if other else abs(loss)


def distance(difference: float) -> str:
    """A relative difference of two losses, before ``the undisturbed run``."""
    return f"{amounts.percent(difference)} from that of" if difference else "exactly that of"
