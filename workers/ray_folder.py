"""The folder of a Ray that Etalon starts itself. Loads no Ray."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Self

from orchestrator.private import OTHERS

PREFIX: Final = "etalon-ray-"

LONGEST_PARENT: Final = 15
"""Bytes of the path that the folder is made in. Ray's sockets lie 88 bytes further down, and the path of a socket may
have 107 bytes on Linux and 103 on macOS."""


class RayFolder:
    """A private temporary folder for Ray, which makes its own folders 0777; use it as a context.

    Its owner locks it, and the kernel releases the lock when the owner ends, even if it is killed. A new owner removes
    the folders that are not locked.

    Attributes:
        temp_dir: what Ray takes as its ``--temp-dir``: a folder within the private one, made by Ray.
    """

    def __init__(self) -> None:
        """Remove what killed owners left behind, then make a folder."""
        parents = [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - for private folders alone
        for left in {path for parent in parents for path in parent.glob(f"{PREFIX}*")}:
            _remove_unlocked(left)
        short = [parent for parent in parents if len(os.fsencode(parent)) <= LONGEST_PARENT]
        self._path, self._lock = _made_and_locked(short[0])
        self.temp_dir = self._path / "ray"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._lock)


def _made_and_locked(parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = _lock(path)
        if lock is not None:
            return path, lock
        # Another process took it for a left-over in the moment before it was locked.


def _remove_unlocked(path: Path) -> None:
    lock = _lock(path)
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _lock(path: Path) -> int | None:
    """A descriptor that locks a private folder of this user; None if it is locked already or no such folder."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    found = os.fstat(opened)
    try:
        if found.st_uid == os.geteuid() and not found.st_mode & OTHERS:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return opened
    except BlockingIOError:
        pass
    os.close(opened)
    return None
