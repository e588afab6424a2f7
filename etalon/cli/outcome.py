"""How a command ends: exit codes, refusals for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Any, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape

from orchestrator.amounts import readable
from orchestrator.errors import BadInput, EtalonError, NotFound, Unsupported

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
    """The exit code that tells a program what kind of error it was."""
    if isinstance(error, Unsupported):
        return Exit.REFUSED
    if isinstance(error, BadInput | NotFound):
        return Exit.BAD_INPUT
    return Exit.FAILED


def problem_document(error: EtalonError) -> dict[str, Any]:
    """The error as problem details (RFC 9457); as the service sent them, if it did."""
    if error.problem is not None:
        return dict(error.problem)
    return {
        "type": "about:blank",
        "title": error.title,
        "detail": error.detail,
        "errors": [{"path": field.path, "message": field.message} for field in error.fields],
    }


def tells_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command end with the right code and a sentence where it raises an ``EtalonError``.

    Commands that take ``as_json`` get the error as problem details on standard output.
    """

    @wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except EtalonError as error:
            if kwargs.get("as_json"):
                print_json(problem_document(error))
            else:
                err.print(f"[bold red]{error.title}.[/] {escape(readable(error.detail))}", soft_wrap=True)
            raise typer.Exit(exit_code(error)) from error

    return told


def print_json(document: object) -> None:
    """Print a result for programs."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))
