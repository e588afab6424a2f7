"""Formats of run tables: how each is recognised and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from orchestrator.tables.checked_table import WrittenTable, checked_table
from orchestrator.tables.run_table import RunTable
from orchestrator.tables.separated_values import read_separated


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFormat:
    """One format of run tables.

    Attributes:
        name: the format and its encoding, for the documentation.
        media_types: types under which the service accepts it, the preferred one first.
        example: a short table, for the documentation.
        begins: whether the content of a file looks like this format.
        read: reads a file; raises ``BadInput`` if it is not of this format.
    """

    name: str
    media_types: tuple[str, ...]
    example: str
    begins: Callable[[bytes], bool]
    read: Callable[[bytes], WrittenTable]


def read_table(data: bytes) -> RunTable:
    """Read and check a run table in the first of ``FORMATS`` that its content looks like.

    Raises:
        BadInput: not of that format, or as ``checked_table``.
    """
    return checked_table(next(known for known in FORMATS if known.begins(data)).read(data))


FORMATS: Final = (
    TableFormat(
        name="CSV, UTF-8",
        media_types=("text/csv", "application/csv"),
        example="params,tokens,batch_tokens,learning_rate,loss\r\n1e7,2e8,65536,1e-3,3.91\r\n",
        begins=lambda _: True,
        read=read_separated,
    ),
)
"""Every format, the most recognisable first; CSV is last because any content can be CSV."""
