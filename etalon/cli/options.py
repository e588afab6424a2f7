"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.amounts import number, parse_amount
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.tables.run_table import RunTable

LARGEST: Final = 1e18
"""Most parameters or tokens of a target, as in the service."""

BUDGET_HELP: Final = (
    "FLOPs that may be spent on confirming the prediction, such as 1e20; if a run at the target costs more, "
    "affordable runs are proposed instead."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="A run table.")]
Where = Annotated[list[str] | None, typer.Option(help="column=value: only these rows; may repeat.")]


def amount(option: str, text: str, *, largest: float = LARGEST) -> float:
    """Read parameters or tokens: ``1B``, ``262k``, ``1.5T``, ``1e9``, ``1_000_000``.

    Args:
        option: the option, for error messages.
        text: its value; suffixes are decimal.
        largest: the largest value allowed.

    Raises:
        BadInput: not a number from 1 to ``largest``.
    """
    try:
        value = parse_amount(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if not 1 <= value <= largest:
        raise BadInput(f"{option}: {text} is out of range; it must be from 1 to {number(largest)}.")
    return value


def flops_amount(option: str, text: str | None) -> float | None:
    """Read FLOPs: ``1e21``; None stays None.

    Raises:
        BadInput: not a number from 1 to the cost of one run of the largest size and horizon.
    """
    return None if text is None else amount(option, text, largest=6 * LARGEST**2)


def assignments(items: list[str], option: str) -> dict[str, str]:
    """Read ``name=value`` items of an option.

    Raises:
        BadInput: an item has another form, or gives a name a second value.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name or not value:
            raise BadInput(f"{option} {item!r}: write it as name=value.")
        if found.setdefault(name, value) != value:
            raise BadInput(f"{option} gives {name} two values, {found[name]!r} and {value!r}; give it one.")
    return found


def read_recipe(path: Path, conditions: list[str]) -> RunTable:
    """Read the runs of one recipe: the rows of a file that meet every ``column=value``.

    Raises:
        BadInput: no such file, or not a run table; a condition of another form, or that no row meets; several recipes
            remain.
    """
    from orchestrator.tables.formats import read_table

    wanted = assignments(conditions, "--where")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    return read_table(data).one_recipe(wanted)
