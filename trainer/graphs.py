"""Updates from fixed memory: recorded once as a CUDA graph, then replayed in one launch.

A small proxy's update is hundreds of kernels of a few microseconds, more than a CPU can launch in time.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.model import Model
from trainer.optimizer import Moves, Optimizer, Rates
from trainer.stack import Stack, Step

WARM_UPDATES = 3
"""Updates of a new stack before its graph is recorded: they compile, and let libraries choose their kernels."""

_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """What makes a function of fixed memory replayable."""

    def warm(self, function: Callable[[], None]) -> None:
        """Calls it as a recording would, and waits for nothing."""
        ...

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """What does the same from now on; the function itself must not have run.

        Raises:
            RuntimeError: It does something that cannot be recorded.
        """
        ...


class CudaGraphs:
    """Records CUDA graphs, each with memory of its own that goes when the graph goes."""

    def __init__(self) -> None:
        # One for all warm-ups: the allocator keeps the memory of each stream apart.
        self._aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm(self, function: Callable[[], None]) -> None:
        """Calls it on a stream of its own, as PyTorch asks before a recording."""
        here, aside = torch.cuda.current_stream(), self._aside
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            function()
        here.wait_stream(aside)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """The replay of what it launches."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


class FixedStep:
    """An update of one stack that reads its batch and its rates from the same memory every time."""

    def __init__(self, model: Model, optimizer: Optimizer, stack: Stack, batch: Tensor, moves: Moves) -> None:
        """Takes memory for what changes from one update to the next.

        Args:
            model: The members' shape and recipe.
            optimizer: Of that model.
            stack: Updated in place.
            batch: Token ids of inputs and targets, [2, sequences, context], as all later ones will be.
            moves: Of the first update.
        """
        self.stack = stack
        self.updates = 0
        self._model = model
        self._optimizer = optimizer
        self._batch = torch.empty_like(batch)
        self._moves = Moves(
            rates=torch.empty_like(moves.rates, device=batch.device),
            corrections=torch.empty_like(moves.corrections, device=batch.device),
            by_module=moves.by_module,
        )
        self._told: Step | None = None

    def fits(self, stack: Stack, batch: Tensor, moves: Moves) -> bool:
        """Whether this is the step of such an update."""
        alike = self._batch.shape == batch.shape and self._moves.by_module == moves.by_module
        return self.stack is stack and alike

    def load(self, batch: Tensor, moves: Moves) -> None:
        """Puts in what the next update reads."""
        self._batch.copy_(batch)
        self._moves.rates.copy_(moves.rates)
        self._moves.corrections.copy_(moves.corrections)

    def run(self) -> None:
        """One update; what it tells lies where that of the last one lay if it is replayed."""
        stack = self.stack
        moments = stack.first_moments, stack.second_moments

        def update(gradients: Tensor) -> Tensor:
            return self._optimizer.apply(stack.parameters, gradients, moments, self._moves)

        inputs, targets = self._batch.unbind()
        self._told = stack.advance(self._model, inputs, targets, update)

    def told(self) -> Step:
        """A copy of what the last update told."""
        told = self._told
        if told is None:
            raise RuntimeError("no update has run yet")
        return Step(
            losses=told.losses.clone(),
            gradient_norms=told.gradient_norms.clone(),
            loads=None if told.loads is None else told.loads.clone(),
        )


@dataclass(slots=True)
class Updates:
    """Carries out the updates of a job's stacks, one stack at a time.

    Attributes:
        model: The stacks' shape and recipe.
        optimizer: Of that model.
        recorder: What makes updates replayable; None runs each of them.
    """

    model: Model
    optimizer: Optimizer
    recorder: Recorder | None = None
    _step: FixedStep | None = None
    _replay: Callable[[], None] | None = None

    @classmethod
    def on(cls, model: Model, optimizer: Optimizer) -> "Updates":
        """With CUDA graphs if the model is on such a device."""
        return cls(model, optimizer, CudaGraphs() if model.device.type == "cuda" else None)

    def train(self, stack: Stack, inputs: Tensor, targets: Tensor, rates: Sequence[Rates]) -> Step:
        """One update of every member, in place, as `Stack.train`.

        A stack that is another one than the last time is warmed up and recorded anew, after the memory of the
        last one's recording is given back. What cannot be recorded runs as it is.
        """
        if self.recorder is None:
            return stack.train(self.model, self.optimizer, inputs, targets, rates)
        batch, moves = torch.stack([inputs, targets]), self.optimizer.moves(stack.step + 1, rates)
        moves = moves.sent(self.model.device)
        step = self._step
        if step is None or not step.fits(stack, batch, moves):
            self.give_back()
            step = self._step = FixedStep(self.model, self.optimizer, stack, batch, moves)
        step.load(batch, moves)
        self._run(step, self.recorder)
        stack.step += 1
        return step.told()

    def give_back(self) -> None:
        """Forget the stack and its recording, whose memory is then free for what comes before the next update."""
        self._step = self._replay = None

    def _run(self, step: FixedStep, recorder: Recorder) -> None:
        if self._replay is None and step.updates >= WARM_UPDATES:
            self._record(step, recorder)
        step.updates += 1
        if self._replay is not None:
            self._replay()
        elif self.recorder is None:
            step.run()
        else:
            recorder.warm(step.run)

    def _record(self, step: FixedStep, recorder: Recorder) -> None:
        try:
            self._replay = recorder.record(step.run)
        except RuntimeError as error:
            _log.warning("updates are not recorded, and are slower for it: %s", error)
            self.recorder = self._step = None
