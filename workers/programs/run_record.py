"""What is known of one run: the entries of its journal over all its attempts, put together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from workers.programs.journal import (
    Diverged,
    Done,
    Ended,
    Entry,
    Kind,
    Measured,
    ModelSize,
    Noticed,
    Saved,
    Started,
)


@dataclass(slots=True)
class Curve:
    """Losses by position, ascending. A position seen again, as after a resume, replaces it and all later ones."""

    points: list[Measured] = field(default_factory=list)

    def add(self, point: Measured) -> None:
        """Add the newest point."""
        while self.points and self.points[-1].tokens >= point.tokens:
            self.points.pop()
        self.points.append(point)

    def drop_after(self, tokens: int) -> None:
        """Remove the points after a position."""
        while self.points and self.points[-1].tokens > tokens:
            self.points.pop()

    @property
    def first(self) -> float | None:
        """The first loss; None without a point."""
        return self.points[0].loss if self.points else None

    @property
    def last_tokens(self) -> int:
        """The last position; 0 without a point."""
        return self.points[-1].tokens if self.points else 0

    @property
    def interval(self) -> int:
        """The tokens between the last two points; 0 without two."""
        return self.points[-1].tokens - self.points[-2].tokens if len(self.points) > 1 else 0

    def mean_from(self, tokens: float) -> float | None:
        """The mean loss of the points after a position, each as often as it was measured; None without one."""
        late = [point for point in self.points if point.tokens > tokens]
        total = sum(point.count for point in late)
        return sum(point.loss * point.count for point in late) / total if total else None


@dataclass(slots=True)
class RunRecord:
    """One run so far.

    Attributes:
        training, validation: its losses; where the last attempt went back, none of those that it has yet to repeat.
        heard_from: position of the first loss of the last attempt; None before it.
        interval: tokens between the last two training losses of an attempt; 0 if none had two.
        model: the size of its model, as it reported it last.
        saved: its checkpoints by path, with their positions.
        saved_last: the newest of them.
        diverged: why the last attempt diverged; None if it did not.
        done: its own word that it is complete.
        notices: what people should know, each once.
        ended: the end of the last attempt; None while it runs, and if its keeper was lost.
        started: the start of the last attempt; None before the first.
        begun_at: tokens that a trunk had trained before the run: where the earliest attempt began.
        is_lost: whether an attempt's keeper was lost, and with it perhaps the last reports before a checkpoint.
        holes: for each attempt after a lost one, the last position heard before it, and its first training loss.
        seconds: of all attempts that ended.
    """

    training: Curve = field(default_factory=Curve)
    validation: Curve = field(default_factory=Curve)
    heard_from: int | None = None
    interval: int = 0
    model: ModelSize | None = None
    saved: dict[str, int] = field(default_factory=dict)
    saved_last: Saved | None = None
    diverged: Diverged | None = None
    done: Done | None = None
    notices: list[str] = field(default_factory=list)
    ended: Ended | None = None
    started: Started | None = None
    begun_at: int = 0
    is_lost: bool = False
    holes: list[tuple[int, Measured]] = field(default_factory=list)
    seconds: float = 0.0
    _heard: int | None = None

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> RunRecord:
        """The record of a whole journal."""
        record = cls()
        for entry in entries:
            record.add(entry)
        return record

    def add(self, entry: Entry) -> None:
        """Take in the next entry."""
        match entry:
            case Started():
                self._begin(entry)
            case Measured():
                self._measure(entry)
            case ModelSize():
                self.model = entry
            case Saved():
                self.saved[entry.path] = entry.tokens
                self.saved_last = entry
            case Diverged():
                self.diverged = entry
            case Done():
                self.done = entry
            case Noticed():
                self.notices = list(dict.fromkeys([*self.notices, entry.text]))
            case Ended():
                self.ended = entry
                self.interval = entry.interval or self.interval
                self.seconds += entry.seconds

    def _begin(self, entry: Started) -> None:
        if self.started is not None and self.ended is None:
            self.is_lost, self._heard = True, self.tokens
        self.begun_at = entry.start_tokens if self.started is None else min(self.begun_at, entry.start_tokens)
        self.started, self.ended, self.diverged, self.done, self.heard_from = entry, None, None, None, None

    def _measure(self, entry: Measured) -> None:
        if self._heard is not None and entry.kind == "training":
            self.holes.append((self._heard, entry))
            self._heard = None
        self.holes = [(heard, first) for heard, first in self.holes if first.tokens <= entry.tokens]
        if self.heard_from is None:
            self.heard_from = entry.tokens
            self.training.drop_after(entry.tokens)
            self.validation.drop_after(entry.tokens)
        self.curve(entry.kind).add(entry)

    def curve(self, kind: Kind) -> Curve:
        """The losses of one kind."""
        return self.training if kind == "training" else self.validation

    def has_whole(self, path: Path, tokens: int, *, folder: Path) -> bool:
        """Whether a checkpoint is whole: the program said so, or it never says so and went on after it, or ended well.

        Args:
            path: of the checkpoint.
            tokens: its position.
            folder: where the program runs.
        """
        if self.saved:
            return os.path.realpath(path) in {os.path.realpath(folder / saved) for saved in self.saved}
        if self.heard_from is None:
            return False
        ended_well = self.ended is not None and self.ended.cause == "exit" and self.ended.code == 0
        return self.tokens > tokens or (ended_well and self.tokens == tokens)

    @property
    def tokens(self) -> int:
        """The last position that the last attempt told; that of earlier ones if it told none."""
        last = self.ended.tokens if self.ended is not None else None
        if last is not None and self.heard_from is None:
            return last
        return max(self.training.last_tokens, self.validation.last_tokens, last or 0)
