"""The runs that a law is fitted to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from orchestrator.cells import CLOSE, Point

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

OWN: Final = -1
"""Label of a run that shares its trunk with no other."""
KINDS: Final[Mapping[str, type[np.generic]]] = {"failed": np.bool_, "trunk": np.int64}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """One row per run, as columns.

    Args:
        params: Parameters N of the model, > 0, shape [runs].
        tokens: Training tokens D, > 0, shape [runs].
        batch_tokens: Tokens per optimizer step B, > 0, shape [runs].
        learning_rate: Peak learning rate η, > 0, shape [runs].
        loss: Final loss in any unit, > 0, shape [runs]. NaN or infinite: the run diverged or crashed. Such a run
            may bound a bowl from above; it is never a minimum.
        seed: Seed of each run, shape [runs]; runs of one cell and rate are repeated runs whatever their seeds.
        failed: True for a run that ended for another reason than its rate (a crashed machine, a cancelled run), shape
            [runs]; a fit leaves it out.
        params_active: Active parameters, shape [runs], if N is another count; they determine the cost of a run. A fit
            ignores them.
        trunk: Integer label of each run's trunk, shape [runs]. Runs of one label are branches of one trunk and share
            its noise; a negative label is a run of its own.

    Raises:
        ValueError: Columns of unequal length, or a value that is not a positive number.
    """

    params: Array
    tokens: Array
    batch_tokens: Array
    learning_rate: Array
    loss: Array
    seed: Array | None = None
    failed: Mask | None = None
    params_active: Array | None = None
    trunk: Index | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            column = getattr(self, field.name)
            if column is None:
                continue
            kind = KINDS.get(field.name, np.float64)
            object.__setattr__(self, field.name, np.ascontiguousarray(column, dtype=kind).ravel())
            self._check(field.name, getattr(self, field.name))

    def _check(self, name: str, column: Array) -> None:
        if column.size != self.params.size:
            raise ValueError(f"{name} has {column.size} rows where params has {self.params.size}.")
        if name in {"seed", "failed", "params_active", "trunk"}:
            return
        valid = np.isfinite(column) & (column > 0)
        if name == "loss":
            valid |= ~np.isfinite(column)
        if not valid.all():
            row = int(np.argmin(valid))
            raise ValueError(f"{name} is {column[row]!r} in row {row}; it must be a positive number.")

    @property
    def size(self) -> int:
        """The number of runs."""
        return int(self.params.size)

    @property
    def points(self) -> Array:
        """N, D and B of each run, shape [runs, 3]."""
        return np.column_stack([self.params, self.tokens, self.batch_tokens])

    @property
    def trunks(self) -> Index:
        """The label of each run's trunk, negative for a run of its own, shape [runs]."""
        return np.full(self.size, OWN) if self.trunk is None else self.trunk

    def sorted(self) -> Self:
        """The same runs in a canonical order; infinite losses become NaN."""
        loss = np.where(np.isfinite(self.loss), self.loss, np.nan)
        seed = np.zeros(self.size) if self.seed is None else self.seed
        shared_first = np.where(
            self.trunks < 0, np.iinfo(np.int64).max, self.trunks
        )  # of copies, one that says it
        keys = (shared_first, seed, loss, self.learning_rate, self.batch_tokens, self.tokens, self.params)
        order = np.lexsort(keys)
        return replace(self, loss=loss).where(order)

    def where(self, rows: Mask | Index) -> Self:
        """The runs selected by a mask, shape [runs], or by row numbers."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})

    def counting(self) -> Self:
        """The runs that a fit uses, in canonical order: without failed runs and without exact copies of a row."""
        runs = (self if self.failed is None else self.where(~self.failed)).sorted()
        seed = np.zeros(runs.size) if runs.seed is None else runs.seed
        rows = np.column_stack([runs.points, runs.learning_rate, runs.loss, seed])
        copied = np.concatenate([[False], (rows[1:] == rows[:-1]).all(axis=1)])[: runs.size]
        kept = runs.where(~copied)
        return kept if kept.trunk is None else replace(kept, trunk=shared_labels(kept.trunk))

    def digest(self, salt: str) -> str:
        """A sha256 of `salt` and the runs in their order; for `counting` runs it does not depend on their order."""
        sha = hashlib.sha256(salt.encode())
        for column in (self.params, self.tokens, self.batch_tokens, self.learning_rate, self.loss):
            sha.update(column.astype("<f8").tobytes())
        if self.trunk is not None:
            sha.update(self.trunk.astype("<i8").tobytes())
        return sha.hexdigest()


def shared_labels(trunk: Index) -> Index | None:
    """The labels that several runs have, numbered from 0 in the order of the runs; None if there are none.

    Args:
        trunk: Label of each run, shape [runs].

    Returns:
        Labels, `OWN` for a run whose label no other has, shape [runs].
    """
    _, first, number, runs = np.unique(trunk, return_index=True, return_inverse=True, return_counts=True)
    shared = (runs[number] > 1) & (trunk >= 0)
    if not shared.any():
        return None
    _, rank = np.unique(first[number[shared]], return_inverse=True)
    labels = np.full(trunk.size, OWN)
    labels[shared] = rank
    return labels


def point_array(points: Iterable[Point]) -> Array:
    """N, D and B of points, shape [points, 3]: what the functions of a law take."""
    rows = [(point.params, point.tokens, point.batch_tokens) for point in points]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def point_list(rows: Array) -> list[Point]:
    """The inverse of `point_array`."""
    return [Point(params=n, tokens=d, batch_tokens=b) for n, d, b in rows.tolist()]


def rows_among(known: Array, points: Array) -> Index:
    """The row of `known`, shape [k, 3], at the same (N, D, B) as each of `points`, shape [m, 3]; −1 if there is none."""
    apart, nearest = KDTree(np.log(known)).query(np.log(points), p=np.inf, distance_upper_bound=CLOSE)
    return np.where(np.isfinite(apart), nearest, -1)
