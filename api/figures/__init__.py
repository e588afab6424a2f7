"""Plotly figures, drawn on the server and the same on pages, in notebooks and in reports.

A further figure is a module with its numbers, its drawing and its entry, and one name in `FIGURES`.
"""

from __future__ import annotations

import html
import json
from typing import Any, Final

import plotly.graph_objects as go

from api.figures import (
    batch_curves,
    bowls,
    coverage_map,
    fitting_transfer,
    law_curves,
    learning_curves,
    residuals,
    savings,
)
from api.figures.entry import FigureRequest, SweepFigure
from api.figures.lens_panels import draw_lens, feature_learning, stability
from api.figures.run_curve import draw_run
from api.figures.screen import fit_to_screen
from api.figures.selection import EVENLY, CellSelection
from api.figures.snapshot import read_snapshot
from api.figures.stable_snapshot import stable_snapshot
from api.figures.strategy_lines import draw_strategies, strategy_lines
from api.figures.style import FONT, empty
from orchestrator.answers.runs import why_unseen
from orchestrator.answers.stable_phase import Phase
from orchestrator.errors import BadInput, NotFound
from orchestrator.store import Store
from orchestrator.store.losses import thinned
from orchestrator.strategies.strategy_scores import StrategyComparison

__all__ = ["FIGURES", "LENSES", "comparison_figure", "figure", "lens_figure", "page", "run_figure"]

FIGURES: Final[dict[str, SweepFigure]] = {
    module.FIGURE.name: module.FIGURE
    for module in (
        bowls,
        law_curves,
        batch_curves,
        coverage_map,
        learning_curves,
        residuals,
        fitting_transfer,
        savings,
    )
}
"""The figures of a sweep by name, in the order of its page."""

LENSES: Final = {"stability": stability, "features": feature_learning}
"""The lenses on one run."""

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


def figure(
    store: Store,
    sweep_id: str,
    name: str,
    *,
    columns: int | None = None,
    selection: CellSelection = EVENLY,
    phase: Phase = Phase.ANNEALED,
) -> dict[str, Any]:
    """Draw one figure of a sweep as it is now.

    Args:
        store: where the sweep is recorded.
        sweep_id: the sweep.
        name: one of `FIGURES`.
        columns: panels that fit side by side (1 on a telephone); None leaves it to the figure.
        selection: the cells of the bowls; other figures show all cells.
        phase: the losses that the bowls and the law are of; other figures are of annealed losses.

    Returns:
        A Plotly figure, ``{"data": […], "layout": {…}}``, of plain JSON values. A figure without data yet says what
        will appear, and when.

    Raises:
        NotFound: there is no such sweep, or no figure of this name.
        BadInput: the figure has no version of the stable phase.
        Refused: the sweep has no stable phase.
    """
    entry = FIGURES.get(name)
    if entry is None:
        raise NotFound(f"There is no figure {name!r}. The figures are: {', '.join(FIGURES)}.")
    if phase is Phase.STABLE and not entry.stable:
        stable = ", ".join(other.name for other in FIGURES.values() if other.stable)
        raise BadInput.at("phase", f"only these figures have a stable phase: {stable}")
    snapshot = read_snapshot(store, sweep_id)
    if phase is Phase.STABLE:
        snapshot = stable_snapshot(snapshot)
    request = FigureRequest(store=store, snapshot=snapshot, columns=columns, selection=selection)
    return _plain(entry.draw(request), columns)


def run_figure(store: Store, run_id: str, *, columns: int | None = None) -> dict[str, Any]:
    """Draw the learning curve of one run as it is now; a Plotly figure as `figure`.

    Args:
        store: where the run is recorded.
        run_id: the run.
        columns: as for `figure`.

    Raises:
        NotFound: there is no such run.
    """
    run = store.runs.get(run_id)
    cell = store.sweeps.cells(run.sweep_id)[run.cell]
    points, training = thinned(store.losses.curve(run), 1000), store.sweeps.get(run.sweep_id).spec.training
    return _plain(draw_run(run, cell, points, no_curves=training.no_curves), columns)


def lens_figure(store: Store, run_id: str, name: str, *, columns: int | None = None) -> dict[str, Any]:
    """Draw what a lens recorded of one run, as it is now; a Plotly figure as `figure`.

    Args:
        store: where the run is recorded.
        run_id: the run.
        name: one of `LENSES`.
        columns: as for `figure`.

    Raises:
        NotFound: there is no such run, or no lens of this name.
    """
    if name not in LENSES:
        raise NotFound(f"There is no lens {name!r}. The lenses are: {', '.join(LENSES)}.")
    run = store.runs.get(run_id)
    points = store.lenses.curve(run)
    if not points:
        return _plain(empty(why_unseen(run, store.sweeps.get(run.sweep_id))))
    lost = run.diverged_tokens
    batch_tokens = store.sweeps.cells(run.sweep_id)[run.cell].batch_tokens
    view = LENSES[name](points, None if lost is None else round(lost / batch_tokens))
    return _plain(draw_lens(view), columns)


def comparison_figure(
    comparison: StrategyComparison, note: str, *, columns: int | None = None
) -> dict[str, Any]:
    """Draw a comparison of strategies with a note under it; a Plotly figure as `figure`."""
    return _plain(draw_strategies(strategy_lines(comparison), note), columns)


def page(title: str, drawn: dict[str, Any]) -> str:
    """A figure as an HTML page of its own, which needs no network."""
    picture = go.Figure(drawn).to_html(full_html=False, include_plotlyjs=True, config=CONFIG)
    return PAGE.format(title=html.escape(title), font=html.escape(FONT), picture=picture)


def _plain(drawn: go.Figure, columns: int | None = None) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(fit_to_screen(drawn, columns).to_json())
    return plain
