"""The two lenses of a run: what is drawn, its thresholds, and where a run was lost."""

from __future__ import annotations

import math

import pytest

from api.figures.lens_panels import draw_lens, feature_learning, stability
from api.figures.screen import fit_to_screen
from api.figures.style import MODULE_COLOURS
from orchestrator.lenses import ATTENTION_LOGIT, MODULES, OUTPUT_LOGIT, UPDATE
from orchestrator.store.records import LensPoint


def seen(step: int, *, modules: tuple[str, ...] = MODULES, **values: float) -> LensPoint:
    known = {"gradient_norm": 1.0, "gradient_norm_max": 2.0, "attention_logit": 5.0, "loss_spikes": 1.0}
    learned = {
        f"{module}.{kind}": 0.1 * step for module in modules for kind in ("activation", "change", "update")
    }
    return LensPoint(curve="run", step=step, tokens=256 * step, values={**known, **learned, **values})


def test_each_module_is_a_line_of_its_own_in_all_three_panels():
    view = feature_learning([seen(1), seen(4)])
    assert [panel.threshold for panel in view.panels] == [None, None, UPDATE]
    for panel in view.panels:
        assert [line.name for line in panel.lines] == list(MODULES)
        assert all(line.values == (0.1, 0.4) and line.tokens == (256, 1024) for line in panel.lines)


def test_stability_has_its_thresholds():
    view = stability([seen(1, expert_imbalance=1.5), seen(4)])
    thresholds = {panel.title: panel.threshold for panel in view.panels}
    assert thresholds == {
        "gradient norm": None,
        "largest attention logit": ATTENTION_LOGIT,
        "RMS of the output logits": OUTPUT_LOGIT,
        "busiest expert over the mean": None,
    }


def test_a_dense_model_has_no_panel_and_no_line_of_the_router():
    dense = tuple(module for module in MODULES if module != "router")
    points = [seen(1, modules=dense)]
    assert len(stability(points).panels) == 3
    assert all(len(panel.lines) == 4 for panel in feature_learning(points).panels)


def test_a_value_that_was_not_finite_or_not_looked_at_leaves_no_point():
    closer = LensPoint(curve="run", step=2, tokens=512, values={"attention_logit": 40.0})
    lost = seen(4, attention_logit=math.nan)
    view = stability([seen(1), closer, lost])
    lines = {line.name: line for panel in view.panels for line in panel.lines}
    assert (lines["attention"].steps, lines["attention"].values) == ((1, 2), (5.0, 40.0))
    assert lines["mean"].steps == (1, 4)


@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("lens", [stability, feature_learning])
def test_every_panel_has_a_place_and_each_name_is_in_the_legend_once(columns, lens):
    view = lens([seen(1, expert_imbalance=2.0), seen(4)], 5)
    figure = fit_to_screen(draw_lens(view), columns).to_plotly_json()
    grid, panels = figure["layout"]["grid"], len(view.panels)
    assert (grid["rows"], grid["columns"]) == ((panels, 1) if columns else (1, panels))
    assert sum(name.startswith("yaxis") for name in figure["layout"]) == panels
    named = [trace["name"] for trace in figure["data"] if trace["showlegend"]]
    assert len(named) == len(set(named)) == len({trace["name"] for trace in figure["data"]})


def test_a_module_has_one_colour_in_both_figures():
    points = [seen(1), seen(4)]
    for lens in (stability, feature_learning):
        for trace in draw_lens(lens(points)).to_plotly_json()["data"]:
            if trace["name"] in MODULES:
                assert trace["line"]["color"] == MODULE_COLOURS[trace["name"]]
    assert len({MODULE_COLOURS[module] for module in MODULES}) == len(MODULES)


def test_thresholds_and_the_step_of_a_divergence_are_lines():
    shapes = draw_lens(stability([seen(1), seen(4)], 412)).to_plotly_json()["layout"]["shapes"]
    assert [shape["x0"] for shape in shapes if shape["x0"] == shape["x1"]] == [412, 412, 412]
    assert [shape["y0"] for shape in shapes if shape["y0"] == shape["y1"]] == [ATTENTION_LOGIT, OUTPUT_LOGIT]
    calm = draw_lens(stability([seen(1)])).to_plotly_json()["layout"]["shapes"]
    assert all(shape["y0"] == shape["y1"] for shape in calm)
