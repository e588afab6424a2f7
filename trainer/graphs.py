"""Updates as CUDA graphs: recorded once for each stack, then replayed in one launch.

An update of a small proxy is hundreds of kernels of a few microseconds, more than a CPU can launch in that time.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.optimizer import MemberRates, StackOptimizer, StepScalars
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack, UpdateResult

WARM_UPDATES = 3
"""Updates of a new stack before the recording, in which functions are compiled and libraries choose their kernels."""

_log = logging.getLogger(__name__)


class GraphRecorder(Protocol):
    """Records functions that read and write the same memory at every call."""

    def warm(self, function: Callable[[], None]) -> None:
        """Calls the function as it would be recorded, without waiting for it."""
        ...

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Records the function without running it, and returns its replay.

        Raises:
            RuntimeError: The function contains an operation that cannot be recorded.
        """
        ...


class CudaGraphRecorder:
    """Records CUDA graphs, each with its own memory, which is freed with the graph."""

    def __init__(self) -> None:
        # One stream for all warm-ups: the allocator keeps separate memory for each stream.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm(self, function: Callable[[], None]) -> None:
        """Calls the function on a separate stream, as PyTorch requires before a recording."""
        here, aside = torch.cuda.current_stream(), self._stream
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            function()
        here.wait_stream(aside)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Records the function's kernels."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


class FixedStep:
    """An update of one stack that reads its batch and its scalars from the same memory every time."""

    def __init__(
        self,
        model: ProxyModel,
        optimizer: StackOptimizer,
        stack: Stack,
        batch: Tensor,
        scalars: StepScalars,
    ) -> None:
        """Allocates memory for the inputs of an update.

        Args:
            model: The stack's model.
            optimizer: The optimizer of that model.
            stack: Updated in place.
            batch: Token ids of inputs and targets, [2, sequences, context]; all later batches have this shape.
            scalars: Those of the first update.
        """
        self.stack = stack
        self.updates = 0
        self._model = model
        self._optimizer = optimizer
        self._batch = torch.empty_like(batch)
        self._scalars = StepScalars(
            rates=torch.empty_like(scalars.rates, device=batch.device),
            corrections=torch.empty_like(scalars.corrections, device=batch.device),
            by_module=scalars.by_module,
        )
        self._result: UpdateResult | None = None

    def fits(self, stack: Stack, batch: Tensor, scalars: StepScalars) -> bool:
        """Whether this step can carry out an update of this stack with these inputs."""
        same = self._batch.shape == batch.shape and self._scalars.by_module == scalars.by_module
        return self.stack is stack and same

    def load(self, batch: Tensor, scalars: StepScalars) -> None:
        """Copies the inputs of the next update."""
        self._batch.copy_(batch)
        self._scalars.rates.copy_(scalars.rates)
        self._scalars.corrections.copy_(scalars.corrections)

    def run(self) -> None:
        """One update; a replay overwrites the previous update's result."""
        stack = self.stack
        moments = stack.first_moments, stack.second_moments

        def update(gradients: Tensor) -> Tensor:
            return self._optimizer.apply(stack.parameters, gradients, moments, self._scalars)

        inputs, targets = self._batch.unbind()
        self._result = stack.advance(self._model, inputs, targets, update)

    def result(self) -> UpdateResult:
        """A copy of the last update's result."""
        result = self._result
        if result is None:
            raise RuntimeError("no update has run yet")
        return UpdateResult(
            losses=result.losses.clone(),
            gradient_norms=result.gradient_norms.clone(),
            loads=None if result.loads is None else result.loads.clone(),
        )


@dataclass(slots=True)
class UpdateRunner:
    """Carries out the updates of a job's stacks, one stack at a time.

    Attributes:
        model: The stacks' model.
        optimizer: The optimizer of that model.
        recorder: Records updates; None runs each without recording.
    """

    model: ProxyModel
    optimizer: StackOptimizer
    recorder: GraphRecorder | None = None
    _step: FixedStep | None = None
    _replay: Callable[[], None] | None = None

    @classmethod
    def on(cls, model: ProxyModel, optimizer: StackOptimizer) -> "UpdateRunner":
        """A runner with CUDA graphs if the model is on a GPU."""
        return cls(model, optimizer, CudaGraphRecorder() if model.device.type == "cuda" else None)

    def train(
        self, stack: Stack, inputs: Tensor, targets: Tensor, rates: Sequence[MemberRates]
    ) -> UpdateResult:
        """Updates every member once, in place, as `Stack.train`.

        For another stack than the last, the old recording's memory is freed, and the update is warmed up and
        recorded again. An update that cannot be recorded runs without recording.
        """
        if self.recorder is None:
            return stack.train(self.model, self.optimizer, inputs, targets, rates)
        batch, scalars = torch.stack([inputs, targets]), self.optimizer.scalars(stack.step + 1, rates)
        scalars = scalars.sent(self.model.device)
        step = self._step
        if step is None or not step.fits(stack, batch, scalars):
            self.release()
            step = self._step = FixedStep(self.model, self.optimizer, stack, batch, scalars)
        step.load(batch, scalars)
        self._run(step, self.recorder)
        stack.step += 1
        return step.result()

    def release(self) -> None:
        """Frees the memory of the recording until the next update."""
        self._step = self._replay = None

    def _run(self, step: FixedStep, recorder: GraphRecorder) -> None:
        if self._replay is None and step.updates >= WARM_UPDATES:
            self._record(step, recorder)
        step.updates += 1
        if self._replay is not None:
            self._replay()
        elif self.recorder is None:
            step.run()
        else:
            recorder.warm(step.run)

    def _record(self, step: FixedStep, recorder: GraphRecorder) -> None:
        try:
            self._replay = recorder.record(step.run)
        except RuntimeError as error:
            _log.warning("Updates run without CUDA graphs, which is slower: %s", error)
            self.recorder = self._step = None
