"""The output of a run as people read it."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from orchestrator.documents.runs import LogDocument
from orchestrator.store.outputs import TAIL_BYTES, OutputTail

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\^-~])")
"""Sequences that colour text, move the cursor or set a window's title."""

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but newline and tab, and those that turn the direction of writing."""

_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")

_CUT: Final = TAIL_BYTES - 4
"""From this size on a kept tail has lost its beginning; a character cut in two makes it shorter."""


def log_document(run_id: str, kept: OutputTail, *, tail: int, after: int = 0) -> LogDocument:
    """The last lines of a kept output; a first line that lost its beginning is left out.

    Args:
        run_id: the run.
        kept: of its output.
        tail: lines at most.
        after: lines that begin before this byte are left out. Beyond the end of an output that has begun again, none is.
    """
    text = kept.text
    was_cut = len(text.encode()) >= _CUT
    if was_cut:
        text = text.partition("\n")[2] or text
    raw = _LINES.findall(text)
    shown, start = deque[str](), kept.end_byte
    least = after if after <= kept.end_byte else 0
    for line in reversed(raw):
        begin = max(0, start - len(line.encode()))
        if len(shown) == tail or (begin < least and least > 0):
            break
        shown.appendleft(line)
        start = begin
    is_whole = not shown or shown[-1].endswith("\n")
    lines = [_plain(_ESCAPES.sub("", line.rstrip("\n"))) for line in shown]
    return LogDocument(
        run_id=run_id,
        text="\n".join(lines) + "\n" * (is_whole and bool(lines)),
        lines=len(lines),
        truncated=was_cut or len(shown) < len(raw),
        start_byte=start,
        end_byte=kept.end_byte - (0 if is_whole else len(shown[-1].encode())),
    )


def _plain(line: str) -> str:
    """A line as a terminal would leave it: of a progress bar its last state."""
    last = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROLS.sub("", last).replace("\u2028", " ").replace("\u2029", " ")
