"""Revisions of a sweep: a JSON merge patch of its specification (RFC 7396), and the growth of its grid and cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from orchestrator.cells import CLOSE, Cell, Cells
from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec.lattice import AXES, GridOf, Lattice
from orchestrator.spec.parsing import parse_spec
from orchestrator.spec.sweep import SweepSpec

CHANGEABLE: Final = ("name", "target", "search.budget", "search.stop", "resources")
"""Fields that a revision may replace."""

GROWING: Final = ("grid.scales", "grid.tokens", "grid.batch_tokens", "grid.learning_rates", "grid.seeds")
"""Fields that a revision may extend."""

NEAR: Final = math.log(2)
"""Largest distance, in ln N, of the N that a program reports from the one it was declared with."""

MOST_LISTED: Final = 5
"""Missing entries that a refusal names."""


def merged(target: Any, patch: Any) -> Any:
    """The value after a JSON merge patch (RFC 7396): null removes a field, a list replaces the whole one."""
    if not isinstance(patch, Mapping):
        return patch
    fields = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = merged(fields.get(name), value)
    return fields


def patched(spec: SweepSpec, patch: Mapping[str, Any]) -> SweepSpec:
    """The specification after a merge patch of any of its fields.

    Raises:
        BadInput: the result is no valid sweep.
    """
    try:
        fields = merged(spec.model_dump(mode="json"), patch)
    except RecursionError as error:
        raise BadInput("The patch is nested too deep to be one of a sweep.") from error
    return parse_spec(fields)


def revised(spec: SweepSpec, patch: Mapping[str, Any]) -> SweepSpec:
    """The specification after a merge patch that changes what may change, and lets the grid grow.

    A grown lattice keeps every rate and continues its spacing, so its ``min`` is the lowest rate that does.

    Raises:
        BadInput: with the path of each field that is not valid, may not change, or would shrink.
    """
    asked = patched(spec, patch)
    problems = [
        FieldProblem(path=path, message=f"cannot be changed; {_changeable()}")
        for path in _differing(spec.model_dump(mode="json"), asked.model_dump(mode="json"))
        if not any(path == name or path.startswith(f"{name}.") for name in (*CHANGEABLE, *GROWING))
    ]
    problems += _shrinking(spec, asked)
    if problems:
        listed = "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        raise BadInput(f"The sweep cannot be changed so: {listed}.", fields=tuple(problems))
    rates = _continued(spec.grid, asked.grid)
    grown = asked.model_copy(update={"grid": asked.grid.model_copy(update={"learning_rates": rates})})
    before, after = spec.training.base(spec.grid), asked.training.base(asked.grid)
    if before != after:
        raise BadInput.at(
            "grid.scales",
            "moves the base of the parametrization, in whose units all learning rates are; keep the base's scale, or clone "
            "the sweep",
        )
    return grown


def grown_cells(known: Cells, asked: Cells) -> Cells:
    """The cells of a search after its grid has grown: known ones keep their numbers and rates.

    Args:
        known: the cells so far, those of a comparison included.
        asked: the cells of the grown grid, by numbers of their own.

    Raises:
        BadInput: at ``grid``: a known cell is not among those of the grown grid.
    """
    cells = {cell.number: cell for cell in known}
    left = set(known.searched)
    following = known.next_number
    for cell in asked:
        same = _same(cell, left)
        if same is not None:
            left.discard(same)
            cells[same.number] = replace(same, rates=_with_rates(same.rates, cell.rates))
        else:
            cells[following] = _as_measured(replace(cell, number=following), known)
            following += 1
    if left:
        lost = min(left, key=lambda cell: cell.number)
        raise BadInput.at("grid", f"would lose the cell of {lost.in_words}; a grid may grow, never shrink")
    return Cells(cells.values())


def _same(cell: Cell, known: Iterable[Cell]) -> Cell | None:
    """The known cell that a cell of the grown grid is; a program may have reported another N than it declared."""
    alike = [one for one in known if _recipe(one) == _recipe(cell)]
    return _nearest(
        cell, [one for one in alike if cell.with_values is not None or _holds((one.params,), cell.params)]
    )


def _as_measured(cell: Cell, known: Cells) -> Cell:
    """A new horizon or batch of a known model has the N that its program reported."""
    if cell.with_values is None:
        return cell
    model = _nearest(cell, [one for one in known.searched if one.with_values == cell.with_values])
    return cell if model is None else replace(cell, params=model.params)


def _recipe(cell: Cell) -> tuple[object, ...]:
    return cell.tokens, cell.batch_tokens, cell.trunk, cell.with_values


def _nearest(cell: Cell, others: Iterable[Cell]) -> Cell | None:
    """The cell whose N is nearest; None if none is within ``NEAR``."""

    def distance(other: Cell) -> float:
        return abs(math.log(other.params / cell.params))

    return min((one for one in others if distance(one) <= NEAR), key=distance, default=None)


def _with_rates(known: tuple[float, ...], asked: tuple[float, ...]) -> tuple[float, ...]:
    """All known rates, and those asked for that are not among them up to rounding."""
    new = (rate for rate in asked if not _holds(known, rate))
    return tuple(sorted((*known, *new)))


def _holds(rates: Iterable[float], rate: float) -> bool:
    return any(abs(math.log(rate / one)) <= CLOSE for one in rates)


def _changeable() -> str:
    return f"{', '.join(CHANGEABLE)} may change, and {', '.join(GROWING)} may grow. POST /clone makes a new sweep with other fields"


def _differing(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields whose values differ; lists are compared whole."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        if before != after:
            yield path
        return
    for name in {**before, **after}:
        yield from _differing(before.get(name), after.get(name), f"{path}.{name}".lstrip("."))


def _shrinking(spec: SweepSpec, asked: SweepSpec) -> Iterator[FieldProblem]:
    before, after = spec.grid, asked.grid
    for axis in AXES:
        old, new = getattr(before, axis), getattr(after, axis)
        if not new and old and spec.training.finds_cells:
            continue  # all that is recorded
        if not old and new:
            yield FieldProblem(
                path=f"grid.{axis}", message="may grow, never shrink: without it all recorded cells are used"
            )
        lost = [one for one in old if one not in new]
        if lost:
            yield FieldProblem(path=f"grid.{axis}", message=f"may grow, never shrink: {_repeat(lost)}")
    if after.seeds < before.seeds:
        yield FieldProblem(
            path="grid.seeds", message=f"may grow, never shrink: at least {before.seeds} (got {after.seeds})"
        )
    yield from _shrinking_rates(spec, asked)


def _shrinking_rates(spec: SweepSpec, asked: SweepSpec) -> Iterator[FieldProblem]:
    before, after = spec.grid.rates(), asked.grid.rates()
    path = "grid.learning_rates"
    if not after and before and spec.training.finds_cells:
        return
    if not before and after:
        yield FieldProblem(
            path=path, message="may grow, never shrink: without it all recorded rates are used"
        )
        return
    rates = _continued(spec.grid, asked.grid)
    kept = rates.rates() if isinstance(rates, Lattice) else after
    lost = [f"{rate:g}" for rate in before if not _holds(kept, rate)]
    if lost:
        yield FieldProblem(
            path=path,
            message=f"may grow, never shrink: {_repeat(lost)}; a lattice keeps per_octave, or takes a whole multiple of it",
        )


def _repeat(lost: Iterable[object]) -> str:
    listed = [_shown(one) for one in lost]
    more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    return f"repeat {', '.join(listed[:MOST_LISTED])}{more}"


def _shown(value: object) -> str:
    dump = getattr(value, "model_dump", None)
    return str(value) if dump is None else str(dump(mode="json", exclude_defaults=True))


def _continued(before: GridOf[Any], after: GridOf[Any]) -> Any:
    """The grown rates: a lattice begins at the lowest rate, not below the one asked for, that continues its spacing."""
    old, new = before.learning_rates, after.learning_rates
    if not (isinstance(old, Lattice) and isinstance(new, Lattice)) or old == new:
        return new
    finer = round(new.per_octave / old.per_octave)
    if (
        finer < 1
        or not math.isclose(finer * old.per_octave, new.per_octave)
        or new.min > old.min * (1 + CLOSE)
    ):
        return new
    below = math.floor(math.log2(max(1.0, old.min / new.min)) * new.per_octave + 1e-9)
    lowest = old.min * 2 ** (-below / new.per_octave)
    return new if lowest >= new.max else new.model_copy(update={"min": lowest})
