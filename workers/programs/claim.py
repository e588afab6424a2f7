"""Which worker has a run in hand: the one that took it up last. An earlier one that is still alive leaves the run alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import uuid4

from workers.programs.own_files import FOLDER, open_to_read, write_new

CLAIM: Final = "claim"
"""File in the run's folder with the word of the worker that has the run in hand."""


def claim(folder: Path) -> str:
    """Take up the run of a folder, which is made if it is missing; returns the word that says so.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    word = uuid4().hex
    write_new(folder / CLAIM, word)
    return word


def is_claimed_by_another(folder: Path, word: str | None) -> bool:
    """Whether another worker has taken up the run since; without a word, and while the file cannot be read, none has."""
    if word is None:
        return False
    try:
        with open_to_read(folder / CLAIM) as file:
            return file.read(len(word) + 1) != word.encode()
    except OSError:
        return False
