"""Files and folders that only their owner may read or write: 0600 and 0700, whatever the umask."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import BadInput
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

OTHERS: Final = 0o077
"""Mode bits of group and others; as a umask, it removes them."""

FOLDER: Final = 0o700
FILE: Final = 0o600


def restrict_umask() -> None:
    """Make every file private that this process, its libraries and its children create from now on."""
    os.umask(OTHERS)


@contextmanager
def restricted_umask() -> Iterator[None]:
    """Make every file private that is created in the block."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def make_folder(folder: Path) -> None:
    """Make a private folder for this machine's state, and its missing parents; an existing one stays as it is.

    Raises:
        BadInput: it cannot be made or written.
    """
    try:
        for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
            missing.mkdir(FOLDER, exist_ok=True)
        reason = None if os.access(folder, os.W_OK | os.X_OK) else "it is read-only for this user"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise BadInput(
            f"Etalon keeps its state in the folder {folder}, which cannot be written: {reason}. "
            "Set ETALON_HOME (or ETALON_DATABASE_URL) to a place that you may write."
        )


def make_empty_folder(folder: Path) -> None:
    """Make a private folder that stays empty; an existing one must be so.

    Raises:
        BadInput: it cannot be made, it is another user's or open to others, or something is in it.
    """
    make_folder(folder)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & OTHERS or any(folder.iterdir()):
        raise BadInput(
            f"Etalon starts its processes in the folder {folder}, where Python finds modules first. It must be yours "
            "alone (mode 0700) and empty: look at what is in it, then remove the folder."
        )


def make_database_file(path: Path) -> None:
    """Make an SQLite file before SQLite does, or close an open one; SQLite gives its other files the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE))
    _close_database(path)


def close_home(settings: Settings) -> None:
    """Close a home that other users of this machine may enter or read, and log that it was open.

    Logs, checkpoints, corpora and the database in it are closed one by one, anything else by the home's own mode. A
    home of another user, or one that is shared by design (such as ``/tmp``), stays as it is, with a warning.
    """
    home = settings.home
    if not home.is_dir():
        return
    found = home.stat()
    if found.st_mode & OTHERS:
        if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX or home.resolve() == Path("/"):
            log.warning(
                "Other users of this machine can enter %s, which is not Etalon's to close. "
                "Set ETALON_HOME to a folder of your own.",
                home,
            )
            return
        try:
            home.chmod(FOLDER)
        except OSError as error:  # a disk that is mounted read-only
            log.warning("Other users of this machine can enter %s: %s", home, error.strerror)
            return
    parts = (home / "logs", settings.checkpoints, settings.corpora_folder)
    opened = [home] if found.st_mode & OTHERS else []
    opened += [part for part in parts if part.parent == home and close_folder(part)]
    opened += _close_database(home / "etalon.db")
    if opened:
        log.warning(
            "In ETALON_HOME, these were open to other users of this machine: %s. They are closed now: folders are 0700 "
            "and files 0600.",
            ", ".join(map(str, opened)),
        )


def close_folder(folder: Path) -> bool:
    """Close a folder and everything in it, if other users may enter it; whether they could.

    Symbolic links and other users' files stay as they are.
    """
    if not _close(folder, FOLDER):
        return False
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in folders:
            _close(name, FOLDER, descriptor)
        for name in files:
            _close(name, FILE, descriptor)
    return True


def _close(path: Path | str, mode: int, folder: int | None = None) -> bool:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False  # missing, a symbolic link, or another user's
    try:
        found = os.fstat(opened)
        if found.st_uid != os.geteuid() or not found.st_mode & OTHERS:
            return False
        os.fchmod(opened, mode)
        return True
    finally:
        os.close(opened)


def _close_database(path: Path) -> list[Path]:
    """Change modes by name: closing a descriptor of an SQLite file would drop the locks that this process holds on it."""
    opened = []
    for file in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(OSError):  # missing, or on a disk that is mounted read-only
            found = file.stat()
            if found.st_uid == os.geteuid() and found.st_mode & OTHERS:
                file.chmod(FILE)
                opened.append(file)
    return opened
