"""The folder that a training program has first on its path: what ``import etalon`` needs, and nothing else.

The service's own folder, or the one that Etalon is installed in, would put other packages before the program's own.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from workers.programs.own_files import make_folders, write_new

PROGRAM_PATH: Final = "python"
"""Name of the folder within a run's."""

FILES: Final = ("__init__.py", "program.py", "entry.py", "hugging_face.py")
"""Files of ``etalon`` for training programs: standard library alone, Python 3.8 and later."""


def make_program_path(folder: Path) -> Path:
    """Write the files for training programs.

    Args:
        folder: the folder of a run; it exists.

    Returns:
        The folder to put first on the program's ``PYTHONPATH``: ``python``, which holds only the package ``etalon``.

    Raises:
        OSError: the files could not be written.
    """
    path = folder / PROGRAM_PATH
    package = path / "etalon"
    make_folders(folder, package)
    for name in FILES:
        write_new(package / name, (files("etalon") / name).read_text(encoding="utf-8"))
    return path
