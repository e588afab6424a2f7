"""What a client sends: specifications and run tables, from files or values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

from etalon.spec_files import naming_lines, read_spec_file
from orchestrator.documents.tables import TABLE_ID_PREFIX
from orchestrator.errors import BadInput
from orchestrator.spec import SweepSpec

SpecSource = str | os.PathLike[str] | Mapping[str, Any] | SweepSpec
"""A sweep: the path of a YAML or JSON file, its fields, or the model."""

_WITH_TABLES: Final = ("trainer", "prior_runs")
"""The parts of a specification that may name a run table."""


def read_fields(source: SpecSource) -> dict[str, Any]:
    """The fields of a sweep, unchecked.

    Raises:
        BadInput: the file cannot be read, or is not YAML or JSON.
    """
    if isinstance(source, SweepSpec):
        return source.model_dump(mode="json")
    if isinstance(source, Mapping):
        return dict(source)
    return read_spec_file(source)


def naming_faults(source: SpecSource) -> AbstractContextManager[None]:
    """Let a refusal name the lines of the fields at fault, if the sweep is a file."""
    return naming_lines(source) if isinstance(source, str | os.PathLike) else nullcontext()


def local_tables(fields: Mapping[str, Any], source: SpecSource) -> dict[str, Path]:
    """The run tables that a specification names by path: the file of each part.

    A path is relative to the folder of the specification's file, or else to the working folder.

    Raises:
        BadInput: there is no such file, or a table is neither a path nor an id.
    """
    folder = Path(source).parent if isinstance(source, str | os.PathLike) else Path()
    found = {}
    for name in _WITH_TABLES:
        part = fields.get(name)
        table = part.get("table") if isinstance(part, Mapping) else None
        if not isinstance(table, str | os.PathLike | None):
            raise BadInput(
                f"{name}.table is the path of a run table or the id of an uploaded one, not {type(table).__name__}. "
                'Write a data frame to a file, frame.to_csv("runs.csv", index=False), and give that path, or the id that '
                'client.tables.upload("runs.csv") answers.'
            )
        if table is not None and not str(table).startswith(TABLE_ID_PREFIX):
            found[name] = folder / table
            if not found[name].is_file():
                raise BadInput(f"{name}.table: there is no file {found[name]}.")
    return found


def with_tables(fields: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The same fields with the ids of uploaded tables in place of paths.

    Args:
        fields: of a specification.
        ids: the table's id for each part of ``local_tables``.
    """
    return {**fields, **{name: {**fields[name], "table": id_} for name, id_ in ids.items()}}
