import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer import Experts, Recipe, Schedule, Shape, stack_limit
from trainer.memory import memory_per_member
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack

MIXTURE = Experts(count=8, top_k=2, width=64, shared=1)


class Peak(TorchDispatchMode):
    """The most bytes alive at once among the storages that operators make."""

    def __init__(self):
        super().__init__()
        self.known: set[int] = set()
        self.alive = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)}
        for tensor in tree_leaves(found):
            storage = tensor.untyped_storage() if torch.is_tensor(tensor) else None
            if storage is not None and storage.data_ptr() not in self.known | given:
                self.take(storage.data_ptr(), storage)
        return found

    def take(self, place: int, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.known.add(place)
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self.give, place, size)

    def give(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.alive -= size


@pytest.mark.parametrize(
    ("shape", "batch_tokens"),
    [
        (Shape(width=64, depth=4), 512),
        (Shape(width=128, depth=3, context=128, heads=2), 512),
        (Shape(width=64, depth=3, experts=MIXTURE), 512),
        (Shape(width=32, depth=2, vocab_size=4_096), 256),
        (Shape(width=128, depth=4), 64),
    ],
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_estimate_is_what_an_update_really_takes(shape, batch_tokens, precision, optimizer):
    recipe = Recipe(
        shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=batch_tokens, optimizer=optimizer
    )
    model = ProxyModel(recipe, torch.device("cpu"), precision=precision)
    stack, own, members = Stack.initial(model, 3), StackOptimizer(model, vectorized=True), 3
    tokens = torch.zeros(recipe.sequences, shape.context, dtype=torch.int64)
    with Peak() as peak:
        stack.train(model, own, tokens, tokens, [MemberRates(learning_rate=1e-3)] * members)
    estimate = memory_per_member(shape, batch_tokens, product_bytes=precision.itemsize, optimizer=optimizer)
    assert estimate.update == pytest.approx(peak.most / members, rel=0.3)
    kept = (stack.parameters, stack.first_moments, stack.second_moments)
    assert estimate.state == sum(tensor.nbytes for tensor in kept) / members


def test_a_gpu_takes_as_many_members_as_its_memory_holds():
    small, large = Shape(width=64, depth=3), Shape(width=1_024, depth=12, heads=16, context=512)
    gib = 1 << 30
    assert stack_limit(small, 4_096, "cuda", free_bytes=80 * gib) == 128
    found = [stack_limit(large, 16_384, "cuda", free_bytes=free * gib) for free in (1, 40, 80, 140)]
    assert found[0] == 1 < found[1] < found[2] < found[3] < 128
    muon = stack_limit(large, 512, "cuda", optimizer="muon", free_bytes=80 * gib)
    assert muon < stack_limit(large, 512, "cuda", free_bytes=80 * gib)


def test_a_stack_is_as_large_as_this_processs_part_of_a_gpu(monkeypatch):
    """80 GiB in all: other processes have 30, an earlier stack of this one left 40 in PyTorch's keeping."""
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 40 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4 * gib)
    large = Shape(width=1_024, depth=12, heads=16, context=512)
    for share, mine in ((1.0, 46), (0.25, 16)):
        assert stack_limit(large, 16_384, "cuda", share=share) == stack_limit(
            large, 16_384, "cuda", free_bytes=mine * gib
        )
    assert stack_limit(large, 16_384, "cuda", share=0.25) < stack_limit(large, 16_384, "cuda")


def test_a_grouped_product_holds_the_experts_of_only_so_many_members():
    many = Shape(width=64, depth=2, experts=Experts(count=64, top_k=2, width=64))
    assert stack_limit(many, 256, "cuda", free_bytes=1 << 40) == 15
