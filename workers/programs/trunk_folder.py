"""The checkpoints of a trunk that are whole on disk, and what is known of the trunk itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from orchestrator.private import FILE as FILE_MODE
from orchestrator.private import FOLDER

FILE: Final = "trunk.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverging:
    """A trunk that diverged: why, and after how many tokens."""

    reason: str
    tokens: int


class TrunkFolder:
    """A trunk's folder, shared by the runs of one rate, seed, size and batch. Several workers may use it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def first_loss(self) -> float | None:
        """The first loss of the trunk; None before it is known."""
        found: float | None = self._known.get("first_loss")
        return found

    @property
    def diverged(self) -> Diverging | None:
        """How the trunk diverged; None if it did not."""
        found = self._known.get("diverged")
        return None if found is None else Diverging(**found)

    def checkpoint_at(self, tokens: int) -> str | None:
        """The checkpoint at a position; None if there is none, or if it was removed."""
        path = self._known.get("checkpoints", {}).get(str(tokens))
        return path if path is not None and Path(path).exists() else None

    def last_checkpoint(self, tokens: int) -> tuple[int, str] | None:
        """The last position up to ``tokens`` that has a checkpoint, and the checkpoint; None if there is none."""
        positions = sorted(map(int, self._known.get("checkpoints", {})), reverse=True)
        found = ((at, self.checkpoint_at(at)) for at in positions if at <= tokens)
        return next(((at, path) for at, path in found if path is not None), None)

    def add_checkpoint(self, tokens: int, path: str) -> None:
        """Record a checkpoint that is whole."""
        self._change(lambda known: known.setdefault("checkpoints", {}).update({str(tokens): path}))

    def note_first_loss(self, loss: float) -> None:
        """Record the first loss of the trunk, once."""
        self._change(lambda known: known.setdefault("first_loss", loss))

    def note_divergence(self, reason: str, tokens: int) -> None:
        """Record that the trunk diverged."""
        self._change(lambda known: known.update(diverged={"reason": reason, "tokens": tokens}))

    @property
    def _known(self) -> dict[str, Any]:
        return _read(self.folder / FILE)

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change what is known, while no other worker does."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER)
        with FileLock(self.folder / f"{FILE}.lock", mode=FILE_MODE):
            known = self._known
            change(known)
            beside = self.folder / f"{FILE}.{os.getpid()}.part"
            beside.write_text(json.dumps(known))
            beside.replace(self.folder / FILE)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
