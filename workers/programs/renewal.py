"""Begins a run afresh when its program's registration has changed: what the former program wrote is none of the new one's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import uuid4

from workers.programs.claim import CLAIM
from workers.programs.journal import JOURNAL
from workers.programs.leftovers import clear_folder
from workers.programs.output import is_output
from workers.programs.own_files import open_to_read, write_new
from workers.programs.trunk_folder import TrunkFolder

REGISTRATION: Final = "registration"
"""File in the run's folder with the digest of the registration that its files are of."""

RENEWED: Final = (
    "The registration of the trainer has changed: runs that were under way began again at their first token."
)

DIGEST_BYTES: Final = 64


def renew(folder: Path, digest: str, *, checkpoint: Path | None, trunks: Iterable[TrunkFolder]) -> bool:
    """Clear the folder of a run that another registration carried out; its output stays, and the worker's claim.

    No process of the run may be left. An interruption leaves the folder to the next call.

    Args:
        folder: of the run.
        digest: of the registration that carries out the run from now on.
        checkpoint: from which the run would go on; put beside under another name if it lies elsewhere. None if the
            registration declares none.
        trunks: the run's trunk under every registration. They forget what this run has saved, which is gone or will be
            replaced.

    Returns:
        Whether the run begins afresh.

    Raises:
        OSError: the folder cannot be cleared, or a trunk is being changed by another worker.
    """
    found = _digest(folder)
    if found == digest:
        return False
    renewed = found is not None or (folder / JOURNAL).exists()
    if renewed:
        write_new(folder / REGISTRATION, "")  # of none, until all is cleared
        for trunk in trunks:
            trunk.drop_checkpoints_of(folder)
        if checkpoint is not None:
            _put_beside(Path(os.path.normpath(checkpoint)), folder)
        clear_folder(folder, keeps=lambda path: path.name in {CLAIM, REGISTRATION} or is_output(path))
    write_new(folder / REGISTRATION, digest)
    return renewed


def _digest(folder: Path) -> str | None:
    try:
        with open_to_read(folder / REGISTRATION) as file:
            return file.read(DIGEST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return None


def _put_beside(checkpoint: Path, folder: Path) -> None:
    """Rename a checkpoint that lies outside the run's folder: there nothing is deleted."""
    if folder not in checkpoint.parents and checkpoint.exists():
        checkpoint.rename(checkpoint.with_name(f"{checkpoint.name}.former-{uuid4().hex[:8]}"))
