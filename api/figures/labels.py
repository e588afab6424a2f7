"""The words in figures: names of cells, what the pointer tells of a run, and users' text made harmless."""

from __future__ import annotations

from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.store.records import Run


def escaped(text: str) -> str:
    """Make a user's text harmless inside a figure, where Plotly reads a little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wrapped(sentence: str, width: int) -> str:
    """Break a sentence into lines of a figure, between words."""
    lines, line = [], ""
    for word in sentence.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "<br>".join([*lines, line])


def cell_name(cell: Cell, *, with_batch: bool) -> str:
    """A cell in words: ``N 49 k · D 400 k`` and, where it varies, the batch."""
    name = f"N {amounts.count(cell.params)} · D {amounts.count(cell.tokens)}"
    return f"{name} · B {amounts.count(cell.batch_tokens)}" if with_batch else name


def run_text(run: Run) -> str:
    """What the pointer tells of a run: rate, loss or state, seed, and the recorded reason."""
    parts = [f"η {amounts.rate(run.learning_rate, 3)}"]
    parts.append(f"loss {amounts.loss(run.loss)}" if run.loss is not None else str(run.state))
    if run.seed:
        parts.append(f"seed {run.seed}")
    text = " · ".join(parts)
    return f"{text}<br>{wrapped(escaped(amounts.readable(run.reason)), 60)}" if run.reason else text
