"""Reads a file that another process appends to, by whole lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from workers.programs.own_files import open_to_read

READ_BYTES: Final = 1 << 20
"""Most bytes of one look."""


class FollowedFile:
    """The lines that have been appended since the last look.

    An unfinished last line waits for its newline. A file that is replaced or has become shorter is read from its
    beginning. A file that cannot be read now has no new lines.

    Attributes:
        path: of the file, which need not exist.
        too_long: lines left out so far because they were too long.
    """

    def __init__(
        self, path: Path, *, offset: int = 0, longest: int = READ_BYTES, links: bool = False
    ) -> None:
        """Begin at an offset.

        Args:
            path: of the file.
            offset: bytes that are not read.
            longest: most bytes of a line.
            links: whether it may be a symbolic link: only where nothing but numbers is taken from it.
        """
        self.path, self.too_long = path, 0
        self._offset, self._longest, self._links = offset, longest, links
        self._inode: int | None = None
        self._unfinished = b""
        self._skipping = False

    def poll(self) -> list[bytes]:
        """New whole lines without their newlines, of at most ``READ_BYTES``; empty when there are none now."""
        while True:
            before = self._offset
            lines = self._split(self._read())
            if lines or self._offset == before:
                return lines

    def skip_to_end(self) -> None:
        """Leave out what the file holds now."""
        try:
            found = self.path.stat()
        except OSError:
            return
        self._inode, self._offset = found.st_ino, found.st_size

    def take_unfinished(self) -> bytes:
        """The unfinished last line as of the last look, once."""
        line, self._unfinished = self._unfinished, b""
        self._offset += len(line)
        return line

    def _split(self, data: bytes) -> list[bytes]:
        whole, newline, self._unfinished = data.rpartition(b"\n")
        if not newline:
            self._skip_if_long(data)
            return []
        self._offset += len(whole) + 1
        lines = whole.split(b"\n")
        if self._skipping:
            del lines[0]
            self._skipping = False
        kept = [line for line in lines if len(line) <= self._longest]
        self.too_long += len(lines) - len(kept)
        return kept

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") if self._links else open_to_read(self.path) as file:
                found = os.fstat(file.fileno())
                if found.st_size < self._offset or self._inode not in {None, found.st_ino}:
                    self._offset, self._skipping = 0, False
                self._inode = found.st_ino
                file.seek(self._offset)
                return file.read(READ_BYTES)
        except OSError:
            return b""

    def _skip_if_long(self, data: bytes) -> None:
        """Go past the beginning of a line that is too long; its end is left out too."""
        if len(data) > self._longest or (self._skipping and data):
            self.too_long += not self._skipping
            self._offset += len(data)
            self._skipping, self._unfinished = True, b""
