"""Turns what a program says (output, report, loss files) into journal entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from workers.programs.curve_thinner import CurveThinner
from workers.programs.journal import Diverged, Entry, Noticed
from workers.programs.loss_sources import FileSource, OutputPattern, open_source
from workers.programs.order import KeeperOrder
from workers.programs.output import Line, SecretMask
from workers.programs.readings import Reading
from workers.programs.report import News, ReportReader

BEYOND: Final = 3
"""Reporting intervals and steps beyond its tokens after which a program is ended: it would go on for as long as it may."""

REASON_CHARACTERS: Final = 200
"""Most characters of an output line that are quoted."""


class Listener:
    """Listens to one attempt, from before its program starts until after it has ended.

    Attributes:
        curve: of the attempt.
        diverged: whether the run diverged; nothing is heard after that.
    """

    def __init__(self, order: KeeperOrder, tell: Callable[[Entry], None], mask: SecretMask) -> None:
        """Open the order's sources.

        Args:
            order: of the attempt.
            tell: takes each entry.
            mask: hides secrets in a text.

        Raises:
            ValueError: a source cannot be used.
        """
        self._tell, self._mask = tell, mask
        self._end, self._batch = order.tokens, order.batch_tokens
        self.curve = CurveThinner(
            tokens=order.tokens, start_tokens=order.start_tokens, points=order.curve_points
        )
        self.diverged = False
        self._report = ReportReader(order.report, order.batch_tokens, mask)
        # A position first: a loss on the same line takes it.
        wanted = (
            ("position", order.position),
            ("training", order.training),
            ("validation", order.validation),
        )
        sources = [
            open_source(kind, source, order.cwd, order.batch_tokens)  # type: ignore[arg-type]
            for kind, source in wanted
            if source is not None
        ]
        self._patterns = [source for source in sources if isinstance(source, OutputPattern)]
        self._files = [source for source in sources if isinstance(source, FileSource)]
        self._signs = [re.compile(pattern) for pattern in order.diverged]
        self._unreadable = False

    @property
    def is_past_the_end(self) -> bool:
        """Whether the program trains on, several reports and steps beyond the tokens that it was asked for."""
        return self.curve.position > self._end + BEYOND * (self._batch + (self.curve.interval or 0))

    def take_facts(self) -> None:
        """Tell again which checkpoints and model size earlier attempts reported."""
        for fact in self._report.take_facts():
            self._take(fact)

    def hear(self, lines: Iterable[Line]) -> None:
        """Take lines of output."""
        patterns, signs, take = self._patterns, self._signs, self.curve.take
        for text, _, _ in lines:
            if self.diverged:
                return
            for pattern in patterns:
                if found := pattern.search(text):
                    reading = pattern.read(found)
                    if reading is None:
                        self._notice_unreadable(pattern, found)
                    elif entries := take(reading):
                        self._tell_curve(entries)
            for sign in signs:
                if sign.search(text):
                    reason = self._mask(text.strip())[:REASON_CHARACTERS]
                    self._take(Diverged(reason=f"the output says: {reason}", tokens=self.curve.position))

    def look(self) -> bool:
        """Read what is new in report and loss files; returns whether anything is."""
        news: list[News] = self._report.poll(self.curve.position)
        for file in self._files:
            news += file.poll()
        self._take_all(news)
        return bool(news)

    def finish(self) -> None:
        """Read the rest and tell what was held back: the program has ended."""
        self._take_all(self._report.finish(self.curve.position))
        for file in self._files:
            self._take_all(file.finish())
        self._tell_curve(self.curve.flush())

    def _notice_unreadable(self, pattern: OutputPattern, found: re.Match[str]) -> None:
        if not self._unreadable:
            self._unreadable = True
            shown = self._mask(found[0])[:REASON_CHARACTERS]
            text = f"The pattern of the {pattern.kind} losses matched {shown!r}, which holds no number."
            self._tell(Noticed(text=text))

    def _take_all(self, news: Sequence[News]) -> None:
        for one in news:
            self._take(one)

    def _take(self, news: News) -> None:
        if self.diverged:
            return
        if isinstance(news, Reading):
            self._tell_curve(self.curve.take(news))
            return
        if isinstance(news, Diverged):
            self._tell_curve(self.curve.flush())
            self.diverged = True
        self._tell(news)

    def _tell_curve(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._tell(entry)
        self.diverged = self.diverged or self.curve.diverged
