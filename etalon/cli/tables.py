"""A run table on the command line: the file, and the rows that ``--where`` picks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import BadInput
from orchestrator.tables.run_table import RunTable, parse_csv

TableFile = Annotated[Path, typer.Argument(metavar="TABLE.csv", help="A run table.")]
Where = Annotated[list[str] | None, typer.Option(help="column=value: only these rows; may repeat.")]


def read_recipe(path: Path, conditions: list[str]) -> RunTable:
    """Read the runs of one recipe: the rows of a file that meet every ``column=value``.

    Raises:
        BadInput: no such file, or not a run table; a condition that cannot be read or met; several recipes remain.
    """
    wanted = assignments(conditions, "--where")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    return parse_csv(data).one_recipe(wanted)


def assignments(items: list[str], option: str) -> dict[str, str]:
    """Read ``name=value`` items of an option.

    Raises:
        BadInput: an item is written otherwise, or gives a name a second value.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name or not value:
            raise BadInput(f"{option} {item!r}: write it as name=value.")
        if found.setdefault(name, value) != value:
            raise BadInput(f"{option} gives {name} two values, {found[name]!r} and {value!r}; give it one.")
    return found
