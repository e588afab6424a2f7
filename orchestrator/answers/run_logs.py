"""The output of a run as people read it."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.documents.runs import LogDocument
from orchestrator.store.outputs import TAIL_BYTES

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
"""Sequences that colour text, move the cursor or set a window's title."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but newline and tab, and those that turn the direction of writing."""

_CUT: Final = TAIL_BYTES - 4
"""From this size on a kept tail has lost its beginning; a character cut in two makes it shorter."""


def log_document(run_id: str, text: str, *, tail: int) -> LogDocument:
    """The last ``tail`` lines of a kept output; a first line that lost its beginning is left out."""
    was_cut = len(text.encode()) >= _CUT
    if was_cut:
        text = text.partition("\n")[2] or text
    lines = _ESCAPES.sub("", text).split("\n")
    ended = lines[-1] == ""
    lines = [_plain(line) for line in lines[: len(lines) - ended]]
    shown = lines[-tail:]
    return LogDocument(
        run_id=run_id,
        text="\n".join(shown) + "\n" * (ended and bool(shown)),
        lines=len(shown),
        truncated=was_cut or len(shown) < len(lines),
    )


def _plain(line: str) -> str:
    """A line as a terminal would leave it: of a progress bar its last state."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROLS.sub("", last).replace("\u2028", " ").replace("\u2029", " ")
