"""Config files made for a run: a file of the operator with some of its keys set. Keys must exist, so a typo is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import tomlkit
import yaml
from tomlkit.exceptions import TOMLKitError

from orchestrator.errors import BadInput


def _read_toml(text: str) -> Any:
    return tomlkit.parse(text)


def _read_yaml(text: str) -> Any:
    return _apart(yaml.safe_load(text))


def _apart(data: Any) -> Any:
    """The data without shared parts: aliases of an anchor are one object, and setting a key of one would set all."""
    if isinstance(data, dict):
        return {key: _apart(value) for key, value in data.items()}
    return [_apart(value) for value in data] if isinstance(data, list) else data


def _write_yaml(data: Any) -> str:
    # Floats come out as 1.0e-05, which every reader of YAML takes for a number.
    written: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return written


_FORMATS: Final[Mapping[str, tuple[Callable[[str], Any], Callable[[Any], str]]]] = {
    ".yaml": (_read_yaml, _write_yaml),
    ".yml": (_read_yaml, _write_yaml),
    ".json": (json.loads, lambda data: json.dumps(data, indent=2, ensure_ascii=False)),
    ".toml": (_read_toml, tomlkit.dumps),
}
"""How files of each ending are read and written."""


def render(source: Path, target: Path, changes: Mapping[str, Any]) -> str:
    """The text of a config file with some keys set.

    Args:
        source: the operator's file; its ending, or else the target's, says its format.
        target: where the text will be written, for its ending.
        changes: values by dotted key, such as ``optimizer.lr``; entries of lists by their number, from 0.

    Raises:
        BadInput: the file cannot be read, has another format, or lacks a key.
    """
    ending = source.suffix if source.suffix in _FORMATS else target.suffix
    if ending not in _FORMATS:
        raise BadInput(f"{source}: config files are YAML, JSON or TOML ({', '.join(_FORMATS)}).")
    read, write = _FORMATS[ending]
    try:
        data = read(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise BadInput(f"{source} is nested too deep, or a part of it contains itself.") from error
    except (ValueError, yaml.YAMLError, TOMLKitError) as error:
        raise BadInput(f"{source} is not valid {ending.lstrip('.').upper()}: {error}") from error
    for key, value in changes.items():
        _set(data, key, value, source)
    return write(data)


def _set(data: Any, key: str, value: Any, source: Path) -> None:
    place, parts = data, key.split(".")
    for at, part in enumerate(parts):
        found = _entry(place, part)
        if found is None:
            raise BadInput(
                f"{source} has no {'.'.join(parts[: at + 1])}, so it cannot be set; there {_contents(place)}."
            )
        if at + 1 == len(parts):
            place[found] = value
        else:
            place = place[found]


def _entry(place: Any, part: str) -> Any:
    """The key or index of a part in a mapping or list; None if there is none."""
    if isinstance(place, Mapping):
        return next((key for key in place if str(key) == part), None)
    if isinstance(place, list) and part.isdecimal() and int(part) < len(place):
        return int(part)
    return None


def _contents(place: Any) -> str:
    if isinstance(place, Mapping):
        return f"are {', '.join(map(str, place)) or 'no keys'}"
    return f"is a list of {len(place)}" if isinstance(place, list) else f"is {place!r}"
