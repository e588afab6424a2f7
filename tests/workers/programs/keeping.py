"""Orders for keepers of the wicked programs, and what is left of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.programs.descendants import find_marked
from workers.programs.journal import Ended, Entry, Measured, Noticed
from workers.programs.kept import KeptProgram
from workers.programs.order import MARKER, KeeperOrder

WICKED = Path(__file__).parent / "wicked"
LOSSES = {"output": r"step (?P<step>\d+) loss (?P<value>\S+)"}


def order_for(folder: Path, program: str, *arguments: object, **changes: Any) -> KeeperOrder:
    """An order of 20 steps of 100 tokens for one of the wicked programs."""
    marker = str(folder / "run.json")
    values: dict[str, Any] = {
        "run_id": "run",
        "attempt": 1,
        "argv": (sys.executable, str(WICKED / program), *map(str, arguments)),
        "cwd": WICKED,
        "environment": {"PATH": os.environ["PATH"], MARKER: marker},
        "folder": folder,
        "marker": marker,
        "report": folder / "report.jsonl",
        "stop_file": folder / "stop",
        "tokens": 2000,
        "batch_tokens": 100,
        "training": LOSSES,
        "start_seconds": 60.0,
        "silence_seconds": 60.0,
        "run_seconds": 60.0,
        "stop_seconds": 1.0,
        "log_bytes": 4 << 20,
    }
    return KeeperOrder(**{**values, **changes})


def keep(order: KeeperOrder, seconds: float = 60.0) -> tuple[Ended, list[Entry]]:
    """Keep a program to its end; no process of it may be left."""
    kept = KeptProgram.start(order)
    ended = kept.wait(seconds)
    assert isinstance(ended, Ended), ended
    assert find_marked(order.marker) == []
    return ended, kept.poll()


def losses(entries: Sequence[Entry], kind: str = "training") -> list[tuple[int, float]]:
    return [
        (entry.tokens, entry.loss) for entry in entries if isinstance(entry, Measured) and entry.kind == kind
    ]


def notices(entries: Sequence[Entry]) -> list[str]:
    return [entry.text for entry in entries if isinstance(entry, Noticed)]
