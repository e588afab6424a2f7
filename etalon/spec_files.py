"""Files of sweeps: their fields, and the lines of those at fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.spec import MAX_SWEEP_BYTES, add_lines, read_json, read_yaml, spec_text


def read_spec_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the fields of a sweep's file, unchecked: JSON if its name ends in .json, else YAML.

    Raises:
        BadInput: the file cannot be read, is too large, not UTF-8, or not YAML (or JSON).
    """
    return (read_json if _is_json(path) else read_yaml)(_text(path))


@contextmanager
def naming_lines(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let a refusal of a sweep name the lines of the fields at fault in its YAML file."""
    try:
        yield
    except BadInput as error:
        if not _is_json(path):
            with suppress(BadInput):  # a text that is not YAML, which is what was refused
                add_lines(error, _text(path))
        raise


def _is_json(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == ".json"


def _text(path: str | os.PathLike[str]) -> str:
    try:
        with Path(path).open("rb") as file:
            return spec_text(file.read(MAX_SWEEP_BYTES + 1))
    except OSError as error:
        raise BadInput(f"{os.fspath(path)} cannot be read: {error.strerror}.") from error
