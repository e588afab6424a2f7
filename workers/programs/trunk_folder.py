"""The checkpoints of a trunk that are whole on disk, and what is known of the trunk itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from orchestrator.private import FILE as FILE_MODE
from orchestrator.private import FOLDER

FILE: Final = "trunk.json"
LOCK_SECONDS: Final = 2.0
"""Longest wait for another worker, which may have been stopped while it changes what is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverging:
    """A trunk that diverged: why, and after how many tokens."""

    reason: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkCheckpoint:
    """A checkpoint of a trunk that is whole.

    Attributes:
        path: of the file or folder.
        trunk_folder: ``{trunk_folder}`` of the run that saved it.
    """

    path: str
    trunk_folder: str


class TrunkFolder:
    """A trunk's folder, shared by the runs of one rate, seed, size and batch. Several workers may use it at once.

    What changes it raises TimeoutError if another worker does so for longer than ``LOCK_SECONDS``: try it again later.
    """

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

    def checkpoint_at(self, tokens: int) -> TrunkCheckpoint | None:
        """The checkpoint at a position; None if there is none, or if it was removed."""
        known = self._known.get("checkpoints", {}).get(str(tokens))
        return TrunkCheckpoint(**known) if known is not None and Path(known["path"]).exists() else None

    def last_checkpoint(self, tokens: int) -> tuple[int, TrunkCheckpoint] | None:
        """The last position up to ``tokens`` that has a checkpoint, and the checkpoint; None if there is none."""
        positions = sorted(map(int, self._known.get("checkpoints", {})), reverse=True)
        found = ((at, self.checkpoint_at(at)) for at in positions if at <= tokens)
        return next(((at, checkpoint) for at, checkpoint in found if checkpoint is not None), None)

    @property
    def paths(self) -> frozenset[Path]:
        """The paths of all checkpoints, also of those that were removed."""
        return frozenset(Path(known["path"]) for known in self._known.get("checkpoints", {}).values())

    def add_checkpoint(self, tokens: int, checkpoint: TrunkCheckpoint) -> None:
        """Record a checkpoint that is whole."""
        self._change(
            lambda known: known.setdefault("checkpoints", {}).update({str(tokens): asdict(checkpoint)})
        )

    def drop_checkpoint(self, tokens: int, path: str) -> None:
        """Forget a checkpoint that no run can start from, unless another one has taken its place."""

        def drop(known: dict[str, Any]) -> None:
            checkpoints = known.get("checkpoints", {})
            if checkpoints.get(str(tokens), {}).get("path") == path:
                del checkpoints[str(tokens)]

        self._change(drop)

    def drop_checkpoints_of(self, run_folder: Path) -> None:
        """Forget the checkpoints that the run of a folder saved."""

        def drop(known: dict[str, Any]) -> None:
            known["checkpoints"] = {
                tokens: one
                for tokens, one in known.get("checkpoints", {}).items()
                if run_folder not in Path(one["trunk_folder"]).parents
            }

        if self._known.get("checkpoints"):
            self._change(drop)

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
        """Change what is known, while no other worker does.

        Raises:
            TimeoutError: another worker does, for too long.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=FOLDER)
        with FileLock(self.folder / f"{FILE}.lock", timeout=LOCK_SECONDS, mode=FILE_MODE):
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
