"""Choosing among many cells: every one can be seen, and an address names the same cells again."""

from __future__ import annotations

import math
from itertools import pairwise
from urllib.parse import parse_qsl

import pytest

from api.figures.bowls import bowl_panels, draw_bowls
from api.figures.screen import fit_to_screen
from api.figures.selection import EVENLY, CellPage, CellSelection, cell_pages
from api.figures.snapshot import FigureSnapshot
from api.figures.style import COUNTS, canvas, log_axis
from orchestrator.states import RunState
from tests.api.figures.building import make_cells, make_run, make_snapshot

SIZES = (214_663_680.0, 268_304_384.0, 1e9 / 3)
HORIZONS = tuple(1e9 * 2**i for i in range(6))
BATCHES = (65_536.0, 131_072.0, 262_144.0, 524_288.0, 1_048_576.0)


@pytest.fixture(scope="module")
def many() -> FigureSnapshot:
    """Ninety cells, each with a run."""
    cells = make_cells(sizes=SIZES, horizons=HORIZONS, batches=BATCHES)
    return make_snapshot(cells, [make_run(cell.number, 1e-3) for cell in cells])


def selection_of(group: CellPage) -> CellSelection:
    """The selection in the figure's address, read as the API reads it."""
    query = dict(parse_qsl(group.query))
    page = int(query.pop("page"))
    return CellSelection(**{name: float(value) for name, value in query.items()}, page=page)


@pytest.mark.parametrize(("kind", "pages"), [("params", 6), ("batch_tokens", 5)])
def test_every_cell_is_on_exactly_one_page_of_sizes_and_of_batches(
    many: FigureSnapshot, kind: str, pages: int
):
    found = [group for group in cell_pages(many) if group.kind == kind]
    drawn = [panel.cell.number for group in found for panel in bowl_panels(many, selection_of(group))[0]]
    assert len(found) == pages
    assert sorted(drawn) == list(range(90))


def test_a_page_says_which_of_how_many_cells_it_has(many: FigureSnapshot):
    labels = [group.label.replace("\u00a0", " ") for group in cell_pages(many)]
    assert labels[:2] == ["N 214.7 M · cells 1 to 24 of 30", "N 214.7 M · cells 25 to 30 of 30"]
    assert labels[-1] == "B 1.049 M · 18 cells"


def test_where_all_cells_fit_there_is_nothing_to_choose():
    cells = make_cells()
    runs = [make_run(cell.number, 1e-3) for cell in cells]
    assert cell_pages(make_snapshot(cells, runs)) == ()


def test_cells_with_nothing_but_ruled_out_rates_are_not_counted(many: FigureSnapshot):
    runs = [make_run(cell.number, 1e-3, RunState.PRUNED) for cell in many.cells]
    assert cell_pages(make_snapshot(many.cells, runs)) == ()


def test_a_page_beyond_the_last_and_a_size_that_is_not_there_show_no_cell(many: FigureSnapshot):
    assert bowl_panels(many, CellSelection(params=SIZES[0], page=3)) == ((), 30)
    assert bowl_panels(many, CellSelection(params=7.0)) == ((), 0)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (EVENLY, "24 of 90 cells with runs, at even steps"),
        (CellSelection(params=SIZES[0], page=2), "6 of the 30 cells chosen"),
    ],
)
def test_the_figure_says_that_there_are_more_cells(
    many: FigureSnapshot, selection: CellSelection, words: str
):
    drawn = draw_bowls(*bowl_panels(many, selection), narrowed=selection != EVENLY)
    assert any(words in note.text for note in drawn.layout.annotations)


def test_on_a_telephone_a_long_title_has_two_lines(many: FigureSnapshot):
    panels, total = bowl_panels(many)
    wide, narrow = draw_bowls(panels, total), fit_to_screen(draw_bowls(panels, total, 2), 2)
    assert "<br>" not in wide.layout.annotations[0].text
    assert "<br>B 65.5" in narrow.layout.annotations[0].text


@pytest.mark.parametrize("high", [20e3 * 16, 20e3 * 40, 20e3 * 99])
def test_labels_of_one_to_two_decades_do_not_touch_on_a_telephone(high: float) -> None:
    drawn = canvas(
        300, xaxis=log_axis(20e3, high, ticks=COUNTS), grid={"rows": 1, "columns": 1, "domain": {"y": [0, 1]}}
    )
    axis = fit_to_screen(drawn, 1).layout.xaxis
    low, end = axis.range
    shown = [at for at in axis.tickvals if low <= math.log10(at) <= end]
    assert 2 <= len(shown) <= 5
    assert all(later / earlier > 2.9 for earlier, later in pairwise(shown))
