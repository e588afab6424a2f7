"""Text in figures: names of cells, hover text of runs, wrapped lines, and user text made harmless."""

from __future__ import annotations

from api.figures.snapshot import Located
from orchestrator import amounts
from orchestrator.store.records import Run


def escaped(text: str) -> str:
    """Make a user's text harmless in a figure, where Plotly interprets some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wrapped(sentence: str, width: int) -> str:
    """Break a sentence between words into lines of at most ``width`` characters."""
    lines, line = [], ""
    for word in sentence.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "<br>".join([*lines, line])


def cell_name(cell: Located, *, with_batch: bool = True) -> str:
    """A cell's name: ``N 49 k · D 400 k · B 2.05 k``."""
    name = f"N {amounts.count(cell.params)} · D {amounts.count(cell.tokens)}"
    return f"{name} · B {amounts.count(cell.batch_tokens)}" if with_batch else name


def run_text(run: Run) -> str:
    """A run's hover text: rate, loss or state, seed, and the recorded reason."""
    parts = [f"η {amounts.rate(run.learning_rate, 3)}"]
    parts.append(f"loss {amounts.loss(run.loss)}" if run.loss is not None else str(run.state))
    if run.seed:
        parts.append(f"seed {run.seed}")
    text = " · ".join(parts)
    if run.excluded is not None:
        text = f"{text}<br>excluded: {reason_text(run.excluded)}"
    return f"{text}<br>{reason_text(run.reason)}" if run.reason else text


def reason_text(reason: str) -> str:
    """A recorded reason, harmless, in lines."""
    return wrapped(escaped(reason), 60)
