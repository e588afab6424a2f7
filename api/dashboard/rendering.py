"""Renders templates to pages; user text is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.access import COOKIE
from api.dashboard.assets import address
from api.figures.style import STATE_COLOURS
from orchestrator import amounts
from orchestrator.heldout.module_rates import parse_module_rates
from orchestrator.programs.placeholders import spelt
from orchestrator.states import SWEEP_CHANGEABLE

SWEEP_VERBS: Final = {
    "queued": ("pause", "stop", "cancel"),
    "running": ("pause", "stop", "cancel"),
    "paused": ("resume", "stop", "cancel"),
    "stopping": ("cancel",),
}
"""The buttons of a sweep in each state; final states have none."""


def stamp(moment: datetime) -> str:
    """A time in ISO 8601, for ``<time datetime>``."""
    return moment.isoformat(timespec="seconds")


def moment(value: datetime) -> str:
    """A time as text, to the second: ``2026-11-22 09:02:36 UTC``."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def module_rates(text: str) -> str:
    """Multipliers of a run by module: ``attention ×0.5, embedding ×2``."""
    return amounts.multipliers(parse_module_rates(text))


class Said(NamedTuple):
    """A reason in parts.

    Attributes:
        sentence: its first line.
        title: of the other lines, such as those that a program printed last.
        lines: the others, once if a program that was tried again printed the same every time; empty if there are none.
    """

    sentence: str
    title: str
    lines: str

    @property
    def last(self) -> str:
        """The last line, where an error's own message stands."""
        return self.lines.rstrip().rpartition("\n")[2].strip() or self.sentence


def said(text: str) -> Said:
    """Split a reason into a sentence and what a program printed."""
    first, _, rest = text.partition("\n")
    lines = rest.splitlines()
    start, stop, title = first.removesuffix(":").rpartition(". ")
    if not lines or not first.endswith(":") or not stop:
        start, stop, title = first, "", "More"
    return Said(start + stop.strip(), title, "\n".join(_once(lines)))


def unbroken(text: str) -> Markup:
    """A sentence whose factors, such as ``×/÷ 1.5``, do not break at the end of a line."""
    parts = _FACTOR.split(text)  # text and factors in turn
    return Markup().join(_WHOLE.format(part) if place % 2 else part for place, part in enumerate(parts))


_FACTOR: Final = re.compile(r"(×/÷\s?\d+(?:\.\d+)?)")
_WHOLE: Final = Markup('<span class="factor">{}</span>')


def _once(lines: Sequence[str]) -> Sequence[str]:
    """The last one of a block of lines that repeat it."""
    for length in range(1, len(lines) // 2 + 1):
        if lines[length:] == lines[:-length]:
            return lines[-length:]
    return lines


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.dashboard"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "rate": amounts.rate,
        "count": amounts.count,
        "flops": amounts.flops,
        "percent": amounts.percent,
        "loss": amounts.loss,
        "module_rates": module_rates,
        "factor": amounts.factor,
        "times": amounts.times,
        "duration": amounts.duration,
        "stamp": stamp,
        "moment": moment,
        "spelt": spelt,
        "said": said,
        "unbroken": unbroken,
    }
    environment.globals |= {
        "address": address,
        "age": amounts.age,
        "state_colours": {str(state): colour for state, colour in STATE_COLOURS.items()},
        "sweep_verbs": SWEEP_VERBS,
        "changeable_states": SWEEP_CHANGEABLE,
    }
    return environment


_TEMPLATES: Final = _environment()


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a page.

    Args:
        request: the request; a browser with a token gets a button to sign out.
        template: name of the template.
        status: the HTTP status.
        values: of the template.
    """
    page = _TEMPLATES.get_template(template)
    text = page.render(signed_in=COOKIE in request.cookies, path=request.url.path, **values)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})
