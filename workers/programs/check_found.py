"""What the parts of a check find, in words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator import amounts
from orchestrator.documents.trainers import Finding
from workers.program_path import PROGRAM_PATH
from workers.programs.journal import JOURNAL
from workers.programs.kept import ORDER
from workers.programs.orders import RANKS, REPORT_FILE, RUN_FILE, STOP_FILE, TEMPORARY
from workers.programs.run_ends import Completed, End
from workers.programs.run_folder import HEARTBEAT, RESERVE

TRUNK: Final = "trunk"
"""The trunk's folder in that of a check's run."""

OWN_FOLDERS: Final = frozenset({PROGRAM_PATH, RANKS, TEMPORARY})
OWN_FILES: Final = frozenset({JOURNAL, ORDER, REPORT_FILE, RUN_FILE, STOP_FILE, HEARTBEAT, RESERVE})
"""What is in a run's folder without the program."""

_LOG: Final = re.compile(r"output(?:\.[0-9]+)?\.log")

MOST_FILES: Final = 8
"""Files that a message names."""


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


def files_there(folder: Path) -> str:
    """The program's files in the folder of a check's run, as a sentence; the keeper's own are left out."""
    found: list[str] = []
    for path, folders, files in os.walk(folder):
        at = Path(path)
        if at == folder:
            folders[:] = [name for name in folders if name not in OWN_FOLDERS]
        found += [_placed(at / name, folder) for name in files if at != folder or not _is_own(name)]
        if len(found) > MOST_FILES:
            break
    if not found:
        return "The program wrote no file into {run_folder} or {trunk_folder}."
    more = " and others" if len(found) > MOST_FILES else ""
    return f"What the program wrote: {', '.join(sorted(found)[:MOST_FILES])}{more}."


def _is_own(name: str) -> bool:
    return name in OWN_FILES or _LOG.fullmatch(name) is not None


def _placed(path: Path, folder: Path) -> str:
    trunk = folder / TRUNK
    if path.is_relative_to(trunk):
        return f"{{trunk_folder}}/{path.relative_to(trunk)}"
    return f"{{run_folder}}/{path.relative_to(folder)}"


def distance(difference: float) -> str:
    """A relative difference of two losses, before ``the undisturbed run``."""
    return f"{amounts.percent(difference)} from that of" if difference else "exactly that of"
