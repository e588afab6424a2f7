"""Plotly figures of a sweep, drawn once on the server and shown alike on pages, in notebooks and reports."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any, Final

import plotly.graph_objects as go

from api.figures.drawing.bowls import draw_bowls
from api.figures.drawing.comparison import draw_comparison
from api.figures.drawing.coverage import draw_coverage
from api.figures.drawing.law import draw_law
from api.figures.drawing.lenses import draw_lens
from api.figures.drawing.losses import draw_losses
from api.figures.drawing.paradigms import draw_paradigms
from api.figures.drawing.residuals import draw_residuals
from api.figures.drawing.run import draw_run
from api.figures.drawing.savings import draw_savings
from api.figures.drawing.style import FONT, empty, is_narrow
from api.figures.numbers.bowls import bowl_panels
from api.figures.numbers.comparison import comparison_lines
from api.figures.numbers.coverage import coverage
from api.figures.numbers.law import law_view
from api.figures.numbers.lenses import feature_learning, stability
from api.figures.numbers.losses import learning_curves, why_no_curves
from api.figures.numbers.paradigms import paradigms_view
from api.figures.numbers.phases import stable_view
from api.figures.numbers.residuals import residuals
from api.figures.numbers.savings import savings
from api.figures.numbers.selection import EVENLY, Selection
from api.figures.numbers.snapshot import Snapshot, read_snapshot, what_comes
from orchestrator.answers.runs import why_unseen
from orchestrator.answers.stable_phase import Phase
from orchestrator.errors import BadInput, FieldProblem, NotFound
from orchestrator.heldout.stages import comparison_document
from orchestrator.store import Store
from orchestrator.strategies import StrategyComparison

__all__ = ["LENSES", "NAMES", "comparison_figure", "figure", "lens_figure", "page", "run_figure"]

Drawing = Callable[[Store, str, int | None], go.Figure]


def figure(
    store: Store,
    sweep_id: str,
    name: str,
    *,
    columns: int | None = None,
    selection: Selection = EVENLY,
    phase: Phase = Phase.ANNEALED,
) -> dict[str, Any]:
    """Draw one figure of a sweep as it stands now.

    Args:
        store: where the sweep is recorded.
        sweep_id: the sweep.
        name: one of `NAMES`.
        columns: how many panels fit side by side (1 on a telephone); None leaves it to the figure.
        selection: which cells the bowls show; other figures show them all.
        phase: which losses the bowls and the law are of; other figures are of annealed ones.

    Returns:
        A Plotly figure, ``{"data": […], "layout": {…}}``, of plain JSON values. A figure that has nothing to
        show yet says what will appear, and when.

    Raises:
        NotFound: there is no such sweep, or no figure of this name.
        BadInput: another figure than the bowls and the law is asked for of the stable phase.
        Unsupported: the sweep has no stable phase.
    """
    if phase is Phase.STABLE and name in _DRAWINGS:
        return _plain(_stable(store, sweep_id, name, columns, selection))
    if name == "bowls":
        return _plain(_bowls(store, sweep_id, columns, selection))
    drawing = _DRAWINGS.get(name)
    if drawing is None:
        raise NotFound(f"There is no figure {name!r}; there are: {', '.join(NAMES)}.")
    return _plain(drawing(store, sweep_id, columns))


def run_figure(store: Store, run_id: str) -> dict[str, Any]:
    """Draw the learning curve of one run as it stands now; a Plotly figure as `figure`.

    Raises:
        NotFound: there is no such run.
    """
    run = store.runs.get(run_id)
    cell = store.sweeps.cells(run.sweep_id)[run.cell]
    return _plain(draw_run(run, cell, store.losses.curve(run, max_points=1000)))


def lens_figure(store: Store, run_id: str, name: str, *, columns: int | None = None) -> dict[str, Any]:
    """Draw what a lens saw of one run as it stands now; a Plotly figure as `figure`.

    Args:
        store: where the run is recorded.
        run_id: the run.
        name: one of `LENSES`.
        columns: as for `figure`.

    Raises:
        NotFound: there is no such run, or no lens of this name.
    """
    if name not in LENSES:
        raise NotFound(f"There is no lens {name!r}; there are: {', '.join(LENSES)}.")
    run = store.runs.get(run_id)
    points = store.lenses.curve(run)
    if not points:
        return _plain(empty(why_unseen(run, store.sweeps.get(run.sweep_id))))
    lost = run.diverged_tokens
    batch_tokens = store.sweeps.cells(run.sweep_id)[run.cell].batch_tokens
    view = LENSES[name](points, None if lost is None else round(lost / batch_tokens))
    return _plain(draw_lens(view, columns))


def comparison_figure(
    comparison: StrategyComparison, note: str, *, columns: int | None = None
) -> dict[str, Any]:
    """Draw a comparison of strategies; a Plotly figure as `figure`, with a sentence under it."""
    return _plain(draw_comparison(comparison_lines(comparison), note, columns))


def page(title: str, drawn: dict[str, Any]) -> str:
    """A figure as an HTML page of its own, which needs no network."""
    picture = go.Figure(drawn).to_html(full_html=False, include_plotlyjs=True, config=CONFIG)
    return PAGE.format(title=html.escape(title), font=html.escape(FONT), picture=picture)


def _plain(drawn: go.Figure) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(drawn.to_json())
    return plain


def _bowls(store: Store, sweep_id: str, columns: int | None, selection: Selection = EVENLY) -> go.Figure:
    return _bowls_of(read_snapshot(store, sweep_id), columns, selection)


def _bowls_of(snapshot: Snapshot, columns: int | None, selection: Selection) -> go.Figure:
    panels, total = bowl_panels(snapshot, selection)
    otherwise = what_comes(
        snapshot,
        "Bowls appear here as soon as the first runs are asked for.",
        "none of its runs was asked for",
    )
    return draw_bowls(panels, total, columns, narrowed=selection != EVENLY, otherwise=otherwise)


def _stable(store: Store, sweep_id: str, name: str, columns: int | None, selection: Selection) -> go.Figure:
    """The bowls or the law before the decay, with a line on how they differ from those after it."""
    if name not in PHASED:
        problem = FieldProblem(
            path="phase", message=f"is stable, which only these figures show: {', '.join(PHASED)}"
        )
        raise BadInput(f"{problem.path} {problem.message}.", fields=(problem,))
    view = stable_view(read_snapshot(store, sweep_id))
    if name == "bowls":
        return _bowls_of(view.snapshot, columns, selection)
    return draw_law(law_view(view.snapshot), columns, note=view.note)


def _law(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    snapshot = read_snapshot(store, sweep_id)
    otherwise = what_comes(
        snapshot,
        "The law appears here after the first batch of runs, once a bowl shows a minimum.",
        "there is no law to show",
    )
    return draw_law(law_view(snapshot), columns, otherwise=otherwise)


def _coverage(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    return draw_coverage(coverage(read_snapshot(store, sweep_id), narrow=is_narrow(columns)), columns)


def _losses(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    snapshot = read_snapshot(store, sweep_id)
    curves = learning_curves(snapshot, store.losses.of_sweep(sweep_id, **SAMPLE))
    return draw_losses(curves, columns, otherwise=why_no_curves(snapshot))


def _residuals(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    snapshot = read_snapshot(store, sweep_id)
    otherwise = what_comes(
        snapshot,
        "Predicted and observed rates appear here once the law knows a cell with a minimum.",
        "no law of it knows a cell with a minimum",
    )
    return draw_residuals(residuals(snapshot), columns, otherwise=otherwise)


def _savings(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    snapshot = read_snapshot(store, sweep_id)
    otherwise = what_comes(
        snapshot,
        "Cost and interval appear here when the first batch of runs is asked for.",
        "none of its runs was asked for",
    )
    return draw_savings(savings(snapshot, store.laws.of_sweep(sweep_id)), columns, otherwise=otherwise)


def _comparison(store: Store, sweep_id: str, columns: int | None) -> go.Figure:
    sweep = store.sweeps.get(sweep_id)
    compared = None if sweep.spec.comparison is None else comparison_document(store, sweep)
    return draw_paradigms(paradigms_view(compared), columns)


LENSES: Final = {"stability": stability, "features": feature_learning}
"""The lenses on one run."""

SAMPLE: Final = {"max_points": 120, "max_curves": 60}
"""Of the learning curves: enough to see their shape, few enough to draw at once."""

CONFIG: Final = {"displaylogo": False, "responsive": True}
PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: {font}; max-width: 1000px; margin: 1rem auto; padding: 0 1rem">
<h1 style="font-size: 1.1rem">{title}</h1>
{picture}
</body>
</html>
"""

_DRAWINGS: Final[dict[str, Drawing]] = {
    "bowls": _bowls,
    "law": _law,
    "coverage": _coverage,
    "losses": _losses,
    "residuals": _residuals,
    "savings": _savings,
    "comparison": _comparison,
}

PHASED: Final = ("bowls", "law")
"""The figures that can be drawn of the stable phase too."""

NAMES: Final = tuple(_DRAWINGS)
"""The figures that there are."""
