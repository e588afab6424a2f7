"""Removes what nobody reads any more of a run's folder, without waiting until large folders are deleted."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final
from uuid import uuid4

from orchestrator.programs.placeholders import Template
from orchestrator.programs.registry import Registration
from workers.program_path import PROGRAM_PATH
from workers.programs.orders import TEMPORARY

log = logging.getLogger(__name__)

DROPPED: Final = ".dropped-"
"""Beginning of the names of what is being deleted."""


def drop_leftovers(
    registration: Registration, folder: Path, *, checkpoint: bool, kept: Collection[Path] = ()
) -> Thread | None:
    """Remove a run's temporary files, and its own checkpoint.

    All of it is gone when this returns: it is renamed first. What cannot be removed stays, and is logged.

    Args:
        registration: of the program.
        folder: of the run.
        checkpoint: whether to remove ``resume.when`` too, if it lies in the run's folder.
        kept: paths that stay, and everything in a folder that holds them beside the checkpoint.

    Returns:
        The thread that deletes; None if there is nothing to delete.
    """
    leftovers = [folder / TEMPORARY, folder / PROGRAM_PATH]
    if (
        checkpoint
        and (own := _own_checkpoint(registration, folder)) is not None
        and not _holds(own, folder, kept)
    ):
        leftovers.append(own)
    dropped = [aside for path in leftovers if (aside := _put_aside(path, folder)) is not None]
    dropped += [path for path in _listed(folder) if path not in dropped]
    if not dropped:
        return None
    thread = Thread(target=_delete, args=(dropped,), name="leftovers", daemon=True)
    thread.start()
    return thread


def clear_folder(folder: Path, *, keeps: Callable[[Path], bool]) -> Thread:
    """Empty a run's folder but for the entries that ``keeps`` says. All else is gone when this returns: it is renamed first.

    Returns:
        The thread that deletes.

    Raises:
        OSError: something cannot be removed.
    """
    dropped = _listed(folder)
    for path in [path for path in folder.iterdir() if path not in dropped and not keeps(path)]:
        aside = folder / f"{DROPPED}{uuid4().hex}"
        path.rename(aside)
        dropped.append(aside)
    thread = Thread(target=_delete, args=(dropped,), name="leftovers", daemon=True)
    thread.start()
    return thread


def _own_checkpoint(registration: Registration, folder: Path) -> Path | None:
    """Where a run's own checkpoint is; None if not in its folder."""
    resume = registration.definition.resume
    if resume is None:
        return None
    values = {"run_folder": str(folder), "run_id": folder.name}
    when = Template.parse(resume.when, registration.definition.names)
    if not when.names <= values.keys():
        return None
    path = Path(os.path.normpath(registration.folder / when.render(values)))
    return path if folder in path.parents else None


def _holds(own: Path, folder: Path, kept: Collection[Path]) -> bool:
    """Whether a checkpoint is, holds, lies in or lies beside something to be kept.

    A file beside checkpoints may say which of them is the last one, and a trainer that misses it starts from nothing.
    The run's own folder is no such place.
    """
    place = own if own.parent == folder else own.parent
    paths = [Path(os.path.normpath(path)) for path in kept]
    return any(path == own or place in path.parents or path in own.parents for path in paths)


def _put_aside(path: Path, folder: Path) -> Path | None:
    """Rename what is to be deleted; None if it is not there, or stays."""
    aside = folder / f"{DROPPED}{uuid4().hex}"
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("leftovers of a run stay", extra={"path": str(path), "error": str(error)})
        return None
    return aside


def _listed(folder: Path) -> list[Path]:
    """What an earlier process did not delete to its end."""
    try:
        return list(folder.glob(f"{DROPPED}*"))
    except OSError:
        return []


def _delete(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
