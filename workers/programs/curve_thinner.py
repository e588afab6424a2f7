"""Turns readings into journal entries: positions filled in, divergence recognised, curves thinned."""

from __future__ import annotations

from typing import Final

from workers.programs.journal import Diverged, Entry, Measured
from workers.programs.readings import Reading

INFINITE: Final = 1e300
"""Losses from here on are infinity in disguise, as some programs write it."""


class CurveThinner:
    """Keeps about ``points`` training and ``points`` validation losses of a run.

    Training losses are averaged over equal parts of the tokens; the first one stands alone, because the last is
    compared with it. Of validation losses every one is kept, then every second, every fourth …, and always the last.
    A loss that is not finite ends the curve.

    Attributes:
        position: last position seen, in tokens; the start where there was none.
        seen_position: whether there was one.
        matched: losses seen.
        decimals: fewest decimals of a loss's text.
        interval: tokens between the last two training losses.
        diverged: whether a loss was not finite.
    """

    def __init__(self, *, tokens: int, start_tokens: int, points: int) -> None:
        """Begin a curve.

        Args:
            tokens: at its end.
            start_tokens: at its beginning.
            points: about the most losses of a kind.
        """
        self.position, self.seen_position, self.matched = start_tokens, False, 0
        self.decimals: int | None = None
        self.interval: int | None = None
        self.diverged = False
        self._training = _Parts(tokens, points)
        self._validation = _Strides(points)
        self._last_training: int | None = None

    def take(self, reading: Reading) -> list[Entry]:
        """The entries that a reading completes, in order."""
        if self.diverged:
            return []
        if reading.tokens is not None:
            self.position, self.seen_position = reading.tokens, True
        if reading.loss is None:
            return []
        self.matched += 1
        if not abs(reading.loss) < INFINITE:  # NaN included
            self.diverged = True
            name = "loss" if reading.kind == "training" else f"{reading.kind} loss"
            return [*self.flush(), Diverged(reason=f"{name} is {reading.loss}", tokens=self.position)]
        if reading.decimals is not None:
            known = reading.decimals if self.decimals is None else self.decimals
            self.decimals = min(known, reading.decimals)
        if reading.kind == "validation":
            return self._validation.take(self.position, reading.loss)
        if self._last_training is not None and self.position > self._last_training:
            self.interval = self.position - self._last_training
        self._last_training = self.position
        return self._training.take(self.position, reading.loss)

    def flush(self) -> list[Entry]:
        """What is held back; for the end."""
        return [*self._training.flush(), *self._validation.flush()]


class _Parts:
    """Means over parts of equal width. The width doubles when there are more of them than expected."""

    def __init__(self, tokens: int, points: int) -> None:
        self._all_tokens, self._parts = tokens, max(1, points - 1)
        self._written = -1  # the first one stands alone
        self._part: int | None = None
        self._tokens, self._sum, self._count = 0, 0.0, 0

    def take(self, tokens: int, loss: float) -> list[Entry]:
        part = -(-tokens * self._parts // self._all_tokens)  # a position at the end of a part belongs to it
        entries = self.flush() if part != self._part else []
        self._part, self._tokens = part, tokens
        self._sum += loss
        self._count += 1
        if self._written < 0:
            self._part = None
            return [*entries, *self.flush()]
        return entries

    def flush(self) -> list[Entry]:
        if not self._count:
            return []
        mean = self._sum / self._count
        entry = Measured(kind="training", tokens=self._tokens, loss=mean, count=self._count)
        self._sum, self._count = 0.0, 0
        self._written += 1
        if self._written > self._parts:
            self._all_tokens, self._written = self._all_tokens * 2, 0
        return [entry]


class _Strides:
    """Every ``stride``-th one; the stride doubles when there are more than expected."""

    def __init__(self, points: int) -> None:
        self._points, self._stride = points, 1
        self._written = self._passed = 0
        self._last: Measured | None = None

    def take(self, tokens: int, loss: float) -> list[Entry]:
        self._last = Measured(kind="validation", tokens=tokens, loss=loss, count=1)
        self._passed += 1
        return self.flush() if self._passed >= self._stride else []

    def flush(self) -> list[Entry]:
        if self._last is None:
            return []
        entry, self._last, self._passed = self._last, None, 0
        self._written += 1
        if self._written >= self._points:
            self._stride, self._written = self._stride * 2, self._written // 2
        return [entry]
