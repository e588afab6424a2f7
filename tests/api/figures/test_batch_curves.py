"""Cost and rate over the batch in numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from api.figures.batch_curves import TALLEST, BatchView, batch_view, draw_batch
from api.figures.snapshot import FigureSnapshot
from orchestrator.answers.prediction import prediction
from orchestrator.law import Law, fit
from tests.api.figures.building import fitted, full_bowls, make_cells, make_snapshot
from tests.known_law import FAST, LARGE, runs_of
from tests.orchestrator.law.valleys import BATCHES, best_batch_of, true_loss

N, D = 3e8, 2e10
KNOWN = replace(LARGE, bottom=lambda at: np.vectorize(true_loss)(at.params, at.tokens, at.batch_tokens))
LAW = fit(runs_of(KNOWN, sizes=(1e8, 2e8), horizons=(4e9, 1e10), batches=BATCHES), options=FAST)


def snapshot(
    law: Law = LAW, params: float = N, tokens: float = D, batch: float | None = None
) -> FigureSnapshot:
    """A sweep whose newest law was asked at a target."""
    asked = law.completed(params=params, tokens=tokens, batch_tokens=batch)
    return make_snapshot(make_cells(), law=law, prediction=prediction(law, asked))


def viewed(shown: FigureSnapshot) -> BatchView:
    view = batch_view(shown)
    assert isinstance(view, BatchView), view
    return view


def names(view: BatchView) -> list[str]:
    return [trace.name for trace in draw_batch(view).data]


VIEW = viewed(snapshot())


def test_the_lines_pass_through_the_cost_and_the_rate_of_every_batch_tried() -> None:
    assert [choice.batch_tokens for choice in VIEW.tried] == list(BATCHES)
    for choice in VIEW.tried:
        at, x = math.log(choice.batch_tokens), np.log(VIEW.batch_tokens)
        assert np.interp(at, x, VIEW.excess_loss.y) == pytest.approx(choice.excess_loss, rel=0.01, abs=1e-5)
        assert np.interp(at, x, VIEW.excess_loss.high) == pytest.approx(choice.high, rel=0.01, abs=1e-5)
        assert np.interp(at, x, VIEW.learning_rate.y) == pytest.approx(choice.learning_rate, rel=0.01)


def test_the_numbers_are_those_of_the_prediction() -> None:
    answer = VIEW.answer
    assert answer is not None
    assert answer.batch is not None
    assert (VIEW.best.batch_tokens, VIEW.interval) == (answer.batch.best, answer.batch.interval)
    assert VIEW.best.learning_rate == pytest.approx(answer.batch.learning_rate, rel=1e-9)
    assert answer.batch.learning_rate == pytest.approx(answer.learning_rate)
    assert VIEW.within == tuple((item.excess_loss, item.batch_tokens) for item in answer.batch.largest_within)
    assert VIEW.interval.low < best_batch_of(N, D) < VIEW.interval.high


def test_a_power_of_two_beyond_those_tried_belongs_to_the_line() -> None:
    assert VIEW.batch_tokens[0] < BATCHES[0] / 2
    assert VIEW.batch_tokens[-1] > BATCHES[-1] * 2


def test_the_bands_hold_the_lines() -> None:
    for line in (VIEW.excess_loss, VIEW.learning_rate):
        assert all(low <= y <= high for low, y, high in zip(line.low, line.y, line.high, strict=True))


def test_the_axis_reaches_the_interval_of_a_best_batch_beyond_those_tried() -> None:
    few = fit(runs_of(KNOWN, sizes=(1e8, 2e8), horizons=(4e9, 1e10), batches=BATCHES[1:4]), options=FAST)
    view = viewed(snapshot(few, tokens=5e10))
    assert view.best.batch_tokens > BATCHES[3]
    assert view.batch_tokens[-1] > view.interval.high


def test_the_target_stands_on_the_cost_only_where_its_batch_is_not_the_best() -> None:
    other = viewed(snapshot(batch=131_072.0))
    assert VIEW.own is None
    assert other.own is not None
    assert other.own.batch_tokens == 131_072.0
    assert (names(VIEW).count("target"), names(other).count("target")) == (1, 2)


def test_a_batch_far_from_all_tried_is_on_the_axis_if_the_target_has_it() -> None:
    far = viewed(snapshot(batch=1.5e8))
    assert far.batch_tokens[-1] > 1.5e8


def test_a_batch_that_costs_much_is_drawn_at_the_top_edge() -> None:
    assert "off the scale" not in names(VIEW)
    first, *others = VIEW.tried
    dear = first.model_copy(update={"excess_loss": 3 * TALLEST, "high": 4 * TALLEST})
    drawn = draw_batch(replace(VIEW, tried=(dear, *others)))
    (mark,) = [trace for trace in drawn.data if trace.name == "off the scale"]
    assert mark.y == (TALLEST,)
    assert drawn.layout.yaxis.range[1] < 1.1 * TALLEST


def test_each_level_names_the_largest_batch_within_it() -> None:
    (strokes,) = [trace for trace in draw_batch(VIEW).data if trace.name == "largest within"]
    assert [*zip(strokes.y, strokes.x, strict=True)] == list(VIEW.within)

    beyond = 10 * VIEW.batch_tokens[-1]
    drawn = draw_batch(replace(VIEW, within=((0.005, None), (0.01, beyond))))
    assert "largest within" not in [trace.name for trace in drawn.data]
    texts = [shape.label.text for shape in drawn.layout.shapes]
    assert "none for sure" in texts[0]
    assert "up to" in texts[1]


def test_a_refused_target_is_replaced_by_the_costliest_cell_and_said_so() -> None:
    view = viewed(make_snapshot(make_cells(), law=LAW))
    assert (view.at.params, view.at.tokens) == (2e8, 1e10)
    assert view.answer is None
    assert "target" not in names(view)
    assert any("does not predict" in note.text for note in draw_batch(view).layout.annotations)
    assert not any("does not predict" in note.text for note in draw_batch(VIEW).layout.annotations)


def test_without_a_law_or_with_one_batch_there_is_no_view() -> None:
    cells = make_cells()
    runs = full_bowls(cells)
    assert batch_view(make_snapshot(cells, runs)) is None
    assert "All runs have one batch" in str(batch_view(make_snapshot(cells, runs, law=fitted(cells, runs))))
