"""Both paradigms in numbers: what a panel shows, and what stands at its edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.figures.fitting_transfer import (
    Contestant,
    ParadigmsView,
    draw_paradigms,
    paradigms_view,
    why_nothing,
)
from orchestrator.heldout.document import Found
from orchestrator.heldout.stages import comparison_of
from orchestrator.heldout.values import Outcome
from orchestrator.states import ComparisonStage
from orchestrator.store import Store
from tests.orchestrator.heldout.carried import compared_sweep


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('numbers') / 'etalon.db'}") as store:
        store.migrate()
        compared = comparison_of(store, compared_sweep(store))
        assert compared is not None
        yield compared


def view_of(found: Found) -> ParadigmsView:
    view = paradigms_view(found, "Trust Fitting here.")
    assert view is not None
    return view


def named(view: ParadigmsView, name: str) -> Contestant:
    return next(item for item in view.contestants if item.name == name)


def test_every_contender_is_told_with_its_numbers(found: Found) -> None:
    view = view_of(found)
    scores = {score.contender.name: score for score in found.scores}
    for item in view.contestants:
        estimate = scores[item.name].excess_loss
        assert estimate is not None
        assert (item.excess_loss, item.error) == (estimate.value, estimate.standard_error)
    assert named(view, "Transfer").own_units
    assert "in the base's units" in named(view, "Transfer").text
    assert named(view, "Zhou").kind == "published"
    assert named(view, "Fitting").difference is None


def test_the_panel_is_as_high_as_the_paradigms_need_not_as_the_worst_law(found: Found) -> None:
    view = view_of(found)
    ours = [
        item.excess_loss for item in view.contestants if item.kind == "ours" and item.excess_loss is not None
    ]
    assert max(ours) < view.top
    worst = named(view, "Porian")
    assert worst.excess_loss is not None
    assert worst.excess_loss > view.top
    drawn = draw_paradigms(view)
    (point, row) = (trace for trace in drawn.data if trace.name == "Porian")
    assert point.marker.symbol == "triangle-up"
    assert point.y[0] < view.top
    assert row.marker.symbol == "triangle-right"
    assert row.x[0] == view.most


def test_the_curve_goes_through_the_bottom_and_stays_inside(found: Found) -> None:
    view = view_of(found)
    lowest = min(view.curve, key=lambda point: point[1])
    assert lowest[1] == pytest.approx(0, abs=2e-4)
    assert lowest[0] == pytest.approx(view.best_rate, rel=0.05)
    assert all(0 <= excess <= view.top for _, excess in view.curve)


def test_who_diverged_stands_at_the_edge_with_the_word(found: Found) -> None:
    scores = tuple(
        replace(score, excess_loss=None, difference=None, outcome=Outcome(losses={0: 3.0}, diverged=(1,)))
        if score.contender.name == "Transfer"
        else score
        for score in found.scores
    )
    view = view_of(replace(found, scores=scores))
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
    found: Found, stage: ComparisonStage, reason: str | None, words: str
) -> None:
    waiting = replace(found, stage=stage, reason=reason, scores=(), best=None)
    assert paradigms_view(waiting, None) is None
    assert words in why_nothing(waiting)


def test_a_sweep_without_a_comparison_says_so() -> None:
    assert "has no `comparison`" in why_nothing(None)
