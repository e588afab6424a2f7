"""The files of a text: finding them, comparing two lists of them, and the list on disk."""

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
class TextFile:
    """A file of the text when it was listed.

    Attributes:
        name: path within the source, with forward slashes.
        size: in bytes.
        modified_ns: time of the last change, in nanoseconds of the file system's clock.
    """

    name: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSource:
    """The files of a text, sorted by name, in memory at a few hundred bytes each; their text is not.

    Attributes:
        root: the folder that the names are relative to.
        files: at least one.
    """

    root: Path
    files: tuple[TextFile, ...]

    @property
    def size(self) -> int:
        """Bytes of text."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """Hash of names and sizes, which is the same for a copy in another place."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(b"%d %s\0" % (file.size, os.fsencode(file.name)))
        return digest.hexdigest()


def list_source(source: Path, suffixes: Sequence[str]) -> TextSource:
    """Lists the text files of a folder, or a single text file.

    Args:
        source: a folder, searched recursively: without hidden files and folders, empty files and links to folders,
            but with links to files. Or a file with any ending.
        suffixes: endings of the files to take, each with its dot.

    Raises:
        BadInput: the source is missing or contains no file to take.
    """
    if source.is_file():
        return TextSource(root=source.parent, files=_with_stats(source.parent, [source.name]))
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
    found = _with_stats(source, sorted(names))
    if not found:
        endings = ", ".join(
            f"{count} {ending or 'without ending'}" for ending, count in others.most_common(5)
        )
        raise BadInput(
            f"SOURCE {source} contains no non-empty file that ends in {' or '.join(suffixes)}; "
            f"other endings there: {endings or 'none'}. Name the endings to take with --suffix."
        )
    return TextSource(root=source, files=found)


def list_lines(files: Iterable[TextFile]) -> bytes:
    """The list as bytes: one line of JSON per file."""
    return "".join(json.dumps([file.name, file.size, file.modified_ns]) + "\n" for file in files).encode()


def read_list(path: Path) -> tuple[TextFile, ...]:
    """Reads a list that ``list_lines`` wrote.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8") as lines:
        return tuple(
            TextFile(name=name, size=size, modified_ns=modified)
            for name, size, modified in map(json.loads, lines)
        )


def differences(before: Iterable[TextFile], now: Iterable[TextFile]) -> list[str]:
    """Sentences about changes of names, sizes and times; none if the files are the same."""
    old, new = ({file.name: file for file in files} for files in (before, now))
    changed = [name for name in new if name in old and new[name] != old[name]]
    changes = [
        _some("added", [name for name in new if name not in old]),
        _some("removed", [name for name in old if name not in new]),
        _some("written to", changed),
    ]
    return [change for change in changes if change]


def _some(happened: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"{len(names)} {'file' if len(names) == 1 else 'files'} {happened} ({shown})" if names else ""


def _with_stats(root: Path, names: Iterable[str]) -> tuple[TextFile, ...]:
    stats = ((name, (root / name).stat()) for name in names)
    return tuple(
        TextFile(name=name, size=stat.st_size, modified_ns=stat.st_mtime_ns)
        for name, stat in stats
        if stat.st_size
    )


def _refuse_folder(error: OSError) -> NoReturn:
    raise BadInput(f"{error.filename} cannot be searched: {error.strerror}.") from error
