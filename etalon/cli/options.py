"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.errors import BadInput
from orchestrator.tables.picking import COMMAND

if TYPE_CHECKING:
    from orchestrator.tables.run_table import RunTable

BUDGET_HELP: Final = (
    "FLOPs that may be spent on confirming the prediction, such as 1e20; if a run at the target costs more, "
    "affordable runs are proposed instead."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="A run table.")]
Where = Annotated[list[str] | None, typer.Option(help="column=value: only these rows; may repeat.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column that is no part of the recipe; may repeat."),
]


def assignments(items: list[str], option: str) -> dict[str, str]:
    """Read ``name=value`` items of an option.

    Raises:
        BadInput: an item has another form, or gives a name a second value.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name:
            raise BadInput(f"{option} {item!r}: write it as name=value.")
        if found.setdefault(name, value) != value:
            raise BadInput(f"{option} gives {name} two values, {found[name]!r} and {value!r}; give it one.")
    return found


def read_recipe(path: Path, conditions: list[str], ignore: list[str]) -> RunTable:
    """Read the runs of one recipe: the rows of a file that meet every ``column=value``.

    Raises:
        BadInput: no such file, or not a run table; a condition of another form, two in one, or that no row meets; no such column
            to ignore; several recipes remain.
    """
    from etalon.offline import read_runs

    wanted = assignments(conditions, COMMAND)
    runs = read_runs(path)
    for name, value in wanted.items():
        first, *others = value.split(",")
        if any(runs.has_column(other.partition("=")[0].strip()) for other in others if "=" in other):
            each = " ".join(f"{COMMAND} {shlex.quote(part.strip())}" for part in (f"{name}={first}", *others))
            raise BadInput(f"{COMMAND} takes one condition; repeat it: {each}.")
    return runs.one_recipe(wanted, ignore, COMMAND)
