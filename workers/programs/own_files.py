"""The service's own files in a run's folder. Programs can write there too: symbolic links are not followed."""

from __future__ import annotations

import os
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
    """A file; a pipe or device does not make its reader wait.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


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
