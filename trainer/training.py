"""Carries out one job: the trunk to each horizon's fork, the branch from there, and on."""

import time
from collections.abc import Iterator, Sequence
from math import inf, isfinite

import torch
from torch import Tensor

from trainer.checkpoint import identity, pack, unpack
from trainer.corpus import Corpus
from trainer.costs import Costs
from trainer.divergence import GRACE_STEPS, judged_loss, reason_for_divergence, travel
from trainer.errors import BadCheckpoint
from trainer.events import Diverged, Event, Finished, Points, Seen
from trainer.graphs import Updates
from trainer.job import Job, Member
from trainer.lens import Lens, Look, Watched, is_due
from trainer.line import Line
from trainer.model import Model
from trainer.optimizer import Optimizer, Rates, sent
from trainer.stack import Stack, Step

__all__ = ["HELDOUT_WINDOWS", "Job", "Member", "Training"]

HELDOUT_WINDOWS = 256
"""Held-out windows behind each loss of a run: enough that the text sampled adds no noise worth the time."""

_EVALUATION_TOKENS = 1_024


class Training:
    """A job in progress.

    The same job gives the same losses however it is cut: members alone or stacked, steps at once or in
    pieces, resumed, or continued from trunks. With one PyTorch thread on a CPU they agree bit for bit.

    Attributes:
        job: What is asked for.
        corpus: What it trains on.
    """

    def __init__(
        self,
        job: Job,
        corpus: Corpus,
        *,
        trunks: Sequence[bytes] | None = None,
        device: str = "cpu",
        compiled: bool | None = None,
        log_every: int = 16,
        lens: bool = True,
    ) -> None:
        """Prepares the job; nothing is trained yet.

        Args:
            job: What is asked for.
            corpus: What to train on; its vocabulary must be the shape's.
            trunks: Each member's `trunk` of an earlier job, all at one step, to go on from; None starts afresh.
            device: A PyTorch device.
            compiled: Whether updates are compiled; None compiles them on a GPU if it can.
            log_every: Steps of a logging interval.
            lens: Whether to look at the members besides their losses; it changes none of these.

        Raises:
            BadJob: The corpus does not fit.
            BadCorpus: The corpus is too short for the context.
            BadCheckpoint: The trunks are of other members, at different steps, or past a horizon's fork.
        """
        job.check_corpus(corpus)
        self.job, self.corpus = job, corpus
        self._log_every = log_every
        self._device = torch.device(device)
        self._model = Model(job.recipe, self._device, compiled=compiled)
        self._updates = Updates.on(self._model, Optimizer(self._model))
        self._lens = Lens(self._model) if lens else None
        self._timetable = job.recipe.timetable
        windows = torch.from_numpy(corpus.heldout_windows(HELDOUT_WINDOWS, job.recipe.shape.context))
        self._windows = torch.split(
            windows.to(self._device), max(1, _EVALUATION_TOKENS // job.recipe.shape.context)
        )
        self._branch: Line | None = None
        self._trunk = self._watched(self._first_trunk(trunks))
        self._waiting = [list(member.horizons) for member in job.members]
        self._finished_trunks: dict[int, Line] = {}
        self._costs = Costs.fresh(len(job.members))
        self._events: list[Event] = []
        self._curves: dict[tuple[int, int | None], list[tuple[int, float]]] = {}

    def _first_trunk(self, trunks: Sequence[bytes] | None) -> Line:
        if trunks is None:
            return Line.fresh(Stack.initial(self._model, len(self.job.members)))
        if len(trunks) != len(self.job.members):
            raise BadCheckpoint(
                f"trunks: {len(trunks)} for {len(self.job.members)} members; give one for each"
            )
        lines = [
            Line.loaded(unpack(self._identity(member), saved), self._device)
            for member, saved in zip(self.job.members, trunks, strict=True)
        ]
        if len({(line.stack.step, len(line.interval)) for line in lines}) > 1:
            raise BadCheckpoint(f"trunks: they end at different steps: {[line.stack.step for line in lines]}")
        step, first = lines[0].stack.step, min(member.horizons[0] for member in self.job.members)
        if self._timetable.fork(first) < step:
            raise BadCheckpoint(
                f"trunks: they are {step} steps long, past the fork of a horizon of {first} tokens"
            )
        return Line.joined(lines)

    def _watched(self, line: Line) -> Line:
        if self._lens is None:
            line.watched = None
        elif line.watched is None:
            line.watched = Watched.fresh(len(line.members))
        return line

    @property
    def done(self) -> bool:
        """Whether every run has finished or diverged."""
        return self._branch is None and not self._trunk.members

    @property
    def progress(self) -> float:
        """Share of the FLOPs trained, 0 to 1, of those that members not diverged still need."""
        remaining = 0
        for member, waiting in enumerate(self._waiting):
            if waiting:
                remaining += sum(
                    self._timetable.end(horizon) - self._timetable.fork(horizon) for horizon in waiting
                )
            if member in self._trunk.members:
                remaining += self._timetable.fork(waiting[-1]) - self._trunk.stack.step
        if self._branch is not None and self._branch.horizon is not None:
            decayed = self._branch.stack.step - self._timetable.fork(self._branch.horizon)
            remaining -= decayed * len(self._branch.members)
        spent = self._costs.spent
        return spent / max(1, spent + remaining) if remaining else 1.0

    def advance(self, seconds: float | None = None, steps: int | None = None) -> list[Event]:
        """Trains for about that long and tells what happened.

        Args:
            seconds: Stop at the first step that ends after this time; one is always made.
            steps: Stop after this many updates of the stack; a fork or an evaluation counts as one.

        Returns:
            Learning-curve points and ends of runs, in order. Without arguments, all that remain.
        """
        self._costs.begin()
        deadline = inf if seconds is None else time.monotonic() + seconds
        taken = 0
        torch.set_flush_denormal(True)  # Of this thread only; denormal moments are many times slower.
        try:
            while not self.done and taken != steps and (taken == 0 or time.monotonic() < deadline):
                self._work()
                taken += 1
        finally:
            torch.set_flush_denormal(False)
        self._release_points()
        events, self._events = self._events, []
        return events

    def state(self) -> bytes:
        """A checkpoint of the whole job, also in the middle of a branch."""
        return pack(
            identity(self.job, self.corpus.sha256),
            {
                "trunk": self._trunk.saved(),
                "branch": None if self._branch is None else self._branch.saved(),
                "finished_trunks": {member: line.saved() for member, line in self._finished_trunks.items()},
                "waiting": self._waiting,
                "costs": self._costs.saved(),
            },
        )

    @classmethod
    def resume(
        cls,
        job: Job,
        corpus: Corpus,
        state: bytes,
        *,
        device: str = "cpu",
        compiled: bool | None = None,
        log_every: int = 16,
        lens: bool = True,
    ) -> "Training":
        """The training that `state` was taken of, which goes on as if nothing had happened.

        Raises:
            BadCheckpoint: The state is unreadable or of another job or corpus.
        """
        training = cls(job, corpus, device=device, compiled=compiled, log_every=log_every, lens=lens)
        saved = unpack(identity(job, corpus.sha256), state)
        on = training._device
        training._trunk = training._watched(Line.loaded(saved["trunk"], on))
        training._branch = saved["branch"] and training._watched(Line.loaded(saved["branch"], on))
        training._finished_trunks = {m: Line.loaded(line, on) for m, line in saved["finished_trunks"].items()}
        training._waiting = saved["waiting"]
        training._costs = Costs(**saved["costs"])
        return training

    def trunk(self, member: int) -> bytes | None:
        """This member's trunk where its last horizon forked off, to go on to a longer one in a later job.

        None before that fork, and for a member that diverged.
        """
        line = self._finished_trunks.get(member)
        return None if line is None else pack(self._identity(self.job.members[member]), line.saved())

    def trunk_tokens(self, member: int) -> int | None:
        """Tokens that `trunk` has seen, or None where there is none."""
        line = self._finished_trunks.get(member)
        return None if line is None else line.stack.step * self.job.recipe.batch_tokens

    def _identity(self, member: Member) -> str:
        return identity(self.job.recipe, member.learning_rate, member.module_rates, self.corpus.sha256)

    def _work(self) -> None:
        """One update, or the fork or the end of a branch that is due."""
        line = self._trunk if self._branch is None else self._branch
        if line.horizon is None:
            horizon = min(self._waiting[member][0] for member in line.members)
            if line.stack.step < self._timetable.fork(horizon):
                self._update(line)
            else:
                self._fork(horizon)
        elif line.stack.step < self._timetable.end(line.horizon):
            self._update(line)
        else:
            self._finish(line, line.horizon)

    def _update(self, line: Line) -> None:
        """One optimizer step of a line; at the end of a logging interval, its points and its casualties."""
        recipe, step = self.job.recipe, line.stack.step
        tokens = self.corpus.batch(recipe.seed, step, recipe.sequences, recipe.shape.context)
        batch = sent(torch.from_numpy(tokens), self._device)
        multiplier = self._timetable.multiplier(step, line.horizon)
        members = [self.job.members[member] for member in line.members]
        rates = [Rates(learning_rate=m.learning_rate * multiplier, modules=m.module_rates) for m in members]
        ends = line.horizon is not None and step + 1 == self._timetable.end(line.horizon)
        told = self._train(line, batch, rates, point=ends or is_due(step + 1))
        line.interval.append(told.losses)
        self._costs.update(line.members)
        if ends or (step + 1) % self._log_every == 0:
            self._log(line)

    def _train(self, line: Line, batch: Tensor, rates: Sequence[Rates], *, point: bool) -> Step:
        """The update of a step, and what the lenses see of it."""
        inputs, targets, lens, watched = batch[:, :-1], batch[:, 1:], self._lens, line.watched
        if lens is None or watched is None:
            return self._updates.train(line.stack, inputs, targets, rates)
        before = lens.before(line.stack, inputs, targets) if point else None
        told = self._updates.train(line.stack, inputs, targets, rates)
        if before is None:
            lens.note(watched, line.stack, told, inputs, targets)
        else:
            self._tell(line, lens.point(watched, line.stack, told, inputs, targets, before))
        return told

    def _tell(self, line: Line, looks: Sequence[Look]) -> None:
        """Events of what the lenses saw."""
        for look in looks:
            self._events.append(
                Seen(
                    member=line.members[look.place],
                    horizon=line.horizon,
                    step=look.step,
                    tokens=look.step * self.job.recipe.batch_tokens,
                    values={name: float(f"{value:.5g}") for name, value in look.values.items()},
                )
            )

    def _log(self, line: Line) -> None:
        if self._lens is not None and line.watched is not None:
            self._tell(line, self._lens.read(line.watched, line.stack.step))
        for member, loss in zip(line.members, line.close_interval(), strict=True):
            if isfinite(loss):
                self._curves.setdefault((member, line.horizon), []).append((line.stack.step, loss))
        self._drop_diverged(line, line.smoothed)

    def _fork(self, horizon: int) -> None:
        """Branches off the members that want this horizon; those that want no longer one leave the trunk."""
        self._updates.give_back()  # The branch is another stack anyhow, and copies and evaluation want memory.
        wanted = [p for p, member in enumerate(self._trunk.members) if self._waiting[member][0] == horizon]
        branch = self._trunk.select(wanted)
        branch.trunk_losses = branch.stack.evaluate(self._model, self._heldout())
        self._costs.charge(branch.members)
        branch.horizon, branch.interval = horizon, []
        if self._lens is not None and branch.watched is not None:
            # The trunk tells of these steps when it reads them.
            self._lens.read(branch.watched, branch.stack.step)
        self._branch = branch
        self._drop_diverged(branch, _judged(branch, branch.trunk_losses))
        leaving = [member for member in self._trunk.members if self._waiting[member] == [horizon]]
        for member in leaving:
            self._finished_trunks[member] = self._trunk.select([self._trunk.members.index(member)])
        self._trunk = self._trunk.without(leaving)

    def _finish(self, branch: Line, horizon: int) -> None:
        """Measures the annealed losses of a branch at its end; the trunk's turn comes again."""
        self._updates.give_back()
        losses = branch.stack.evaluate(self._model, self._heldout())
        self._costs.charge(branch.members)
        measured = dict(zip(branch.members, zip(losses, branch.trunk_losses, strict=True), strict=True))
        self._drop_diverged(branch, _judged(branch, losses), ended=horizon)
        self._release_points()
        for member in self._branch.members if self._branch else ():
            loss, trunk_loss = measured[member]
            flops, seconds = self._settle(member)
            self._waiting[member].remove(horizon)
            self._events.append(
                Finished(
                    member=member,
                    horizon=horizon,
                    tokens=branch.stack.step * self.job.recipe.batch_tokens,
                    loss=loss,
                    trunk_loss=trunk_loss,
                    flops=flops,
                    seconds=seconds,
                )
            )
        self._branch = None

    def _drop_diverged(self, line: Line, losses: Sequence[float], *, ended: int | None = None) -> None:
        """Takes members that diverged out of the job, so that they cost nothing more.

        Args:
            line: Where they train.
            losses: What each is judged by.
            ended: The horizon whose decay is over; None before that.
        """
        step, warmup = line.stack.step, self._timetable.warmup_steps
        judged = ended is not None or step >= warmup + GRACE_STEPS
        lost = []
        for place, (member, loss, best) in enumerate(zip(line.members, losses, line.best, strict=True)):
            rate = self.job.members[member].learning_rate
            travelled = None if ended is None else travel(self._timetable, ended, rate)
            reason = reason_for_divergence(loss, best, travelled, self.corpus.unigram_entropy)
            if reason is not None and (judged or not isfinite(loss)):
                where = "" if ended is None else f" (in the run to {ended} tokens)"
                self._diverge(member, step, reason + where + _explained(line, place))
                lost.append(member)
        self._trunk = self._trunk.without(lost)
        if self._branch is not None:
            self._branch = self._branch.without(lost)
            if not self._branch.members:
                self._branch = None

    def _diverge(self, member: int, step: int, reason: str) -> None:
        self._release_points()
        flops, seconds = self._settle(member)
        self._events.append(
            Diverged(
                member=member,
                horizons=tuple(self._waiting[member]),
                step=step,
                tokens=step * self.job.recipe.batch_tokens,
                reason=reason,
                flops=flops,
                seconds=seconds,
            )
        )
        self._waiting[member] = []
        self._finished_trunks.pop(member, None)

    def _settle(self, member: int) -> tuple[int, float]:
        """FLOPs and seconds of a member since it was last settled."""
        steps, seconds = self._costs.settle(member)
        recipe = self.job.recipe
        return steps * recipe.batch_tokens * recipe.shape.flops_per_token, seconds

    def _release_points(self) -> None:
        batch_tokens = self.job.recipe.batch_tokens
        for (member, horizon), curve in self._curves.items():
            steps, losses = zip(*curve, strict=True)
            tokens = tuple(step * batch_tokens for step in steps)
            self._events.append(
                Points(member=member, horizon=horizon, steps=steps, tokens=tokens, losses=losses)
            )
        self._curves = {}

    def _heldout(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((windows[:, :-1], windows[:, 1:]) for windows in self._windows)


def _explained(line: Line, place: int) -> str:
    """What the lenses saw first of a member that is lost."""
    return "" if line.watched is None else f"; {line.watched.tracks[place].explanation(line.stack.step)}"


def _judged(line: Line, heldout: Sequence[float]) -> list[float]:
    """What each member of a line is judged by, given its loss on held-out text."""
    return [judged_loss(*losses) for losses in zip(line.smoothed, heldout, strict=True)]
