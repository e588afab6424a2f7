"""How a message says to pick rows of a table or to ignore a column, as the command line, Python or a specification takes it."""

from __future__ import annotations

import json
import shlex
from typing import Final

COMMAND: Final = "--where"
PYTHON: Final = "where"


def picking(option: str, column: str) -> str:
    """The way to pick the rows with one value of a column.

    Args:
        option: ``COMMAND``, ``PYTHON``, or the field of a specification such as ``trainer.where``.
        column: its name.
    """
    if option == COMMAND:
        return f"--where {shlex.quote(column)}=…"
    if option == PYTHON:
        return f"where={{{_quoted(column)}: …}}"
    return f"{option}: {{{column if column.isidentifier() else _quoted(column)}: …}}"


def ignoring(option: str, column: str) -> str:
    """The way to leave a column out of account; arguments as ``picking``."""
    if option == COMMAND:
        return f"ignore it with --ignore {shlex.quote(column)}"
    if option == PYTHON:
        return f"ignore it with ignore=[{_quoted(column)}]"
    return f"ignore it with {option.removesuffix('.where')}.ignore: [{column if column.isidentifier() else _quoted(column)}]"


def _quoted(column: str) -> str:
    return json.dumps(column, ensure_ascii=False)
