"""The trunk of one run: what the run takes from it, and what it adds to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.programs.run_values import RunPlace, Start
from workers.programs.run_ends import RateTooHigh
from workers.programs.run_record import RunRecord
from workers.programs.trunk_folder import Diverging, TrunkCheckpoint, TrunkFolder

TELL_SECONDS: Final = 60.0
"""How long the end of a run waits for another worker that changes the trunk; without the run's news, the trunk is trained again."""

FALSE_STARTS: Final = 2
"""Attempts that crash before their first loss until the checkpoint is held to be broken; fewer if the run has fewer tries."""


class TrunkShare:
    """A run's part in a trunk.

    Attributes:
        fork_tokens: where the run leaves the trunk.
    """

    def __init__(
        self,
        folder: TrunkFolder,
        place: RunPlace,
        *,
        program_folder: Path,
        batch_tokens: int,
        fork: int,
        forks: Collection[int],
        checkpoint_of: Callable[[int], Path],
    ) -> None:
        """Begin.

        Args:
            folder: of the trunk.
            place: of the run.
            program_folder: where the program runs.
            batch_tokens: tokens of a step.
            fork: the step at which the run leaves the trunk.
            forks: the steps at which runs of the same job do.
            checkpoint_of: the checkpoint that this run writes for a step.
        """
        self._folder, self._place, self._program_folder = folder, place, program_folder
        self._batch_tokens, self._forks = batch_tokens, sorted({*forks, fork})
        self._checkpoint_of = checkpoint_of
        self.fork_tokens = fork * batch_tokens
        self._tell_until: float | None = None
        self._false_starts = 0

    @property
    def first_loss(self) -> float | None:
        """The first loss of the trunk; None before it is known."""
        return self._folder.first_loss

    @property
    def diverged(self) -> Diverging | None:
        """How the trunk diverged where this run would pass; None if it did not."""
        found = self._folder.diverged
        if found is None or self.fork_tokens < found.tokens or self._folder.checkpoint_at(self.fork_tokens):
            return None
        return found

    def start(self) -> Start:
        """The last checkpoint from which the run can start, or the first token."""
        found = self._folder.last_checkpoint(self.fork_tokens)
        if found is None:
            return Start(fork_steps=self.steps_after(0))
        tokens, checkpoint = found
        return Start(
            tokens=tokens,
            checkpoint=checkpoint.path,
            trunk_folder=checkpoint.trunk_folder,
            fork_steps=self.steps_after(tokens),
        )

    def steps_after(self, tokens: int) -> tuple[int, ...]:
        """The steps after a position at which this run must save, because no run has yet."""
        return tuple(
            step
            for step in self._forks
            if tokens < step * self._batch_tokens <= self.fork_tokens
            and self._folder.checkpoint_at(step * self._batch_tokens) is None
        )

    def tell(self, record: RunRecord, start: Start) -> bool:
        """Record the trunk's first loss and the checkpoints that are whole.

        Args:
            record: of the run.
            start: of its last attempt.

        Returns:
            Whether that is done, or another worker has been in the way for so long that it is given up.
        """
        try:
            self._note_first_loss(record, start)
            self._note_checkpoints(record, start)
        except TimeoutError:
            now = time.monotonic()
            self._tell_until = self._tell_until or now + TELL_SECONDS
            return now >= self._tell_until
        self._tell_until = None
        return True

    def _note_first_loss(self, record: RunRecord, start: Start) -> None:
        points = record.training.points
        if points and start.tokens == 0 and self._folder.first_loss is None:
            self._folder.note_first_loss(points[0].loss)

    def _note_checkpoints(self, record: RunRecord, start: Start) -> None:
        for step in start.fork_steps:
            tokens, path = step * self._batch_tokens, self._checkpoint_of(step)
            if not path.exists() or self._folder.checkpoint_at(tokens) is not None:
                continue
            is_known = record.saved or _began_before(record, start, tokens)
            if is_known and record.has_whole(path, tokens, folder=self._program_folder):
                checkpoint = TrunkCheckpoint(path=str(path), trunk_folder=str(self._place.trunk_folder))
                self._folder.add_checkpoint(tokens, checkpoint)

    def unreported(self, record: RunRecord, start: Start) -> str | None:
        """A notice for people if the program reports checkpoints, and not those of the trunk; None if it does."""
        for step in start.fork_steps:
            tokens, path = step * self._batch_tokens, self._checkpoint_of(step)
            if record.tokens <= tokens or self._folder.checkpoint_at(tokens) is not None:
                continue
            if record.saved and not record.has_whole(path, tokens, folder=self._program_folder):
                return (
                    f"The program reports checkpoints with etalon.saved, and none at step {step} that fork.checkpoint names: "
                    "shorter horizons cannot start there, and are trained from their first token."
                )
        return None

    def note_crash(self, record: RunRecord, start: Start, tries: int) -> str | None:
        """Forget the checkpoint of an attempt that crashed before its first loss, if that is not the first time.

        Args:
            record: of the run.
            start: of its last attempt.
            tries: of a run.

        Returns:
            A notice for people; None if nothing was forgotten.
        """
        if start.resumes or start.checkpoint is None or record.heard_from is not None:
            return None
        self._false_starts += 1
        if self._false_starts < min(FALSE_STARTS, tries):
            return None
        with suppress(TimeoutError):  # the next one that crashes does it
            self._folder.drop_checkpoint(start.tokens, start.checkpoint)
        return (
            f"The program could not start from the trunk's checkpoint at {start.tokens} tokens, which is not used any more: "
            "longer parts of the trunk are trained again."
        )

    def note_divergence(self, record: RunRecord, end: RateTooHigh) -> None:
        """Record that the trunk diverged, if it was the trunk that the last attempt trained."""
        began_at = self.fork_tokens if record.started is None else record.started.start_tokens
        if began_at < self.fork_tokens and end.tokens <= self.fork_tokens:
            with suppress(TimeoutError):  # the other horizons will see it themselves
                self._folder.note_divergence(end.reason, end.tokens)


def _began_before(record: RunRecord, start: Start, tokens: int) -> bool:
    """Whether the last attempt began before a position: one that resumed after it may have found a torn checkpoint there."""
    return not start.resumes or (record.heard_from is not None and record.heard_from <= tokens)
