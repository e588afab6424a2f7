"""Figures of a service outside of it: pages, notebooks, and what a REPL shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from etalon.plotly_figure import PLOTLY_JS, PLOTLY_JS_INTEGRITY, PlotlyFigure
from orchestrator.errors import BadInput

FIGURE = PlotlyFigure(
    data=[{"type": "scatter", "x": [1], "y": [2], "name": "</script><b>"}],
    layout={"title": {"text": "a < b"}},
)


def drawn(page: str) -> object:
    """The figure that a page draws."""
    (text,) = re.findall(r"figure = (\{.*\});\n", page)
    assert "</script><b>" not in text
    return json.loads(text)


def test_a_page_holds_the_figure_and_the_library(tmp_path: Path) -> None:
    FIGURE.write_html(tmp_path / "bowls.html")

    page = (tmp_path / "bowls.html").read_text()
    assert drawn(page) == FIGURE
    assert get_plotlyjs() in page
    assert "<title>a &lt; b</title>" in page


def test_without_plotly_a_page_and_a_notebook_take_the_library_from_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    FIGURE.write_html(tmp_path / "bowls.html")

    for page in ((tmp_path / "bowls.html").read_text(), FIGURE._repr_mimebundle_()["text/html"]):
        assert drawn(page) == FIGURE
        assert PLOTLY_JS in page
        assert len(page) < 3_000


def test_the_library_of_the_network_is_the_installed_one() -> None:
    digest = hashlib.sha256(get_plotlyjs().encode()).digest()
    assert f"plotly-{get_plotlyjs_version()}.min.js" in PLOTLY_JS
    assert f"sha256-{base64.b64encode(digest).decode()}" == PLOTLY_JS_INTEGRITY


def test_a_figure_says_how_it_is_shown_and_what_cannot_be_written(tmp_path: Path) -> None:
    assert repr(FIGURE) == "<PlotlyFigure of 1 traces; .write_html(path), .to_plotly()>"
    with pytest.raises(BadInput, match="cannot be written: No such file or directory"):
        FIGURE.write_html(tmp_path / "none" / "bowls.html")
