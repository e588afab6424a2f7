"""The comparison of strategies in numbers, and its picture as a page of its own."""

from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest

from api.figures import comparison_figure, page
from api.figures.strategy_lines import FLOOR, strategy_lines
from orchestrator.documents.strategies import StrategyScore
from orchestrator.strategies.compared_strategies import STRATEGIES, ComparedStrategy
from orchestrator.strategies.strategy_scores import StrategyComparison


def score(share: float, excess_loss: float, standard_error: float | None) -> StrategyScore:
    return StrategyScore(
        share=share, excess_loss=excess_loss, standard_error=standard_error, spent_share=share / 2, runs=12.5
    )


def compared(strategy: str = "law", error: float | None = 2e-4, **changes: object) -> StrategyComparison:
    fields = {
        "scores": {
            ComparedStrategy(strategy=strategy): (score(0.01, 1e-3, error), score(0.1, 0.0, error)),
        },
        "replicates": 5,
        "middle": 4e-3,
        "full_grid": 3e-4,
    }
    return StrategyComparison(**{**fields, **changes})


def test_a_line_has_a_band_of_one_standard_error_and_nothing_falls_below_the_floor():
    (line,) = strategy_lines(compared()).lines

    assert line.shares == (0.01, 0.1)
    assert line.excess_losses == (1e-3, FLOOR)
    assert line.low == pytest.approx((8e-4, FLOOR))
    assert line.high == pytest.approx((1.2e-3, 2e-4))


def test_without_a_standard_error_the_band_is_the_line():
    (line,) = strategy_lines(compared(error=None)).lines

    assert line.low == line.excess_losses == line.high
    assert "±" not in line.texts[0]


def test_the_pointer_shows_loss_error_runs_and_cost():
    (line,) = strategy_lines(compared()).lines

    text = line.texts[0].replace("\u00a0", " ")
    assert "excess loss 0.1 % ± 0.02 %" in text
    assert "12.5 runs, 0.5 % of the full grid's FLOPs" in text


def test_the_axis_reaches_from_the_least_to_the_largest_mean_marks_included():
    assert strategy_lines(compared()).extremes == (FLOOR, 4e-3)
    assert strategy_lines(compared(scores={})).extremes == (3e-4, 4e-3)
    assert strategy_lines(compared(scores={}, full_grid=None)).extremes == (4e-3, 4e-3)


@pytest.mark.parametrize("columns", [None, 2])
def test_the_figure_is_valid_with_a_line_and_a_band_for_every_strategy_in_its_own_colour(columns):
    every = compared(
        scores={
            ComparedStrategy(strategy=name): (score(0.01, 1e-3, 1e-4), score(0.1, 5e-4, None))
            for name in STRATEGIES
        }
    )

    drawn = comparison_figure(every, "A note.", columns=columns)

    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    assert go.Figure(drawn).layout.xaxis.type == go.Figure(drawn).layout.yaxis.type == "log"
    lines = [trace for trace in drawn["data"] if trace["mode"] == "lines+markers"]
    assert [line["name"] for line in lines] == list(STRATEGIES)
    assert len({line["line"]["color"] for line in lines}) == len(STRATEGIES)
    assert sum(trace.get("fill") == "toself" for trace in drawn["data"]) == len(STRATEGIES)
    assert "four: four spaced rates" in drawn["layout"]["annotations"][0]["text"].replace("<br>", " ")


def test_where_the_full_grid_gives_no_law_only_the_middle_is_marked():
    marks = comparison_figure(compared(full_grid=None), "A note.")["layout"]["shapes"]

    assert [mark["label"]["text"] for mark in marks] == ["no run: the middle of the lattice"]


def test_a_page_needs_no_network_and_its_title_is_harmless():
    text = page("<b>runs</b>", comparison_figure(compared(), "A note."))

    assert "<title>&lt;b&gt;runs&lt;/b&gt;</title>" in text
    assert "<script src=" not in text
    assert "Plotly.newPlot" in text
