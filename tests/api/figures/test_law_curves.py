"""The law and its residuals in numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from api.figures.law_curves import MOST_LINES, law_view
from api.figures.residuals import residuals
from api.figures.snapshot import rounded
from orchestrator.answers.prediction import prediction
from orchestrator.cells import Cells, Point
from tests.api.figures.building import fitted, full_bowls, make_cells, make_snapshot

TARGET = {"params": 1.6e5, "tokens": 8e5, "batch_tokens": 256.0}
CELLS = make_cells(sizes=(1e4, 2e4, 4e4, 8e4))
RUNS = full_bowls(CELLS)
LAW = fitted(CELLS, RUNS)
ANSWERED = make_snapshot(CELLS, RUNS, law=LAW, prediction=prediction(LAW, Point(**TARGET)), target=TARGET)
REFUSED = make_snapshot(CELLS, RUNS, law=LAW, target=TARGET)


def test_without_a_law_there_is_no_view():
    assert law_view(make_snapshot(CELLS, RUNS)) is None
    assert residuals(make_snapshot(CELLS, RUNS)) is None


def test_the_line_at_the_target_passes_through_the_prediction():
    view = law_view(ANSWERED)
    for side in (view.params, view.tokens):
        line = side.band.line
        at = np.interp(math.log(side.target), np.log(line.x), np.log(line.learning_rate))
        assert math.exp(at) == pytest.approx(view.answer.learning_rate, rel=0.02)


def test_the_outer_band_holds_the_inner_one_and_both_hold_the_line():
    band = law_view(ANSWERED).params.band
    columns = (band.outer_low, band.low, band.line.learning_rate, band.high, band.outer_high)
    for values in zip(*columns, strict=True):
        assert list(values) == sorted(values)


def test_the_axes_reach_from_the_smallest_cell_to_the_target():
    view = law_view(ANSWERED)
    assert view.params.band.line.x[0] < 1e4
    assert view.params.band.line.x[-1] > TARGET["params"]
    assert view.tokens.band.line.x[-1] > TARGET["tokens"]


def test_a_refused_target_is_not_drawn_nor_reached_for():
    view = law_view(REFUSED)
    assert view.answer is None
    assert view.params.target is None
    assert view.params.band.line.x[-1] < TARGET["params"]


def test_the_star_is_where_the_prediction_was_asked_even_in_a_cell_that_has_no_bowl_yet():
    *known, unseen = CELLS
    asked = unseen.point
    runs = full_bowls(known)
    law = fitted(CELLS, runs)
    found = prediction(law, asked)
    view = law_view(make_snapshot(CELLS, runs, law=law, prediction=found))
    assert len(law.bowls) < len(CELLS)
    assert view.answer is not None
    assert rounded(view.answer.target) == rounded(asked)
    assert (view.params.target, view.tokens.target) == (asked.params, asked.tokens)


def test_every_size_and_horizon_has_its_slice_and_every_cell_its_optimum():
    view = law_view(ANSWERED)
    assert [line.other for line in view.params.lines] == [1e5, 2e5, 4e5]
    assert [line.other for line in view.tokens.lines] == [1e4, 2e4, 4e4, 8e4]
    assert len(view.params.measured) == len(CELLS)
    assert all(
        point.bowl.low <= point.bowl.learning_rate <= point.bowl.high for point in view.params.measured
    )


def test_many_slices_are_thinned():
    cells = make_cells(sizes=(1e4, 4e4), horizons=tuple(1e5 * 1.5**i for i in range(9)))
    runs = full_bowls(cells)
    view = law_view(make_snapshot(cells, runs, law=fitted(cells, runs)))
    others = [line.other for line in view.params.lines]
    assert len(others) == MOST_LINES
    assert (others[0], others[-1]) == (1e5, 1e5 * 1.5**8)


def test_cells_at_another_batch_than_the_slices_are_marked():
    cells = make_cells(batches=(256.0, 1024.0))
    runs = full_bowls(cells)
    view = law_view(make_snapshot(cells, runs, law=fitted(cells, runs), target=TARGET))
    assert view.batch_tokens == 256.0
    assert sum(point.on_slice for point in view.params.measured) == len(cells) / 2


def test_the_cells_that_the_error_was_judged_on_are_marked():
    view = law_view(ANSWERED)
    assert {point.x for point in view.params.measured if point.held_out} == {8e4}


def test_residuals_of_a_clean_law_are_small_and_know_what_was_held_out():
    view = residuals(ANSWERED)
    assert len(view.cells) == len(CELLS)
    assert view.heldout is LAW.heldout
    for cell in view.cells:
        assert cell.held_out == (cell.params == 8e4)
        assert cell.predicted == pytest.approx(cell.observed, rel=0.25)
        assert 0 <= cell.excess_loss < 0.005
        assert ("without this cell" in cell.text) == cell.held_out


def test_a_cell_of_a_mixture_costs_its_active_parameters() -> None:
    dense = residuals(ANSWERED)
    mixed = replace(ANSWERED, cells=Cells(replace(cell, params_active=cell.params / 2) for cell in CELLS))
    found = residuals(mixed)

    assert dense is not None
    assert found is not None
    assert [cell.flops for cell in found.cells] == [cell.flops / 2 for cell in dense.cells]
