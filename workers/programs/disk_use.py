"""Measures the size of a folder in small steps, however many files are in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOOK_SECONDS: Final = 2.0
"""Least time between two measurements."""

SLICE_SECONDS: Final = 0.02
"""About the most time of one step."""

_BLOCK_BYTES: Final = 512


class DiskUse:
    """Bytes that a folder occupies. A large folder is measured less often: a fifth of the time at most."""

    def __init__(self, folder: Path) -> None:
        """Measure a folder; symbolic links are not followed."""
        self._folder = folder
        self._walk: Iterator[int] | None = None
        self._bytes = 0
        self._began = 0.0
        self._due = time.monotonic()

    def advance(self) -> int | None:
        """Work for one step; returns the bytes when a measurement is complete."""
        now = time.monotonic()
        if self._walk is None:
            if now < self._due:
                return None
            self._walk, self._bytes, self._began = _sizes(str(self._folder)), 0, now
        for size in self._walk:
            self._bytes += size
            if time.monotonic() - now > SLICE_SECONDS:
                return None
        self._walk = None
        done = time.monotonic()
        self._due = done + max(LOOK_SECONDS, 4 * (done - self._began))
        return self._bytes


def _sizes(folder: str) -> Iterator[int]:
    """Sizes of everything below a folder; what vanishes meanwhile has none."""
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    yield _size(entry)
        except OSError:
            continue


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
    except OSError:
        return 0
