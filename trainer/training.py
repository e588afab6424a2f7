"""Carries out one job: the trunk to the fork of each horizon, then that horizon's branch, then the trunk again."""

import time
from collections.abc import Iterator, Sequence
from math import inf, isfinite

import torch
from torch import Tensor

from trainer.checkpoint import identity, pack, unpack
from trainer.costs import Costs
from trainer.data import Corpus
from trainer.divergence import GRACE_STEPS, find_divergence, judged_loss, travel
from trainer.exceptions import BadCheckpoint
from trainer.graphs import UpdateRunner
from trainer.job import (
    CurveEvent,
    DivergedEvent,
    FinishedEvent,
    LensEvent,
    Member,
    TrainingEvent,
    TrainingJob,
)
from trainer.lens import Lens, LensReading, LensState, is_due
from trainer.optimizer import MemberRates, StackOptimizer, sent
from trainer.proxy_model import ProxyModel
from trainer.segment import Segment
from trainer.stack import Stack, UpdateResult

HELDOUT_WINDOWS = 256
"""Held-out windows of each evaluation; more would take longer than the sampling noise is worth."""

_EVALUATION_TOKENS = 1_024


class Training:
    """A job in progress.

    The same job gives the same losses whether its members are trained alone or stacked, in one call or in several,
    resumed, or continued from trunks. On a CPU with one PyTorch thread they are equal bit for bit.

    Attributes:
        job: The job.
        corpus: The corpus that it trains on.
    """

    def __init__(
        self,
        job: TrainingJob,
        corpus: Corpus,
        *,
        state: bytes | None = None,
        trunks: Sequence[bytes] | None = None,
        device: str = "cpu",
        compiled: bool | None = None,
        log_every: int = 16,
        lens: bool = True,
    ) -> None:
        """Prepares the job without training.

        Args:
            job: The job.
            corpus: The corpus to train on; its vocabulary must be that of the shape.
            state: A `state` of this job on this corpus to resume; None begins the job.
            trunks: Each member's `trunk` of an earlier job to continue from, all at one step; None starts from the
                initial parameters. Ignored with `state`.
            device: A PyTorch device.
            compiled: Whether to compile updates; None compiles on a GPU if possible.
            log_every: Steps of a logging interval.
            lens: Whether to measure more than losses; it does not change them.

        Raises:
            BadJob: The corpus has another vocabulary.
            BadCorpus: The corpus is too short for the context.
            BadCheckpoint: The state is unreadable or of another job or corpus; or the trunks are of other members,
                at different steps, or past the fork of a horizon.
        """
        job.check_corpus(corpus)
        self.job, self.corpus = job, corpus
        self._log_every = log_every
        self._device = torch.device(device)
        self._model = ProxyModel(job.recipe, self._device, compiled=compiled)
        self._updates = UpdateRunner.on(self._model, StackOptimizer(self._model))
        self._lens = Lens(self._model) if lens else None
        self._timetable = job.recipe.timetable
        windows = torch.from_numpy(corpus.heldout_windows(HELDOUT_WINDOWS, job.recipe.shape.context))
        self._windows = torch.split(
            windows.to(self._device), max(1, _EVALUATION_TOKENS // job.recipe.shape.context)
        )
        self._events: list[TrainingEvent] = []
        self._curves: dict[tuple[int, int | None], list[tuple[int, float]]] = {}
        self._branch: Segment | None = None
        self._finished_trunks: dict[int, Segment] = {}
        if state is not None:
            self._resume(state)
            return
        self._trunk = self._with_lens(self._first_trunk(trunks))
        self._waiting = [list(member.horizons) for member in job.members]
        self._costs = Costs.fresh(len(job.members))

    def _resume(self, state: bytes) -> None:
        saved, on = unpack(identity(self.job, self.corpus.sha256), state), self._device
        self._trunk = self._with_lens(Segment.loaded(saved["trunk"], on))
        if saved["branch"] is not None:
            self._branch = self._with_lens(Segment.loaded(saved["branch"], on))
        self._finished_trunks = {m: Segment.loaded(one, on) for m, one in saved["finished_trunks"].items()}
        self._waiting = saved["waiting"]
        self._costs = Costs(**saved["costs"])

    def _first_trunk(self, saved_trunks: Sequence[bytes] | None) -> Segment:
        members = self.job.members
        if saved_trunks is None:
            return Segment.fresh(Stack.initial(self._model, len(members)))
        if len(saved_trunks) != len(members):
            raise BadCheckpoint(f"trunks: {len(saved_trunks)} for {len(members)} members; give one for each")
        trunks = [
            Segment.loaded(unpack(self._identity(member), saved), self._device)
            for member, saved in zip(members, saved_trunks, strict=True)
        ]
        steps = [trunk.stack.step for trunk in trunks]
        if len({(trunk.stack.step, len(trunk.interval)) for trunk in trunks}) > 1:
            raise BadCheckpoint(f"trunks: they end at different steps: {steps}")
        first = min(member.horizons[0] for member in members)
        if self._timetable.fork(first) < steps[0]:
            raise BadCheckpoint(
                f"trunks: they are {steps[0]} steps long, past the fork of a horizon of {first} tokens"
            )
        return Segment.joined(trunks)

    def _with_lens(self, segment: Segment) -> Segment:
        if self._lens is None:
            segment.lens = None
        elif segment.lens is None:
            segment.lens = LensState.fresh(len(segment.members))
        return segment

    @property
    def done(self) -> bool:
        """Whether every run has finished or diverged."""
        return self._branch is None and not self._trunk.members

    def advance(self, seconds: float | None = None, steps: int | None = None) -> list[TrainingEvent]:
        """Trains for a while, or to the end without arguments.

        Args:
            seconds: Stops after the first step that ends later than this; at least one step is made.
            steps: Stops after this many updates of the stack; a fork and an evaluation count as one each.

        Returns:
            The events, in order.
        """
        self._costs.begin()
        deadline = inf if seconds is None else time.monotonic() + seconds
        taken = 0
        torch.set_flush_denormal(True)  # For this thread: denormal moments are many times slower.
        try:
            while not self.done and taken != steps and (taken == 0 or time.monotonic() < deadline):
                self._step()
                taken += 1
        finally:
            torch.set_flush_denormal(False)
        self._release_points()
        events, self._events = self._events, []
        return events

    def state(self) -> bytes:
        """A checkpoint of the whole job, possible at any step."""
        return pack(
            identity(self.job, self.corpus.sha256),
            {
                "trunk": self._trunk.saved(),
                "branch": None if self._branch is None else self._branch.saved(),
                "finished_trunks": {member: trunk.saved() for member, trunk in self._finished_trunks.items()},
                "waiting": self._waiting,
                "costs": self._costs.saved(),
            },
        )

    def trunk(self, member: int) -> bytes | None:
        """This member's trunk at the fork of its last horizon, from which a later job can continue to longer ones.

        None before that fork, and for a member that has diverged.
        """
        trunk = self._finished_trunks.get(member)
        return None if trunk is None else pack(self._identity(self.job.members[member]), trunk.saved())

    def trunk_tokens(self, member: int) -> int | None:
        """Tokens of `trunk`; None if there is none."""
        trunk = self._finished_trunks.get(member)
        return None if trunk is None else trunk.stack.step * self.job.recipe.batch_tokens

    def _identity(self, member: Member) -> str:
        return identity(self.job.recipe, member.learning_rate, member.module_rates, self.corpus.sha256)

    def _step(self) -> None:
        """One update, or the fork or the end of a branch that is due."""
        segment = self._trunk if self._branch is None else self._branch
        if segment.horizon is None:
            horizon = min(self._waiting[member][0] for member in segment.members)
            if segment.stack.step < self._timetable.fork(horizon):
                self._update(segment)
            else:
                self._fork(horizon)
        elif segment.stack.step < self._timetable.end(segment.horizon):
            self._update(segment)
        else:
            self._finish(segment, segment.horizon)

    def _update(self, segment: Segment) -> None:
        """One update of a segment; at the end of a logging interval also its points and divergences."""
        recipe, step = self.job.recipe, segment.stack.step
        tokens = self.corpus.batch(recipe.seed, step, recipe.sequences, recipe.shape.context)
        batch = sent(torch.from_numpy(tokens), self._device)
        multiplier = self._timetable.multiplier(step, segment.horizon)
        members = [self.job.members[member] for member in segment.members]
        rates = [
            MemberRates(learning_rate=m.learning_rate * multiplier, modules=m.module_rates) for m in members
        ]
        ends = segment.horizon is not None and step + 1 == self._timetable.end(segment.horizon)
        result = self._train(segment, batch, rates, point=ends or is_due(step + 1))
        segment.interval.append(result.losses)
        self._costs.update(segment.members)
        if ends or (step + 1) % self._log_every == 0:
            self._log(segment)

    def _train(
        self, segment: Segment, batch: Tensor, rates: Sequence[MemberRates], *, point: bool
    ) -> UpdateResult:
        """The update, with the measurements of the lenses."""
        inputs, targets, lens, state = batch[:, :-1], batch[:, 1:], self._lens, segment.lens
        if lens is None or state is None:
            return self._updates.train(segment.stack, inputs, targets, rates)
        before = lens.before(segment.stack, inputs, targets) if point else None
        result = self._updates.train(segment.stack, inputs, targets, rates)
        if before is None:
            lens.record(state, segment.stack, result, inputs, targets)
        else:
            self._report(segment, lens.point(state, segment.stack, result, inputs, targets, before))
        return result

    def _report(self, segment: Segment, readings: Sequence[LensReading]) -> None:
        """Adds an event for each reading of the lenses."""
        for reading in readings:
            self._events.append(
                LensEvent(
                    member=segment.members[reading.index],
                    horizon=segment.horizon,
                    step=reading.step,
                    tokens=reading.step * self.job.recipe.batch_tokens,
                    values={name: float(f"{value:.5g}") for name, value in reading.values.items()},
                )
            )

    def _log(self, segment: Segment) -> None:
        if self._lens is not None and segment.lens is not None:
            self._report(segment, self._lens.read(segment.lens, segment.stack.step))
        for member, loss in zip(segment.members, segment.close_interval(), strict=True):
            if isfinite(loss):
                self._curves.setdefault((member, segment.horizon), []).append((segment.stack.step, loss))
        self._drop_diverged(segment, segment.smoothed)

    def _fork(self, horizon: int) -> None:
        """Starts the branch of the members with this horizon; those without a longer one leave the trunk."""
        self._updates.release()  # The branch is another stack, and the copy and the evaluation need memory.
        branch = self._trunk.select(
            [i for i, member in enumerate(self._trunk.members) if self._waiting[member][0] == horizon]
        )
        branch.trunk_losses = branch.stack.evaluate(self._model, self._heldout())
        self._costs.charge(branch.members)
        branch.horizon, branch.interval = horizon, []
        if self._lens is not None and branch.lens is not None:
            # No events: the trunk reports these steps when it reads them.
            self._lens.read(branch.lens, branch.stack.step)
        self._branch = branch
        self._drop_diverged(branch, _judged(branch, branch.trunk_losses))
        leaving = [member for member in self._trunk.members if self._waiting[member] == [horizon]]
        for member in leaving:
            self._finished_trunks[member] = self._trunk.select([self._trunk.members.index(member)])
        self._trunk = self._trunk.without(leaving)

    def _finish(self, branch: Segment, horizon: int) -> None:
        """Evaluates a branch at its end; the trunk continues afterwards."""
        self._updates.release()
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
                FinishedEvent(
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

    def _drop_diverged(self, segment: Segment, losses: Sequence[float], *, ended: int | None = None) -> None:
        """Removes diverged members from the job, so that they cost no more.

        Args:
            segment: The segment of the members.
            losses: The loss of each member that is tested.
            ended: The horizon whose decay has ended; None before that.
        """
        step, warmup = segment.stack.step, self._timetable.warmup_steps
        judged = ended is not None or step >= warmup + GRACE_STEPS
        lost = []
        for index, (member, loss) in enumerate(zip(segment.members, losses, strict=True)):
            rate, best = self.job.members[member].learning_rate, segment.best[index]
            travelled = None if ended is None else travel(self._timetable, ended, rate)
            found = find_divergence(loss, best, travelled, self.corpus.unigram_entropy)
            if found is not None and (judged or not isfinite(loss)):
                self._diverge(segment, index, found, ended)
                lost.append(member)
        self._trunk = self._trunk.without(lost)
        if self._branch is not None:
            self._branch = self._branch.without(lost)
            if not self._branch.members:
                self._branch = None

    def _diverge(self, segment: Segment, index: int, cause: str, ended: int | None) -> None:
        self._release_points()
        member, step = segment.members[index], segment.stack.step
        flops, seconds = self._settle(member)
        reason = cause if ended is None else f"{cause} (in the run to {ended} tokens)"
        if segment.lens is not None:
            reason += f"; {segment.lens.members[index].first_symptom(step) or 'no symptom before it'}"
        self._events.append(
            DivergedEvent(
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
                CurveEvent(member=member, horizon=horizon, steps=steps, tokens=tokens, losses=losses)
            )
        self._curves = {}

    def _heldout(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((windows[:, :-1], windows[:, 1:]) for windows in self._windows)


def _judged(segment: Segment, heldout: Sequence[float]) -> list[float]:
    """The loss of each member of a segment to test for divergence after an evaluation."""
    return [judged_loss(*losses) for losses in zip(segment.smoothed, heldout, strict=True)]
