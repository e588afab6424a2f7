"""The column ``trunk`` of a run table: rows with one value are branches of one trunk and share its noise.

A trunk is of one size, batch, learning rate and seed, and each of its branches has a horizon of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from orchestrator.cells import CLOSE
from orchestrator.errors import FieldProblem
from orchestrator.law.observations import OWN, Array, Index
from orchestrator.tables.text_columns import TextColumn, different, is_missing, shown

ONE_PER_TRUNK = ("params", "batch_tokens", "learning_rate", "seed")


def trunk_labels(column: TextColumn) -> Index:
    """The label of each row's trunk, `OWN` where the cell is empty, shape [rows]; whatever the order of the rows."""
    names = sorted(text for text in different(column) if not is_missing(text))
    numbers = {name: number for number, name in enumerate(names)}
    found = (numbers.get(text, OWN) for text in column.tolist())
    return np.fromiter(found, dtype=np.int64, count=len(column))


def trunk_problems(
    column: TextColumn, numbers: Mapping[str, Array], rows: NDArray[np.int32]
) -> Iterator[FieldProblem]:
    """Rows that contradict another row of their trunk, each with that row.

    Args:
        column: names of the trunks, shape [rows].
        numbers: `ONE_PER_TRUNK`, ``tokens`` and ``loss``, shape [rows] each. Equal losses at one horizon are a copy.
        rows: number of each row in messages, shape [rows].
    """
    labels = trunk_labels(column)
    kept = np.flatnonzero(labels != OWN)
    _, first, trunk = np.unique(labels[kept], return_index=True, return_inverse=True)
    earliest = kept[first[trunk]]
    for name in ONE_PER_TRUNK:
        values = numbers[name]
        apart = np.abs(values[kept] - values[earliest]) > CLOSE * np.abs(values[earliest])
        for row, other in zip(kept[apart].tolist(), earliest[apart].tolist(), strict=True):
            yield _problem(
                rows[row],
                f"{shown(str(column[row]))} has {name} {values[row]:.10g} here and {values[other]:.10g} in row "
                f"{rows[other]}; the branches of a trunk have one size, batch, learning rate and seed",
            )
    tokens, loss = numbers["tokens"], numbers["loss"]
    order = kept[np.lexsort((loss[kept], tokens[kept], labels[kept]))]
    before, after = order[:-1], order[1:]
    same = (labels[before] == labels[after]) & (
        np.abs(tokens[after] - tokens[before]) <= CLOSE * tokens[before]
    )
    copied = (loss[before] == loss[after]) | (np.isnan(loss[before]) & np.isnan(loss[after]))
    for place in np.flatnonzero(same & ~copied).tolist():
        other, row = sorted((before[place], after[place]))
        yield _problem(
            rows[row],
            f"{shown(str(column[row]))} has tokens {tokens[row]:.10g} here and in row {rows[other]}, with another "
            "loss; a trunk has one branch per horizon",
        )


def _problem(row: int, message: str) -> FieldProblem:
    return FieldProblem(path=f"row {row}, column trunk", message=message)
