"""Commands in this process: exit codes, and output as people and programs read it."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from etalon.cli.commands import app


def etalon(*arguments: object) -> tuple[int, str]:
    """The exit code and the output of a command; for programs, standard output alone."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout if "--json" in arguments else result.output


def plain(text: str) -> str:
    """A printed text in one line: without the frames of cards."""
    return " ".join(text.replace("\u00a0", " ").replace("│", " ").split())


def refusal_of(*arguments: object, code: int = 2) -> str:
    """The output of a command that is refused, in one line."""
    status, text = etalon(*arguments)
    assert status == code, text
    return plain(text)


def answer_of(*arguments: object) -> dict[str, Any]:
    """The answer of a command for programs."""
    status, text = etalon(*arguments, "--json")
    assert status == 0, text
    answer: dict[str, Any] = json.loads(text)
    return answer
