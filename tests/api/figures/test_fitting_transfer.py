"""Both paradigms in numbers: what a panel shows, and what stands at its edge."""

from __future__ import annotations

import pytest

from api.figures.fitting_transfer import OURS, ParadigmsView, draw_paradigms, paradigms_view, why_nothing
from orchestrator.documents.comparisons import ComparisonDocument, ContenderDocument
from orchestrator.states import ComparisonStage


def view_of(comparison: ComparisonDocument) -> ParadigmsView:
    view = paradigms_view(comparison)
    assert view is not None
    return view


def named(view: ParadigmsView, name: str) -> ContenderDocument:
    return next(item for item in view.contenders if item.name == name)


def test_every_contender_is_drawn_with_its_numbers(comparison: ComparisonDocument) -> None:
    view = view_of(comparison)
    marks = {trace.name: trace for trace in draw_paradigms(view).data if trace.xaxis != "x2"}
    for item in comparison.contenders:
        assert item.excess_loss is not None
        mark = marks[item.name]
        assert mark.x == (item.learning_rate,)
        if item.excess_loss.value <= view.top:
            assert mark.y == (item.excess_loss.value,)
            assert mark.error_y.array == (item.excess_loss.standard_error,)
        assert ("in the base's units" in mark.customdata[0]) == (item.name == "Transfer")
        assert (mark.mode == "markers") == (item.name not in OURS)
    assert named(view, "Fitting").difference is None


def test_the_panel_is_as_high_as_the_paradigms_need_not_as_the_worst_law(
    comparison: ComparisonDocument,
) -> None:
    view = view_of(comparison)
    ours = [item.excess_loss for item in view.contenders if item.name in OURS]
    assert max(excess.value for excess in ours if excess is not None) < view.top
    worst = named(view, "Porian").excess_loss
    assert worst is not None
    assert worst.value > view.top
    (point, row) = (trace for trace in draw_paradigms(view).data if trace.name == "Porian")
    assert point.marker.symbol == "triangle-up"
    assert point.y[0] < view.top
    assert row.marker.symbol == "triangle-right"
    assert row.x[0] == view.most


def test_the_curve_goes_through_the_bottom_and_stays_inside(comparison: ComparisonDocument) -> None:
    view = view_of(comparison)
    lowest = min(view.curve, key=lambda point: point[1])
    assert comparison.best is not None
    assert lowest[1] == pytest.approx(0, abs=2e-4)
    assert lowest[0] == pytest.approx(comparison.best.learning_rate, rel=0.05)
    assert all(0 <= excess <= view.top for _, excess in view.curve)


def test_who_diverged_stands_at_the_edge_with_the_word(comparison: ComparisonDocument) -> None:
    diverged = {"excess_loss": None, "difference": None, "diverged": True}
    contenders = [
        item.model_copy(update=diverged) if item.name == "Transfer" else item
        for item in comparison.contenders
    ]
    view = view_of(comparison.model_copy(update={"contenders": contenders}))
    assert named(view, "Transfer").diverged
    (point, row) = (trace for trace in draw_paradigms(view).data if trace.name == "Transfer")
    assert point.marker.symbol == "x-thin"
    assert row.text == ("diverged",)


@pytest.mark.parametrize(
    ("stage", "reason", "words"),
    [
        (ComparisonStage.WAITING, None, "after the search"),
        (ComparisonStage.TUNING, None, "Rates by module are being searched"),
        (ComparisonStage.RUNNING, None, "under way"),
        (ComparisonStage.NOT_RUN, "there is no law", "Nothing was compared: there is no law."),
    ],
)
def test_before_there_are_scores_it_says_what_will_appear(
    comparison: ComparisonDocument, stage: ComparisonStage, reason: str | None, words: str
) -> None:
    waiting = comparison.model_copy(update={"state": stage, "reason": reason, "best": None})
    assert paradigms_view(waiting) is None
    assert words in why_nothing(waiting)


def test_a_sweep_without_a_comparison_says_so() -> None:
    assert "has no `comparison`" in why_nothing(None)
