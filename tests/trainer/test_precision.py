"""Compiled, and with products in bfloat16, the best learning rate is the same."""

import math
import shutil

import numpy as np
import pytest
import torch

from trainer import Recipe, Schedule, Shape
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel
from trainer.stack import Stack

SHAPE, BATCH, STEPS = Shape(width=16, depth=1), 256, 300
RATES = [4e-3 * 1.8**place for place in range(8)]
NEAR = 0.08
"""Nats above the lowest loss that a point of the bowl may have."""

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="no C++ compiler here"
)


def optimum(corpus, *, seed: int = 0, **how) -> float:
    """ln η* of a bowl of 8 rates."""
    schedule = Schedule(warmup_tokens=32 * BATCH, decay_fraction=0.4)
    recipe = Recipe(shape=SHAPE, schedule=schedule, batch_tokens=BATCH, seed=seed)
    model = ProxyModel(recipe, torch.device("cpu"), **how)
    stack, optimizer = Stack.initial(model, len(RATES)), StackOptimizer(model, vectorized=model.compiled)
    for step in range(STEPS):
        tokens = torch.from_numpy(corpus.batch(seed, step, recipe.sequences, SHAPE.context))
        multiplier = recipe.timetable.multiplier(step, STEPS * BATCH)
        rates = [MemberRates(learning_rate=rate * multiplier) for rate in RATES]
        stack.train(model, optimizer, tokens[:, :-1], tokens[:, 1:], rates)
    windows = torch.from_numpy(corpus.heldout_windows(256, SHAPE.context))
    return vertex(stack.evaluate(model, iter([(windows[:, :-1], windows[:, 1:])])))


def vertex(losses: list[float]) -> float:
    """Of the quadratic in ln η through the points near the lowest, which leave some out on both sides."""
    near = np.array(losses) < min(losses) + NEAR
    assert near.sum() >= 4
    assert not near[0]
    assert not near[-1]
    bend, slope, _ = np.polyfit(np.log(RATES)[near], np.array(losses)[near], 2)
    return -slope / (2.0 * bend)


@pytest.fixture(scope="module")
def eager(corpus) -> list[float]:
    """ln η* in float32, by seed."""
    torch.set_flush_denormal(True)
    return [optimum(corpus, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def noise(eager) -> float:
    """The standard deviation of the optimum over seeds."""
    return float(np.std(eager, ddof=1))


def test_the_seed_moves_the_optimum_a_little(noise):
    assert 0.0 < noise < math.log(1.8)


def test_products_in_bfloat16_keep_the_optimum(corpus, eager, noise):
    assert abs(optimum(corpus, precision=torch.bfloat16) - eager[0]) < noise


@needs_compiler
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of PyTorch's compiler at PyTorch.
def test_a_compiled_training_keeps_the_optimum(corpus, eager, noise):
    assert abs(optimum(corpus, compiled=True) - eager[0]) < noise
