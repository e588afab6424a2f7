"""Results, errors and exit codes of the commands, for people and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from enum import IntEnum
from functools import wraps
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from orchestrator.documents.problems import ProblemDocument
from orchestrator.errors import BadInput, EtalonError, NotFound, Refused
from orchestrator.extras import naming_extras

P = ParamSpec("P")

out = Console()
err = Console(stderr=True)


class Exit(IntEnum):
    """The exit codes of the contract."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3


def exit_code(error: EtalonError) -> Exit:
    """The exit code of a kind of error."""
    if isinstance(error, Refused):
        return Exit.REFUSED
    if isinstance(error, BadInput | NotFound):
        return Exit.BAD_INPUT
    return Exit.FAILED


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command that raises an ``EtalonError`` print it and end with its exit code.

    A sentence goes to standard error; with ``as_json``, problem details (RFC 9457) go to standard output.
    """

    @wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with naming_extras():
                command(*args, **kwargs)
        except EtalonError as error:
            error.detail = with_flags(error, kwargs)
            if kwargs.get("as_json"):
                print_json(problem_json(error))
            else:
                err.print(f"[bold red]{error.title}.[/] {escape(error.detail)}", soft_wrap=True)
            raise typer.Exit(exit_code(error)) from error

    return reporting


def with_flags(error: EtalonError, options: Collection[str]) -> str:
    """The detail of an error, with ``--where`` for ``where`` if that is one of the command's options."""
    detail = error.detail
    for problem in error.fields:
        option, _, field = problem.path.partition(".")
        if option in options:
            named = rf"(?<![-\w]){option}(?=:| {re.escape(field)}=)"
            detail = re.sub(named, f"--{option.replace('_', '-')}", detail)
    return detail


def problem_json(error: EtalonError) -> Any:
    """The problem details of an error: as the service sent them, or of one that was raised here."""
    return ProblemDocument.of_error(error).to_json() if error.problem is None else error.problem


def print_json(document: object) -> None:
    """Print JSON values for programs; characters that the output's encoding may lack are escaped."""
    can_all = out.encoding.startswith("utf")
    typer.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=not can_all))
