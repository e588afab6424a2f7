"""How often the workers of a run were lost, kept in the run's folder: a new driver does not begin to count anew."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from workers.programs.own_files import make_folders, open_to_read, write_new

LOSSES: Final = "losses"
"""File in the run's folder with the number."""

MOST_BYTES: Final = 9


def note_loss(folder: Path) -> int:
    """Count one more loss of a run's workers; returns how many there were, with this one.

    Args:
        folder: of the run; it is made if it is missing.

    Raises:
        OSError: the folder cannot be written.
    """
    make_folders(folder, folder)
    losses = _losses(folder) + 1
    write_new(folder / LOSSES, str(losses))
    return losses


def _losses(folder: Path) -> int:
    try:
        with open_to_read(folder / LOSSES) as file:
            return int(file.read(MOST_BYTES))
    except (OSError, ValueError):
        return 0
