"""Figures as the service draws them."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from orchestrator.errors import BadInput

MEDIA_TYPE = "application/vnd.plotly.v1+json"

PLOTLY_JS: Final = "https://cdn.plot.ly/plotly-4.1.1.min.js"
PLOTLY_JS_INTEGRITY: Final = "sha256-O24V1F27f8pb0glCkelh3cVHLNiHAJ5gCaVtq2aNch8="

_PICTURE: Final = """<div id="{id}"></div>
<script>
(() => {{
  const place = document.getElementById("{id}"), figure = {figure};
  const draw = () => Plotly.newPlot(place, figure.data, figure.layout, {{displaylogo: false, responsive: true}});
  if (window.Plotly) return draw();
  const script = document.createElement("script");
  Object.assign(script, {{src: "{source}", integrity: "{integrity}", crossOrigin: "anonymous", onload: draw}});
  script.onerror = () => {{
    place.textContent = "This figure needs plotly.js, which could not be loaded: pip install plotly, then to_plotly()."
  }};
  document.head.append(script);
}})();
</script>
"""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>{library}</head>
<body style="font-family: system-ui, sans-serif; max-width: 1000px; margin: 1rem auto; padding: 0 1rem">
{picture}</body>
</html>
"""


class PlotlyFigure(dict[str, Any]):
    """A Plotly figure: ``data`` and ``layout``.

    Notebooks draw it: where plotly's renderer is not installed, with plotly.js from the network.
    """

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {MEDIA_TYPE: dict(self), "text/html": self._picture(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<PlotlyFigure of {len(self.get('data', ()))} traces; .write_html(path), .to_plotly()>"

    def to_plotly(self) -> Any:
        """The figure as a `plotly.graph_objects.Figure`.

        Raises:
            ModuleNotFoundError: plotly is not installed.
        """
        try:
            from plotly.graph_objects import Figure  # noqa: PLC0415 - not a dependency of the client
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("to_plotly() needs plotly: pip install plotly") from error
        return Figure(dict(self))

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Write the figure as a page; it needs no network if plotly is installed here.

        Raises:
            BadInput: the file cannot be written.
        """
        title = self.get("layout", {}).get("title", {}).get("text") or "Etalon"
        page = _PAGE.format(title=html.escape(title), library=_embedded(), picture=self._picture())
        try:
            Path(path).write_text(page, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{os.fspath(path)} cannot be written: {error.strerror}.") from error

    def _picture(self) -> str:
        figure = json.dumps(self).replace("<", "\\u003c")
        return _PICTURE.format(
            id=f"etalon-{uuid4().hex}", figure=figure, source=PLOTLY_JS, integrity=PLOTLY_JS_INTEGRITY
        )


def _embedded() -> str:
    """A script element with plotly.js; empty if plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - not a dependency of the client
    except ModuleNotFoundError:
        return ""
    return f"<script>{get_plotlyjs()}</script>"
