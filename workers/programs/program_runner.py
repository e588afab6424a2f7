"""Carries out jobs of registered programs: each run in the hands of a keeper, from start to a judged end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.programs.placeholders import Value
from orchestrator.programs.registry import Registration
from orchestrator.programs.run_values import RunPlace, Start, steps_of, values_of
from orchestrator.spec import Resources
from orchestrator.spec.fields import Parameter
from orchestrator.states import RunState
from orchestrator.store.outputs import NO_OUTPUT, TAIL_BYTES, OutputTail
from orchestrator.store.records import LossPoint, RunResult
from workers.command_jobs import ProgramJob, ProgramRun
from workers.programs.claim import claim, is_claimed_by_another
from workers.programs.earlier_keeper import EARLIER_SECONDS, EarlierKeeper, left_behind
from workers.programs.journal import JOURNAL, Ended, Entry, Kind, Measured, ModelSize, Noticed, read_journal
from workers.programs.kept import TAKEN, KeeperLost, KeptProgram
from workers.programs.leftovers import drop_leftovers
from workers.programs.orders import fork_checkpoint, make_order, marker, own_checkpoint, own_path
from workers.programs.output import LINE_BYTES, tail, tail_and_end
from workers.programs.renewal import RENEWED, renew
from workers.programs.run_ends import (
    Completed,
    Crashed,
    End,
    Failed,
    Interrupted,
    RateTooHigh,
    Unheard,
    coarse,
    end_of,
    wrong_size,
)
from workers.programs.run_record import RunRecord
from workers.programs.trunk_folder import TrunkFolder
from workers.programs.trunk_share import TrunkShare
from workers.runner import Report, Runner

POLL_SECONDS: Final = 0.1
LOG_SECONDS: Final = 3.0
"""Least time between two copies of a run's last output to the database."""

LOG_BYTES: Final = TAIL_BYTES + LINE_BYTES + 1
"""Of the last output, a line more than the database keeps: it cuts there, and readers see that something is missing."""

SHOWN_LINES: Final = 20
"""Last lines of the output that a reason repeats."""

BEGAN_ANEW: Final = (
    "A run began again without its checkpoint, because the keeper of an earlier attempt was lost with losses that the run's "
    "answer needs."
)
LINE_CHARACTERS: Final = 300
"""Most characters of each of them."""

REASON_CHARACTERS: Final = 2000
"""Most characters of a reason before them."""

MOST_INTERRUPTIONS: Final = 5
"""Attempts of one run in one worker that were ended from outside, before the machine is held to be at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSetup:
    """The input of a worker to run a registered program.

    Attributes:
        registration: of the program.
        parameters: what the sweep sets.
        cells: of the sweep, by number.
        folder: of the sweep's files, visible to every worker.
        resources: of one run.
        heartbeat_seconds: age of a keeper's heartbeat at which the keeper is given up.
    """

    registration: Registration
    parameters: Mapping[str, Parameter]
    cells: Cells
    folder: Path
    resources: Resources
    heartbeat_seconds: float = 30.0

    def open_runner(self) -> ProgramRunner:
        """Check that the program can be started on this machine.

        Raises:
            BadInput: its folder or interpreter is missing here.
        """
        return ProgramRunner(self)

    def run_folder(self, run_id: str) -> Path:
        """The folder of a run."""
        return self.folder / "runs" / run_id

    def trunk(self, trunk_id: str) -> TrunkFolder:
        """The folder of a trunk: another registration has another one, because its checkpoints are not these."""
        return TrunkFolder(self._trunks(trunk_id) / self.registration.digest)

    def all_trunks(self, trunk_id: str) -> list[TrunkFolder]:
        """The folders of a trunk under every registration."""
        return [TrunkFolder(path) for path in sorted(self._trunks(trunk_id).glob("*"))]

    def _trunks(self, trunk_id: str) -> Path:
        return self.folder / "trunks" / trunk_id


class ProgramRunner(Runner):
    """Carries out one job at a time."""

    def __init__(self, setup: ProgramSetup) -> None:
        registration = setup.registration
        if not registration.folder.is_dir():
            raise BadInput(
                f"The folder {registration.folder} of the trainer {registration.name} does not exist on this worker: it "
                "must be on every node of the cluster."
            )
        if not registration.interpreter.exists():
            raise BadInput(
                f"The interpreter {registration.interpreter} of the trainer {registration.name} does not exist on this worker."
            )
        self._setup = setup
        self._job: _JobInHand | None = None

    def begin(self, job: ProgramJob) -> None:
        """Take up a job; ends that an earlier worker did not tell any more are told from the journals."""
        self._job = _JobInHand(self._setup, job)

    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Watch the program for about that long."""
        if self._job is None:
            return Report(), True
        report, done = self._job.advance(seconds)
        if done:
            self._job = None
        return report, done

    def abort(self) -> None:
        """Kill the program."""
        if self._job is not None:
            self._job.kill()
            self._job = None

    def save(self) -> None:
        """Ask the program to save and to end; its run is pending again."""
        if self._job is not None:
            self._job.stop()
            self._job = None


class _JobInHand:
    """A job: its runs one after another."""

    def __init__(self, setup: ProgramSetup, job: ProgramJob) -> None:
        self._setup, self._job = setup, job
        self._waiting = list(job.runs)
        self._run: RunInHand | None = None

    def advance(self, seconds: float) -> tuple[Report, bool]:
        """Work on for about that long."""
        deadline, report = time.monotonic() + seconds, Report()
        while True:
            if self._run is None:
                if not self._waiting:
                    return report, True
                self._run = RunInHand(self._setup, self._job, self._waiting.pop(0))
            report += self._run.look()
            if self._run.is_over:
                self._run = None
            elif (left := deadline - time.monotonic()) <= 0:
                return report, False
            else:
                time.sleep(min(POLL_SECONDS, left))

    def stop(self) -> None:
        """Ask the program to end, and wait until it has."""
        if self._run is not None:
            self._run.stop()

    def kill(self) -> None:
        """End the program at once."""
        if self._run is not None:
            self._run.kill()


class RunInHand:
    """One run: its attempts, until its end is known.

    Attributes:
        is_over: whether the end was reported.
    """

    def __init__(self, setup: ProgramSetup, job: ProgramJob, run: ProgramRun) -> None:
        self._setup, self._job, self._id, self._retries = setup, job, run.run_id, run.retries
        self._cell = setup.cells[run.cell]
        self._folder = setup.run_folder(run.run_id)
        self._place = RunPlace(run_id=run.run_id, folder=self._folder, trunk_folder=self._folder / "trunk")
        self._steps = steps_of(setup.registration.definition, self._cell)
        self._trunk = self._shared_trunk()
        self._claim = claim(self._folder)
        patience = setup.registration.definition.limits.stop + EARLIER_SECONDS
        self._earlier: EarlierKeeper | None = EarlierKeeper(self._folder, marker(self._folder), patience)
        self._record = RunRecord()
        self._new: list[LossPoint] = []
        self._notices: list[str] = []
        self._kept: KeptProgram | None = None
        self._start = Start()
        self._is_told = True
        self._recalled: End | None = None
        self._crashes = self._interruptions = 0
        self._log_at, self._log = 0.0, NO_OUTPUT
        self.is_over = False

    def _shared_trunk(self) -> TrunkShare | None:
        """The trunk; None if the run shares none, or the program can share none since its registration changed."""
        setup, registration = self._setup, self._setup.registration
        if self._job.trunk_id is None or registration.definition.fork is None:
            return None
        return TrunkShare(
            setup.trunk(self._job.trunk_id),
            self._place,
            program_folder=registration.folder,
            batch_tokens=int(self._cell.batch_tokens),
            fork=self._steps.fork,
            forks=[steps_of(registration.definition, setup.cells[run.cell]).fork for run in self._job.runs],
            checkpoint_of=lambda step: fork_checkpoint(
                registration, self._values(self._place, Start()), step
            ),
        )

    def look(self) -> Report:
        """Start the program if it does not run, read its news, and judge it if it has ended."""
        if self._kept is None and not self._is_free():
            return self._news()
        if self._kept is None and (known := self._known_end()) is not None:
            return self._over(known)
        if self._kept is None:
            self._kept = self._begun()
        entries = self._kept.poll()
        for entry in entries:
            self._take(entry)
        ended = self._kept.ended
        if self._trunk is not None and (entries or ended is not None or not self._is_told):
            self._is_told = self._trunk.tell(self._record, self._start)
        if ended is None or not self._is_told:
            return self._news()
        self._kept = None
        return self._judge(ended)

    def _is_free(self) -> bool:
        """Whether an attempt may begin: the keeper of an earlier worker's has ended, and what it told is known.

        Raises:
            OSError: another worker has taken up the run.
        """
        self._check_claim()
        if self._earlier is None:
            return True
        if not self._earlier.has_ended():
            return False
        renewed = self._renew()
        self._recall()
        self._new = self._points(self._record.curve(self._shown).points)
        if self._earlier.ended:
            self._record.notices.append(left_behind(self._earlier.ended))
        if renewed and not self._retries:
            self._record.notices.append(RENEWED)
        self._earlier = None
        return True

    def _recall(self) -> None:
        """Learn from the journal what earlier workers' attempts came to: a new worker gives a run no further tries."""
        for entry in read_journal(self._folder / JOURNAL):
            self._record.add(entry)
            if isinstance(entry, Ended):
                self._recalled = self._end_of(entry)
                self._crashes += isinstance(self._recalled, Crashed)
        if self._record.ended is None:
            self._recalled = None

    def _renew(self) -> bool:
        """Clear what another registration's program left, or a try before a user's retry; whether there was anything."""
        registration, trunk_id = self._setup.registration, self._job.trunk_id
        return renew(
            self._folder,
            f"{registration.digest}-{self._retries}" if self._retries else registration.digest,
            checkpoint=own_path(registration, self._values(self._place, Start())),
            trunks=[] if trunk_id is None else self._setup.all_trunks(trunk_id),
        )

    def _check_claim(self) -> None:
        if is_claimed_by_another(self._folder, self._claim):
            raise OSError(TAKEN)

    def stop(self) -> None:
        """Ask the program to save and to end; end it when its time is over."""
        if self._kept is not None:
            self._kept.ask_to_stop()
            if self._kept.wait(self._setup.registration.definition.limits.stop + 5.0) is None:
                self.kill()

    def kill(self) -> None:
        """End the program at once."""
        if self._kept is not None:
            self._kept.kill()
            self._kept.wait(5.0)

    def _known_end(self) -> End | None:
        """The end that the journal tells, or that of the trunk; None if the program must run."""
        recalled, self._recalled = self._recalled, None
        if isinstance(recalled, Completed | RateTooHigh):
            return recalled
        if isinstance(recalled, Crashed) and self._is_out_of_tries:
            return self._given_up(recalled)
        if self._trunk is None or self._record.started is not None or self._retries:
            return None
        diverged = self._trunk.diverged
        if diverged is None:
            return None
        return RateTooHigh(reason=f"on its trunk, {diverged.reason}", tokens=diverged.tokens)

    def _begun(self) -> KeptProgram:
        """Start the next attempt."""
        definition = self._setup.registration.definition
        resumes = own_checkpoint(self._setup.registration, self._values(self._place, Start()))
        earlier = 0 if self._record.started is None else self._record.started.attempt
        start = Start() if self._trunk is None else self._trunk.start()
        if resumes:
            start = self._resumed()
        self._start = replace(start, resumes=resumes, attempt=earlier + 1)
        order = make_order(
            self._setup.registration,
            self._values(self._place, self._start),
            self._cell,
            self._place,
            start=self._start,
            resources=self._setup.resources,
            seconds_left=max(1.0, definition.limits.run - self._record.seconds),
        )
        order = replace(order, claim=self._claim)
        return KeptProgram.start(order, heartbeat_seconds=self._setup.heartbeat_seconds)

    def _values(self, place: RunPlace, start: Start) -> dict[str, Value]:
        return values_of(
            self._setup.registration,
            self._setup.parameters,
            self._cell,
            place,
            learning_rate=self._job.learning_rate,
            seed=self._job.seed,
            gpus=self._setup.resources.gpus_per_run,
            start=start,
        )

    def _resumed(self) -> Start:
        saved = self._record.saved_last
        tokens = self._record.begun_at if saved is None else saved.tokens
        checkpoint = None if saved is None else saved.path
        fork_steps = () if self._trunk is None else self._trunk.steps_after(tokens)
        return Start(tokens=tokens, checkpoint=checkpoint, fork_steps=fork_steps)

    def _take(self, entry: Entry) -> None:
        self._record.add(entry)
        if isinstance(entry, Measured) and entry.kind == self._shown:
            self._new += self._points([entry])
        if isinstance(entry, ModelSize) and self._wrong is not None and self._kept is not None:
            self._kept.kill()

    @property
    def _wrong(self) -> str | None:
        """Why the model is not the declared one; None if it is, or has not said."""
        return wrong_size(self._record, self._cell, self._setup.registration.definition)

    @property
    def _shown(self) -> Kind:
        """The kind of losses that the learning curve shows."""
        losses = self._setup.registration.definition.losses
        return "validation" if losses.training is None and losses.validation is not None else "training"

    def _points(self, points: Iterable[Measured]) -> list[LossPoint]:
        """Points of the trunk by its id, and of the decay by the run's."""
        batch = int(self._cell.batch_tokens)
        on_trunk = 0 if self._trunk is None else self._trunk.fork_tokens
        return [
            LossPoint(
                curve=self._job.trunk_id if self._job.trunk_id and point.tokens <= on_trunk else self._id,
                step=point.tokens // batch,
                tokens=point.tokens,
                loss=point.loss,
            )
            for point in points
        ]

    def _end_of(self, ended: Ended | KeeperLost) -> End:
        first = self._trunk.first_loss if self._trunk is not None and self._record.begun_at else None
        if (wrong := self._wrong) is not None:
            return Failed(reason=wrong)
        return end_of(
            self._record,
            ended,
            self._cell,
            self._setup.registration.definition,
            first_loss=first,
        )

    def _judge(self, ended: Ended | KeeperLost) -> Report:
        self._check_claim()  # an end that another worker's keeper brought about says nothing
        end = self._end_of(ended)
        limits = self._setup.registration.definition.limits
        if isinstance(end, Unheard):
            if not self._begins_anew():
                return self._over(Failed(reason=end.reason))
            self._record.notices.append(BEGAN_ANEW)
        if isinstance(end, Interrupted | Unheard):
            self._interruptions += 1
            if self._interruptions >= MOST_INTERRUPTIONS:
                raise OSError(end.reason)
            return self._news()
        if self._trunk is not None:
            self._notice(self._trunk.unreported(self._record, self._start))
        if isinstance(end, Crashed):
            if self._trunk is not None:
                self._notice(self._trunk.note_crash(self._record, self._start, limits.tries))
            self._crashes += 1
            if not self._is_out_of_tries:
                return self._news()
            end = self._given_up(end)
        if self._record.ended is not None:
            self._notice(coarse(self._record.ended))
        return self._over(end)

    @property
    def _is_out_of_tries(self) -> bool:
        return self._crashes >= self._setup.registration.definition.limits.tries

    def _given_up(self, end: Crashed) -> Failed:
        times = f", {self._crashes} times" if self._crashes > 1 else ""
        return Failed(reason=f"{end.reason}{times}")

    def _notice(self, text: str | None) -> None:
        if text is not None:
            self._record.add(Noticed(text=text))

    def _begins_anew(self) -> bool:
        """Remove the run's own checkpoint, which lies after reports that were lost; whether the next attempt goes without."""
        registration = self._setup.registration
        if self._start.resumes:
            drop_leftovers(registration, self._folder, checkpoint=True)
        return self._start.resumes and not own_checkpoint(registration, self._values(self._place, Start()))

    def _news(self) -> Report:
        """Points, and from time to time the last output."""
        points, self._new = tuple(self._new), []
        params = {} if self._reported is None else {self._id: self._reported}
        return Report(points=points, logs=self._newest_log(), params=params)

    @property
    def _reported(self) -> float | None:
        """N as the program reported it, where it becomes the cell's."""
        if self._setup.registration.definition.model != "reported" or self._wrong is not None:
            return None
        return None if self._record.model is None else self._record.model.params

    def _newest_log(self, *, now: bool = False) -> Mapping[str, OutputTail]:
        if not now and time.monotonic() < self._log_at:
            return {}
        self._log_at = time.monotonic() + LOG_SECONDS
        text, end = tail_and_end(self._folder, LOG_BYTES)
        newest = OutputTail(text=text, end_byte=end)
        if newest == self._log:
            return {}
        self._log = newest
        return {self._id: newest}

    def _over(self, end: End) -> Report:
        """The last news of the run, with its result."""
        self.is_over = True
        news = self._news()
        notices = tuple(self._record.notices)
        log = {**news.logs, **self._newest_log(now=True)}
        return Report(
            points=news.points, results=(self._result(end),), logs=log, params=news.params, notices=notices
        )

    def _result(self, end: End) -> RunResult:
        trained = max(0, self._record.tokens - self._record.begun_at)
        if isinstance(end, Completed):
            # Whole, though its last report may be of a step before.
            trained = int(self._cell.tokens) - self._record.begun_at
            return RunResult(
                run_id=self._id,
                state=RunState.COMPLETED,
                loss=end.loss,
                flops=self._cell.flops_per_token * trained,
                seconds=self._record.seconds or None,
            )
        if isinstance(end, RateTooHigh):
            if self._trunk is not None:
                self._trunk.note_divergence(self._record, end)
            return RunResult(
                run_id=self._id,
                state=RunState.DIVERGED,
                diverged_tokens=end.tokens or None,
                flops=self._cell.flops_per_token * trained,
                seconds=self._record.seconds or None,
                reason=_sentence(f"Diverged after {end.tokens} tokens: {end.reason}"),
            )
        return RunResult(run_id=self._id, state=RunState.FAILED, reason=self._with_last_lines(end.reason))

    def _with_last_lines(self, reason: str) -> str:
        lines = (
            tail(self._folder, LOG_BYTES).rstrip().splitlines()[-SHOWN_LINES:]
            if self._folder.exists()
            else []
        )
        first = _sentence(_cut(reason[:1].upper() + reason[1:], REASON_CHARACTERS))
        shown = [_cut(line, LINE_CHARACTERS) for line in lines]
        return "\n".join([f"{first} The last lines of its output:", *shown]) if shown else first


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
