"""The keeper: ``python -m workers.programs.keeper ORDER.json`` starts a program, watches it and ends what it started.

Standard input is a pipe from the worker: the lines ``stop`` and ``kill`` ask for the end; so does the pipe's own end,
since then the worker is dead. News go to the journal (``journal.py``), output to ``output.py``'s files, and the file
``heartbeat`` in the run's folder is touched every second. Exit code 0: ``Ended`` is written.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workers.programs.claim import is_claimed_by_another
from workers.programs.descendants import (
    KEEPER_MARKER,
    become_subreaper,
    end_descendants,
    end_marked,
    end_stopped,
    find_descendants,
)
from workers.programs.disk_use import DiskUse
from workers.programs.earlier_keeper import EARLIER_SECONDS, left_behind
from workers.programs.journal import Cause, Ended, Noticed, Started
from workers.programs.launch import LaunchedProgram, start_error
from workers.programs.listener import Listener
from workers.programs.order import MARKER, KeeperOrder
from workers.programs.output import Line, LineSplitter
from workers.programs.own_files import touch
from workers.programs.run_folder import KeeperFault, RunFolder

READ_BYTES: Final = 1 << 18
LOOK_SECONDS: Final = 0.25
"""Time between two looks at report, loss files and limits."""

CLAIM_SECONDS: Final = 1.0
"""Time between two looks at who has the run in hand."""

NAP_SECONDS: Final = 2.0
"""Most time that one round counts for: while the keeper was stopped, so perhaps was the program."""

QUICK_SECONDS: Final = 2.0
"""From SIGTERM to SIGKILL where nothing need be saved."""

GRACE_SECONDS: Final = 1.0
"""For descendants to leave after their program has."""

STOP_COMMAND_SECONDS: Final = 5.0
"""Most time for the stop command where everything is killed at once."""

DRAIN_BYTES: Final = 64 << 20
"""Most output that is read after the end."""


@dataclass(slots=True)
class Deadlines:
    """How a program is being ended: why, and when SIGTERM and SIGKILL are due (monotonic seconds)."""

    cause: Cause
    terminate_at: float
    kill_at: float


class Keeper:
    """Keeps one attempt."""

    def __init__(self, order: KeeperOrder, commands: int = 0) -> None:
        """Prepare; nothing is started yet.

        Args:
            order: what to do.
            commands: descriptor of the pipe from the worker.

        Raises:
            OSError: the run's folder cannot be written.
            ValueError: a source of losses cannot be used.
        """
        self._order, self._commands = order, commands
        self._folder = RunFolder(order, lambda cause: self._end(cause, orderly=False))
        self._listener = Listener(order, self._folder.tell, self._folder.mask)
        self._splitter = LineSplitter()
        self._disk = DiskUse(order.folder)
        self._selector = selectors.PollSelector()
        self._program: LaunchedProgram | None = None
        self._deadlines: Deadlines | None = None
        self._grace_until: float | None = None
        self._terminated = self._given_up = self._abandoned = False
        self._left = 0
        self._found: list[str] = []
        """What to notice once the attempt has begun."""
        self._awake = 0.0
        """Seconds since the start in which this process was not stopped itself."""
        self._heard_at: float | None = None
        self._last = self._look_at = self._claim_at = time.monotonic()
        self._command_text = b""

    def run(self) -> None:
        """Keep the program until no process of it is left.

        Raises:
            KeeperFault: the run's folder is gone. No process is left then either.
        """
        become_subreaper()
        self._listen_to_signals()
        self._selector.register(self._commands, selectors.EVENT_READ, self._read_commands)
        self._wait_for_earlier()
        began, code = time.monotonic(), None
        try:
            code = self._start()
            while self._program is not None and not self._is_over():
                self._step(self._program)
        finally:
            survivors = end_descendants(self._reap)
        self._finish(code, time.monotonic() - began, [process.pid for process in survivors])

    # The start.

    def _listen_to_signals(self) -> None:
        """Let a child's end and a signal wake the loop; a signal means what the pipe's end means."""
        read, write = os.pipe()
        for descriptor in (read, write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._selector.register(read, selectors.EVENT_READ, lambda: os.read(read, 4096))

    def _on_signal(self, *_: object) -> None:
        self._abandoned = True

    def _wait_for_earlier(self) -> None:
        """Wait for an earlier keeper, which may still let its program save; then end what is left on this node."""
        deadline = time.monotonic() + self._order.stop_seconds + EARLIER_SECONDS
        locked = self._folder.journal.lock()
        while not locked and time.monotonic() < deadline:
            end_stopped(self._order.marker, (KEEPER_MARKER,))
            self._round(LOOK_SECONDS)
            self._folder.beat()
            if self._is_unwanted():
                raise KeeperFault("The run was stopped while the keeper of an earlier attempt had not ended.")
            locked = self._folder.journal.lock()
        ended = end_marked(self._order.marker, (KEEPER_MARKER, MARKER))
        self._round(0.0)
        locked = locked or self._folder.journal.lock()
        if ended:
            self._found.append(left_behind(ended))
        if not locked:
            self._found.append("The keeper of an earlier attempt has not ended in time.")

    def _is_unwanted(self) -> bool:
        """Whether the run has been stopped already, or its worker is dead or has lost it to another."""
        self._heed_claim()
        if self._abandoned:
            self._end("abandoned", orderly=False)
        return self._deadlines is not None

    def _heed_claim(self) -> None:
        """A worker that has lost the run is as good as dead: it may not know."""
        now = time.monotonic()
        if now >= self._claim_at:
            self._claim_at = now + CLAIM_SECONDS
            self._abandoned |= is_claimed_by_another(self._order.folder, self._order.claim)

    def _start(self) -> int | None:
        """Start the program, unless the run is stopped already; returns its exit code if it cannot be started."""
        order = self._order
        self._folder.reserve()
        with suppress(FileNotFoundError):
            order.stop_file.unlink()
        if order.attempt > 1:
            begins = (
                f"at {order.start_tokens:,} tokens"
                if order.start_tokens
                else "at its first token or checkpoint"
            )
            self._folder.write([Line(f"[Etalon: start {order.attempt} of this run, {begins}]")])
        code = None
        try:
            self._program = None if self._is_unwanted() else LaunchedProgram(order)
        except (OSError, ValueError) as error:
            code, text = start_error(order, error)
            self._found.append(text)
            self._folder.write([Line(text)])
        pid = self._program.pid if self._program else None
        started = Started(
            pid=pid,
            keeper=os.getpid(),
            attempt=order.attempt,
            start_tokens=order.start_tokens,
            at=time.time(),
        )
        self._folder.tell(started)
        for text in self._found:
            self._folder.tell(Noticed(text=text))
        self._listener.take_facts()
        if self._program is not None:
            self._selector.register(self._program.output, selectors.EVENT_READ, self._read_output)
        self._last = time.monotonic()
        return code

    # The loop.

    def _step(self, program: LaunchedProgram) -> None:
        self._round(0.02 if self._grace_until else LOOK_SECONDS)
        program.reap()
        now = time.monotonic()
        self._awake += min(now - self._last, NAP_SECONDS)
        self._last = now
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        if self._abandoned:
            self._end("abandoned", orderly=True)
        if self._listener.diverged:
            self._end("diverged", orderly=False)
        elif self._deadlines is None and self._listener.is_past_the_end:
            self._end("overrun", orderly=False)
        if self._deadlines is not None:
            self._pursue(program, self._deadlines)

    def _round(self, seconds: float) -> None:
        """Wait for news, at most that long, and take it."""
        if self._deadlines is not None:
            seconds = min(seconds, 0.05)
        for key, _ in self._selector.select(seconds):
            key.data()

    def _look(self) -> None:
        if self._listener.look():
            self._heard_at = self._awake
        self._folder.beat()
        self._heed_claim()
        order = self._order
        used = self._disk.advance() if order.disk_bytes is not None else None
        if used is not None and order.disk_bytes is not None and used > order.disk_bytes:
            self._folder.tell_full(f"The run's folder holds {used:,} bytes, of {order.disk_bytes:,} allowed.")
        if self._awake > order.run_seconds:
            self._end("run", orderly=True)
        elif self._deadlines is not None:
            pass  # a program may save in silence
        elif self._heard_at is None and self._awake > order.start_seconds:
            self._end("start", orderly=False)
        elif self._heard_at is not None and self._awake - self._heard_at > order.silence_seconds:
            self._end("silence", orderly=False)

    def _read_output(self) -> None:
        if self._program is None:
            return
        chunk = os.read(self._program.output, READ_BYTES)
        if not chunk:  # the program closed it, and may go on without
            self._selector.unregister(self._program.output)
            os.close(self._program.output)
            return
        self._heard_at = self._awake
        self._take_lines(self._splitter.feed(chunk))

    def _take_lines(self, lines: list[Line]) -> None:
        self._folder.write(lines)
        self._listener.hear(lines)

    def _read_commands(self) -> None:
        data = os.read(self._commands, 4096)
        if not data:
            self._selector.unregister(self._commands)
            self._abandoned = True
            return
        *commands, self._command_text = (self._command_text + data).split(b"\n")
        if b"stop" in commands:
            self._end("stop", orderly=True)
        if b"kill" in commands:
            self._end("stop", orderly=False, seconds=0.0)

    # The end.

    def _end(self, cause: Cause, *, orderly: bool, seconds: float = QUICK_SECONDS) -> None:
        """Begin to end the program, or hasten its end. The first cause stays, unless the run diverges.

        Args:
            cause: of the end.
            orderly: whether the program is asked by its stop file first.
            seconds: from SIGTERM to SIGKILL otherwise.
        """
        now = time.monotonic()
        patience = self._order.stop_seconds
        terminate_at, kill_at = (now + patience / 2, now + patience) if orderly else (now, now + seconds)
        if self._deadlines is None:
            self._deadlines = Deadlines(cause, terminate_at, kill_at)
            if orderly:
                self._folder.guard("stop file", lambda: touch(self._order.stop_file))
            return
        if cause == "diverged":
            self._deadlines.cause = cause
        self._deadlines.terminate_at = min(self._deadlines.terminate_at, terminate_at)
        self._deadlines.kill_at = min(self._deadlines.kill_at, kill_at)

    def _pursue(self, program: LaunchedProgram, deadlines: Deadlines) -> None:
        now = time.monotonic()
        if now >= deadlines.terminate_at and not self._terminated:
            self._terminated = True
            if failed := program.terminate():
                self._folder.tell(Noticed(text=failed))
        # Killing a container's client kills no container: the stop command has its time first.
        patience = STOP_COMMAND_SECONDS if program.is_stop_command_running() else 0.0
        if now >= max(deadlines.kill_at, deadlines.terminate_at + patience):
            self._given_up = bool(end_descendants(program.reap))

    def _is_over(self) -> bool:
        """Whether the program has ended and its descendants have had time to leave; counts those that have not."""
        program = self._program
        if program is None or self._given_up:
            return True
        if program.returncode is None:
            return False
        if program.returncode < 0:
            program.run_stop_command()  # a container does not end with its killed client
        if not program.reap():
            return True
        now = time.monotonic()
        self._grace_until = self._grace_until or now + GRACE_SECONDS
        patience = STOP_COMMAND_SECONDS if program.is_stop_command_running() else 0.0
        if now < self._grace_until + patience:
            return False
        self._left = len(find_descendants())
        return True

    def _reap(self) -> bool:
        return self._program is not None and self._program.reap()

    def _finish(self, code: int | None, seconds: float, survivors: list[int]) -> None:
        """Read what is left and write the last entries."""
        self._drain()
        self._listener.finish()
        if survivors:
            self._folder.tell(
                Noticed(text=f"Processes that did not end when killed: {', '.join(map(str, survivors))}.")
            )
        returncode = code if self._program is None else self._program.returncode
        curve = self._listener.curve
        cause: Cause = self._deadlines.cause if self._deadlines else "exit"
        ended = Ended(
            code=returncode if returncode is None or returncode >= 0 else None,
            signal=-returncode if returncode is not None and returncode < 0 else None,
            cause="diverged" if self._listener.diverged else cause,
            seconds=seconds,
            decimals=curve.decimals,
            matched=curve.matched,
            left=self._left,
            tokens=curve.position if curve.seen_position else None,
            interval=curve.interval,
            errno=self._folder.errno,
            at=time.time(),
        )
        self._folder.say_last(ended)

    def _drain(self) -> None:
        """Read the output that is left. An unfinished last line of a killed program is shown, and not believed."""
        program = self._program
        if program is not None and program.output in self._selector.get_map():
            os.set_blocking(program.output, False)
            read = 0
            with suppress(BlockingIOError):
                while read < DRAIN_BYTES and (chunk := os.read(program.output, READ_BYTES)):
                    read += len(chunk)
                    self._take_lines(self._splitter.feed(chunk))
        last = self._splitter.finish()
        self._folder.write(last)
        if program is not None and program.returncode is not None and program.returncode >= 0:
            self._listener.hear(last)


def main(arguments: list[str]) -> int:
    """Carry out the order in a file, which is removed once it is read: it holds the program's environment."""
    os.umask(0o077)
    path = Path(arguments[0])
    try:
        order = KeeperOrder.read(path)
        path.unlink()
        Keeper(order).run()
    except (KeeperFault, OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
