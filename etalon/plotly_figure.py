"""Figures as the service draws them."""

from __future__ import annotations

from typing import Any

MEDIA_TYPE = "application/vnd.plotly.v1+json"


class PlotlyFigure(dict[str, Any]):
    """A Plotly figure: ``data`` and ``layout``. Notebooks draw it, whether or not plotly is installed."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {MEDIA_TYPE: dict(self), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<PlotlyFigure of {len(self.get('data', ()))} traces>"

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
