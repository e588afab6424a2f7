"""Updates from fixed memory, recorded and replayed, without the CUDA calls themselves."""

import logging
import weakref
from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trainer import Experts, Recipe, Schedule, Shape, Training
from trainer.graphs import WARM_UPDATES, FixedStep, UpdateRunner
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack

MIXTURE = Shape(width=16, depth=2, experts=Experts(count=4, top_k=2, width=24, shared=1))
SHAPES = [Shape(width=16, depth=2), MIXTURE]


class Tape:
    """Records nothing and runs everything; keeps count."""

    def __init__(self, refusal: str = ""):
        self.refusal = refusal
        self.warmed = self.recorded = self.replayed = 0

    def warm(self, function: Callable[[], None]) -> None:
        self.warmed += 1
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            function()

        return replay


class NeverWaits(TorchDispatchMode):
    """Fails at operations that would wait for a GPU, or whose output shape depends on values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.name().partition("::")[2].partition(".")[0] not in self.WAITS
        return func(*args, **(kwargs or {}))


def model_of(shape: Shape, **changes) -> ProxyModel:
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=128, **changes)
    return ProxyModel(recipe, torch.device("cpu"))


def batches(corpus, count: int = 12):
    for step in range(count):
        tokens = torch.from_numpy(corpus.batch(0, step, 2, 64))
        yield tokens[:, :-1], tokens[:, 1:]


def rates_at(step: int, members: int = 3, **modules: float) -> list[MemberRates]:
    return [MemberRates(learning_rate=1e-3 * (step + 1) * (m + 1), modules=modules) for m in range(members)]


def trained(
    updates: UpdateRunner, stack: Stack, corpus, count: int = 12, **modules: float
) -> list[list[float]]:
    results = [
        updates.train(stack, *batch, rates_at(step, len(stack.parameters), **modules))
        for step, batch in enumerate(batches(corpus, count))
    ]
    return [one.losses.tolist() + one.gradient_norms.tolist() for one in results]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_replayed_update_is_the_update(corpus, shape, optimizer):
    """Batches, rates and the count of steps differ every time, and must not be the recorded ones."""
    model, tape = model_of(shape, optimizer=optimizer), Tape()
    found = []
    for recorder in (None, tape):
        stack = Stack.initial(model, 3)
        updates = UpdateRunner(model, StackOptimizer(model, vectorized=True), recorder)
        found.append((trained(updates, stack, corpus, head=0.5), stack))
    (direct, first), (replayed, second) = found
    assert direct == replayed
    assert first.step == second.step == 12
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name
    assert (tape.warmed, tape.recorded, tape.replayed) == (WARM_UPDATES, 1, 12 - WARM_UPDATES)


def test_the_result_of_an_update_is_not_overwritten_by_the_next(corpus):
    model = model_of(MIXTURE)
    updates, stack = (
        UpdateRunner(model, StackOptimizer(model, vectorized=True), Tape()),
        Stack.initial(model, 2),
    )
    results = [updates.train(stack, *batch, rates_at(0, 2)) for batch in batches(corpus, 6)]
    places = {tensor.data_ptr() for one in results for tensor in (one.losses, one.gradient_norms, one.loads)}
    assert len(places) == 18


def test_other_members_are_recorded_again_and_the_old_memory_is_freed(corpus):
    model, tape = model_of(SHAPES[0]), Tape()
    updates, stack = (
        UpdateRunner(model, StackOptimizer(model, vectorized=True), tape),
        Stack.initial(model, 3),
    )
    trained(updates, stack, corpus)
    fewer, memory = stack.select([0, 2]), weakref.ref(stack.parameters)
    del stack
    trained(updates, fewer, corpus)
    assert (tape.warmed, tape.recorded) == (2 * WARM_UPDATES, 2)
    assert memory() is None


def test_a_released_stack_is_freed_and_the_next_update_is_the_same(corpus):
    model, found = model_of(SHAPES[0]), []
    for interrupted in (False, True):
        updates = UpdateRunner(model, StackOptimizer(model, vectorized=True), Tape())
        stack = Stack.initial(model, 2)
        first = [trained(updates, stack, corpus, 6)]
        if interrupted:
            memory = weakref.ref(stack.parameters)
            updates.release()
            stack = stack.select([0, 1])
            assert memory() is None
        found.append([*first, trained(updates, stack, corpus, 6)])
    assert found[0] == found[1]


def test_a_training_releases_its_recordings_before_every_evaluation(corpus, make_job, monkeypatch):
    evaluate, held = Stack.evaluate, []
    monkeypatch.setattr(UpdateRunner, "on", classmethod(lambda cls, model, own: cls(model, own, Tape())))
    release = UpdateRunner.release
    monkeypatch.setattr(UpdateRunner, "release", lambda self: (held.append("released"), release(self))[1])
    monkeypatch.setattr(Stack, "evaluate", lambda *given: (held.append("evaluated"), evaluate(*given))[1])
    Training(make_job([2e-3], (20, 30)), corpus).advance()
    evaluations = [place for place, what in enumerate(held) if what == "evaluated"]
    assert len(evaluations) == 4
    assert all(held[place - 1] == "released" for place in evaluations)


def test_a_stack_with_module_rates_is_not_the_step_of_one_without(corpus):
    model, tape = model_of(SHAPES[0]), Tape()
    updates, stack = (
        UpdateRunner(model, StackOptimizer(model, vectorized=True), tape),
        Stack.initial(model, 3),
    )
    trained(updates, stack, corpus, 5)
    trained(updates, stack, corpus, 5, attention=2.0)
    assert tape.recorded == 2


def test_an_update_that_cannot_be_recorded_runs_with_one_warning(corpus, caplog):
    model = model_of(SHAPES[0])
    found = []
    for recorder in (None, Tape("operation not permitted when stream is capturing")):
        updates = UpdateRunner(model, StackOptimizer(model, vectorized=True), recorder)
        with caplog.at_level(logging.WARNING):
            found.append(trained(updates, Stack.initial(model, 3), corpus))
    assert found[0] == found[1]
    assert [record.getMessage() for record in caplog.records] == [
        "Updates run without CUDA graphs, which is slower: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_update_from_fixed_memory_never_waits_for_the_device(corpus, shape, optimizer, precision):
    recipe = model_of(shape, optimizer=optimizer).recipe
    model = ProxyModel(recipe, torch.device("cpu"), precision=precision)
    own, stack = StackOptimizer(model, vectorized=True), Stack.initial(model, 3)
    ((inputs, targets),) = batches(corpus, 1)
    batch, scalars = torch.stack([inputs, targets]), own.scalars(1, rates_at(0))
    step = FixedStep(model, own, stack, batch, scalars)
    step.load(batch, scalars)
    before = stack.parameters.clone()
    with NeverWaits():
        step.run()
    assert not torch.equal(stack.parameters, before)
    assert step.result().losses.isfinite().all()
    assert stack.parameters.dtype == torch.float32


def test_an_operation_that_waits_is_detected():
    with NeverWaits(), pytest.raises(AssertionError):
        torch.ones(3).sum().item()
