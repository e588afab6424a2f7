"""The service's own files in a run's folder. Programs can write there too: symbolic links are not followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

FILE: Final = 0o600
FOLDER: Final = 0o700


def write_new(path: Path, text: str) -> None:
    """Write a private file beside a path and put it in its place, whatever was there.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{uuid4().hex}.part")
    try:
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def open_to_append(path: Path) -> int:
    """A descriptor of a private file, which is made if it is missing.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW, FILE)


def open_to_read(path: Path) -> BinaryIO:
    """A file.

    Raises:
        OSError: it cannot be opened, or is a symbolic link, a pipe or whatever else is no file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a file", str(path))
    return os.fdopen(descriptor, "rb")


def touch(path: Path) -> None:
    """Make a file, or renew its time.

    Raises:
        OSError: it cannot be, or is a symbolic link.
    """
    descriptor = open_to_append(path)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path, below: Path) -> None:
    """Make a folder and its missing parents; of those below a run's folder, symbolic links are replaced.

    Args:
        folder: of the run.
        below: the folder to make; elsewhere, nothing is replaced.

    Raises:
        OSError: it cannot be made.
    """
    if below != folder and below.is_relative_to(folder):
        make_folders(folder, below.parent)
        if below.is_symlink():
            below.unlink()
    below.mkdir(FOLDER, parents=True, exist_ok=True)
