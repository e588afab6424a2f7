"""The two optimizers against plain references, matrix by matrix, and against themselves in other company."""

import math
from dataclasses import replace

import pytest
import torch

from trainer import BaseScale, Experts, Parametrization, Recipe, Schedule, Shape, Training
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel, layout
from trainer.stack import Stack

CPU = torch.device("cpu")
DENSE = Shape(width=16, depth=2)
MIXTURE = Shape(width=16, depth=2, experts=Experts(count=4, top_k=2, width=24, shared=1))
MUP = Parametrization(
    base=BaseScale(width=8, depth=1, expert_width=24), rules=frozenset({"depth", "weight_decay"})
)
MEMBERS = (
    MemberRates(learning_rate=1e-3),
    MemberRates(learning_rate=8e-3, modules={"attention": 0.5, "head": 2.0}),
    MemberRates(learning_rate=3e-3, modules={"feedforward": 3.0}),
)


def recipe_of(shape: Shape, **changes) -> Recipe:
    return Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=128, **changes)


def moved(recipe: Recipe, members, gradients, *, vectorized: bool = False) -> torch.Tensor:
    """Parameters [K, P] after as many updates as there are gradients [P], from the recipe's own start."""
    model = ProxyModel(recipe, CPU)
    stack, optimizer = Stack.initial(model, len(members)), StackOptimizer(model, vectorized=vectorized)
    for step, gradient in enumerate(gradients, start=1):
        alike = gradient.repeat(len(members), 1)
        moments = stack.first_moments, stack.second_moments
        optimizer.update(stack.parameters, alike, moments, step, members)
    return stack.parameters


def drawn(recipe: Recipe, updates: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    size = sum(matrix.size for matrix in layout(recipe))
    return [torch.randn(size, generator=generator) * 0.02 for _ in range(updates)]


def plain_muon(recipe: Recipe, member: MemberRates, gradients) -> torch.Tensor:
    """One member's parameters by the published recipe, one matrix after the other."""
    values = Stack.initial(ProxyModel(recipe, CPU), 1).parameters[0].double()
    memory: dict[int, list[torch.Tensor]] = {}
    for step, raw in enumerate(gradients, start=1):
        gradient = raw.double() / max(1.0, raw.double().norm().item() / recipe.clip)
        start = 0
        for matrix in layout(recipe):
            rule = matrix.rule
            rate = member.learning_rate * rule.rate * member.modules.get(rule.kind.module, 1.0)
            columns = matrix.columns // (3 if rule.kind.name == "attention_in" else 1)
            ours = range(start, start + matrix.size)
            of = gradient[ours.start : ours.stop].view(matrix.count, matrix.rows, matrix.columns)
            now = values[ours.start : ours.stop].view(matrix.count, matrix.rows, matrix.columns)
            now *= 1.0 - rate * recipe.weight_decay * rule.decay
            if rule.kind.module in ("attention", "feedforward"):
                for expert in range(matrix.count):
                    for left in range(0, matrix.columns, columns):
                        part = of[expert, :, left : left + columns]
                        momentum = memory.setdefault(start + expert * 10_000 + left, [torch.zeros_like(part)])
                        momentum[0] = recipe.momentum * momentum[0] + part
                        update = newton_schulz(part + recipe.momentum * momentum[0])
                        size = 0.2 * math.sqrt(max(part.shape))
                        now[expert, :, left : left + columns] -= rate * size * update
            else:
                first, second = memory.setdefault(-start - 1, [torch.zeros_like(of), torch.zeros_like(of)])
                first += (of - first) * (1.0 - recipe.beta1)
                second += (of**2 - second) * (1.0 - recipe.beta2)
                roots = (second / (1.0 - recipe.beta2**step)).sqrt() + recipe.epsilon * rule.epsilon
                now -= rate * first / (1.0 - recipe.beta1**step) / roots
            start = ours.stop
    return values


def newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    x = matrix / matrix.norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    return x


@pytest.mark.parametrize("parametrization", [Parametrization(), MUP])
@pytest.mark.parametrize("vectorized", [False, True])
def test_muon_moves_as_a_plain_reference_does(parametrization, vectorized):
    recipe = recipe_of(MIXTURE, optimizer="muon", parametrization=parametrization, clip=0.5)
    gradients = drawn(recipe)
    found = moved(recipe, MEMBERS, gradients, vectorized=vectorized)
    for member, values in zip(MEMBERS, found, strict=True):
        assert torch.allclose(values.double(), plain_muon(recipe, member, gradients), atol=2e-6, rtol=0.0)


def test_queries_keys_and_values_are_orthogonalized_each():
    """A large gradient of the values shortens no step of the queries."""
    recipe = recipe_of(DENSE, optimizer="muon", weight_decay=0.0)
    (gradient,) = drawn(recipe, 1)
    places, start = {}, 0
    for matrix in layout(recipe):
        places[matrix.name] = slice(start, start + matrix.size)
        start += matrix.size
    louder = gradient.clone()
    louder[places["attention_in.0"]].view(16, 3, 16)[:, 2] *= 30.0
    before = Stack.initial(ProxyModel(recipe, CPU), 1).parameters[0]
    steps = []
    for given in (gradient, louder):
        change = moved(recipe, MEMBERS[:1], [given])[0] - before
        steps.append(change[places["attention_in.0"]].view(16, 3, 16).square().mean((0, 2)).sqrt())
    assert steps[1].tolist() == pytest.approx(steps[0].tolist(), rel=1e-3)
    assert steps[0].tolist() == pytest.approx([2e-4] * 3, rel=0.3)


@pytest.mark.parametrize("shape", [DENSE, MIXTURE])
@pytest.mark.parametrize("parametrization", [Parametrization(), MUP])
def test_one_kernel_for_all_members_moves_as_the_fused_one_does(shape, parametrization):
    if shape is DENSE and parametrization is MUP:
        parametrization = replace(MUP, base=BaseScale(width=8, depth=1))
    recipe = recipe_of(shape, parametrization=parametrization)
    gradients = drawn(recipe, 6)
    fused, vectorized = (moved(recipe, MEMBERS, gradients, vectorized=v) for v in (False, True))
    assert torch.allclose(fused, vectorized, atol=1e-7, rtol=1e-6)
    assert not torch.equal(fused[0], fused[1])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_member_leaves_the_others_bit_for_bit_alone(optimizer, vectorized, broken):
    recipe = recipe_of(MIXTURE, optimizer=optimizer)
    model = ProxyModel(recipe, CPU)
    found = []
    for spoil in (False, True):
        stack, own = Stack.initial(model, 3), StackOptimizer(model, vectorized=vectorized)
        for step, gradient in enumerate(drawn(recipe), start=1):
            gradients = gradient.repeat(3, 1)
            if spoil:
                gradients[1, ::7] = broken
            own.update(
                stack.parameters, gradients, (stack.first_moments, stack.second_moments), step, MEMBERS
            )
        found.append(stack.parameters)
    assert not found[1][1].isfinite().all()
    assert torch.equal(found[0][[0, 2]], found[1][[0, 2]])


def test_muon_learns_at_the_rates_of_adamw(corpus, make_job):
    ends = []
    for optimizer in ("adamw", "muon"):
        job = make_job([4e-3], (200,), shape=Shape(width=32, depth=2), optimizer=optimizer)
        ends.append(Training(job, corpus).advance()[-1].loss)
    adamw, muon = ends
    assert muon == pytest.approx(adamw, abs=0.15)
    assert muon < 3.0
