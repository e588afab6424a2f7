"""The files of a text: which are taken, how two lists of them differ, and the list on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from orchestrator.errors import BadInput

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of the text, as it was when it was listed.

    Attributes:
        name: its path within the source, with forward slashes.
        size: in bytes.
        modified_ns: when it was last written, in nanoseconds of the file system's clock.
    """

    name: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files that were taken, by name, and the folder that their names are relative to.

    The list is held in memory, a few hundred bytes a file; the text is not.
    """

    root: Path
    files: tuple[SourceFile, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """Of names and sizes: the same for a copy elsewhere."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(b"%d %s\0" % (file.size, os.fsencode(file.name)))
        return digest.hexdigest()


def list_source(source: Path, suffixes: Sequence[str]) -> Source:
    """The text files of a folder, or one text file.

    Args:
        source: a folder, searched to the bottom; hidden files and folders and empty files are left out, links to
            files are followed and links to folders are not. Or a file, whatever its ending.
        suffixes: endings of the files to take, each with its dot.

    Raises:
        BadInput: nothing there, or no file to take.
    """
    if source.is_file():
        return Source(root=source.parent, files=_stated(source.parent, [source.name]))
    if not source.is_dir():
        raise BadInput(f"SOURCE {source} does not exist; give a folder of text or a text file.")
    names, others = [], Counter[str]()
    for folder, folders, files in os.walk(source, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            if name.endswith(tuple(suffixes)):
                names.append(os.path.relpath(os.path.join(folder, name), source).replace(os.sep, "/"))  # noqa: PTH118 - a million files
            else:
                others[os.path.splitext(name)[1]] += 1  # noqa: PTH122 - a million files
    found = _stated(source, sorted(names))
    if not found:
        endings = ", ".join(f"{count} {ending or 'without one'}" for ending, count in others.most_common(5))
        raise BadInput(
            f"SOURCE {source} holds no file with text that ends in {' or '.join(suffixes)}; "
            f"other endings there: {endings or 'none'}. Name the endings to take with --suffix."
        )
    return Source(root=source, files=found)


def list_lines(files: Iterable[SourceFile]) -> bytes:
    """The list as it is kept: one line of JSON a file."""
    return "".join(json.dumps([file.name, file.size, file.modified_ns]) + "\n" for file in files).encode()


def read_list(path: Path) -> tuple[SourceFile, ...]:
    """A list that was kept.

    Raises:
        OSError: it is not there.
    """
    with path.open(encoding="utf-8") as lines:
        return tuple(
            SourceFile(name=name, size=size, modified_ns=modified)
            for name, size, modified in map(json.loads, lines)
        )


def differences(before: Iterable[SourceFile], now: Iterable[SourceFile]) -> list[str]:
    """What happened to the files, in words; nothing where they are as they were: names, sizes and times."""
    old, new = ({file.name: file for file in files} for files in (before, now))
    changed = [name for name in new if name in old and new[name] != old[name]]
    told = [
        _some("added", [name for name in new if name not in old]),
        _some("removed", [name for name in old if name not in new]),
        _some("written to", changed),
    ]
    return [text for text in told if text]


def _some(happened: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} {'file' if len(names) == 1 else 'files'} {happened} ({shown})" if names else ""


def _stated(root: Path, names: Iterable[str]) -> tuple[SourceFile, ...]:
    stats = ((name, (root / name).stat()) for name in names)
    return tuple(
        SourceFile(name=name, size=stat.st_size, modified_ns=stat.st_mtime_ns)
        for name, stat in stats
        if stat.st_size
    )


def _refuse_folder(error: OSError) -> NoReturn:
    raise BadInput(f"{error.filename} cannot be searched: {error.strerror}.") from error
