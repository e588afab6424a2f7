"""An entry of the table of figures, and the request that it is drawn for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from api.figures.selection import EVENLY, CellSelection
from api.figures.snapshot import FigureSnapshot
from orchestrator.store import Store

Need = Literal["grid", "comparison"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRequest:
    """The input of a figure, and its options.

    Attributes:
        store: for what the snapshot does not hold: losses, earlier laws, the comparison.
        snapshot: the sweep.
        columns: panels that fit side by side (1 on a telephone); None if the figure may choose.
        selection: the cells of the bowls; other figures show all cells.
    """

    store: Store
    snapshot: FigureSnapshot
    columns: int | None = None
    selection: CellSelection = EVENLY


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFigure:
    """One figure of a sweep.

    Attributes:
        name: in addresses.
        title: above the figure.
        link: the title in the page's navigation, one word.
        caption: under the title.
        trunks_caption: more of it where horizons share trunks.
        draw: reads the numbers and draws them.
        stable: whether it can be drawn of the stable phase too.
        needs: the part of the specification without which a page omits the figure; None if always shown.
    """

    name: str
    title: str
    link: str
    caption: str
    draw: Callable[[FigureRequest], go.Figure]
    trunks_caption: str = ""
    stable: bool = False
    needs: Need | None = None
