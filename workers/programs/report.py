"""Reads the file that a program reports to: JSON lines, appended by one process of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from workers.programs.followed_file import FollowedFile
from workers.programs.journal import Diverged, Done, Entry, ModelSize, Noticed, Saved
from workers.programs.output import SecretMask
from workers.programs.readings import Reading, read_count, read_loss

LINE_BYTES: Final = 8192
"""Most bytes of a line."""

LONGEST_REASON: Final = 500
SHOWN_CHARACTERS: Final = 100
"""Most characters that are quoted of a line that is no report."""

KEYS: Final = ("model", "loss", "validation_loss", "saved", "diverged", "done", "tokens", "step")

News = Entry | Reading


class ReportReader:
    """Reads reports by offset. Lines that are none are counted and noticed once."""

    def __init__(self, path: Path, batch_tokens: int, mask: SecretMask | None = None) -> None:
        """Read a file, which need not exist.

        Args:
            path: of the file.
            batch_tokens: tokens of a step.
            mask: hides secrets in what is quoted.
        """
        self._mask = SecretMask(()) if mask is None else mask
        self._file = FollowedFile(path, longest=LINE_BYTES)
        self._batch_tokens = batch_tokens
        self._refused = 0
        self._noticed = False

    def poll(self, position: int) -> list[News]:
        """What is new, in order.

        Args:
            position: tokens at which a line without a position is.
        """
        news: list[News] = []
        for line in self._file.poll():
            found = self._parse(line, position)
            positions = [one.tokens for one in found if isinstance(one, Reading) and one.tokens is not None]
            position = positions[-1] if positions else position
            news += found
        if self._file.too_long:
            news += self._notice(f"A line of the report is longer than {LINE_BYTES} bytes and was left out.")
        return news

    def take_facts(self) -> list[News]:
        """What the lines there now say about files and the model; losses of an earlier attempt are left out."""
        facts: list[News] = []
        while found := self.poll(0):
            facts += [one for one in found if isinstance(one, Saved | ModelSize)]
        return facts

    def finish(self, position: int) -> list[News]:
        """What is left when the program has ended: an unfinished last line counts if it is JSON."""
        news: list[News] = []
        while found := self.poll(position):
            news += found
        last = self._file.take_unfinished()
        if last and _object(last) is not None:
            news += self._parse(last, position)
        if (left_out := self._refused + self._file.too_long) > 1:
            news.append(Noticed(text=f"{left_out} lines of the report were left out in all."))
        return news

    def _parse(self, line: bytes, position: int) -> list[News]:
        values = _object(line)
        if values is None or not values.keys() & set(KEYS):
            return self._refuse(line, "it is no JSON object with one of the keys " + ", ".join(KEYS))
        try:
            return list(self._news(values, position))
        except ValueError as error:
            return self._refuse(line, str(error))

    def _news(self, values: Mapping[str, Any], position: int) -> Iterable[News]:
        tokens = self._tokens(values)
        if "model" in values:
            yield _model(values["model"])
        if values.get("done") is True:
            yield self._done(values, position if tokens is None else tokens)
        elif "loss" in values:
            yield Reading("training", tokens, _loss(values, "loss"))
        if "validation_loss" in values:
            yield Reading("validation", tokens, _loss(values, "validation_loss"))
        if tokens is not None and not values.keys() - {"tokens", "step"}:
            yield Reading("position", tokens)
        at = position if tokens is None else tokens
        if "saved" in values:
            yield Saved(path=str(values["saved"]), tokens=at)
        if values.get("diverged"):
            yield Diverged(reason=self._reason(str(values["diverged"])), tokens=at)

    def _reason(self, text: str) -> str:
        """A reason of bounded length. A long one may have lost its end, with half of a secret, in the program already."""
        cut = text[:LONGEST_REASON]
        return self._mask(cut) if len(text) < LONGEST_REASON else self._mask.of_cut(cut)

    def _done(self, values: Mapping[str, Any], tokens: int) -> News:
        if "loss" not in values:
            return Done()
        loss = _loss(values, "loss")
        return (
            Done(loss=loss)
            if math.isfinite(loss)
            else Diverged(reason=f"final loss is {loss}", tokens=tokens)
        )

    def _tokens(self, values: Mapping[str, Any]) -> int | None:
        for name, factor in (("tokens", 1), ("step", self._batch_tokens)):
            if name in values:
                found = read_count(values[name])
                if found is None:
                    raise ValueError(f"{name} is no number from 0 on")
                return round(found * factor)
        return None

    def _refuse(self, line: bytes, reason: str) -> list[News]:
        if not line.strip():
            return []
        self._refused += 1
        shown = self._mask(line.decode(errors="replace"))[:SHOWN_CHARACTERS]
        return self._notice(f"The line {shown!r} of the report was left out: {reason}.")

    def _notice(self, text: str) -> list[News]:
        """A notice, the first time."""
        first, self._noticed = not self._noticed, True
        return [Noticed(text=text)] if first else []


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _loss(values: Mapping[str, Any], name: str) -> float:
    found = read_loss(values[name])
    if found is None:
        raise ValueError(f"{name} is no number")
    return found


def _model(values: object) -> ModelSize:
    names = ("params", "params_total", "params_active")
    if not isinstance(values, dict) or not values.keys() & set(names):
        raise ValueError("model is no object with one of the keys " + ", ".join(names))
    found = {name: read_count(values[name]) for name in names if values.get(name) is not None}
    if None in found.values():
        raise ValueError("a parameter count is no number")
    return ModelSize(**found)
