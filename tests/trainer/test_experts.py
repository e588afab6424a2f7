"""A mixture of experts against loops over single tokens, and its load balancing."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainer import Experts, Recipe, Schedule, Shape
from trainer.exceptions import BadShape
from trainer.experts import mixture, route
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel, initial_parameters, layout
from trainer.stack import Stack


def experts(**fields) -> Experts:
    return Experts(**{"count": 4, "top_k": 2, "width": 24} | fields)


def moe(**fields) -> Shape:
    return Shape(width=16, depth=2, context=32, experts=experts(**fields))


def one_by_one(x, logits, bias, inwards, outwards, top_k):
    """The same mixture for one member, token by token and expert by expert."""
    rows = []
    for row, own in zip(x, torch.sigmoid(logits), strict=True):
        chosen = sorted(range(len(own)), key=lambda e: (own + bias)[e].item(), reverse=True)[:top_k]
        total = sum(own[e] for e in chosen) if top_k > 1 else 0.5
        outputs = [functional.relu(row @ inwards[e]) ** 2 @ outwards[e] for e in chosen]
        rows.append(sum(top_k * own[e] / total * output for e, output in zip(chosen, outputs, strict=True)))
    return torch.stack(rows)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_a_mixture_is_its_experts_one_by_one_with_the_same_gradients(top_k):
    torch.manual_seed(1)
    mix = experts(top_k=top_k)
    shapes = ((3, 40, 16), (3, 40, 4), (3, 4, 16, 24), (3, 4, 24, 16))
    stacked = [torch.randn(shape, requires_grad=True) for shape in shapes]
    alone = [part.detach().clone().requires_grad_() for part in stacked]
    bias = torch.randn(3, 4)
    x, logits, inwards, outwards = stacked
    output = mixture(x, route(logits, bias, mix), inwards, outwards)
    expected = torch.stack(
        [
            one_by_one(
                *(part[member] for part in alone[:2]), bias[member], *(p[member] for p in alone[2:]), top_k
            )
            for member in range(3)
        ]
    )
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), stacked)
    wanted = torch.autograd.grad((expected * weights).sum(), alone, materialize_grads=True)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-3, atol=1e-3)


def test_every_token_keeps_its_experts_however_full_they_are():
    """All tokens of one member choose the same two experts: no token is dropped."""
    logits = torch.full((2, 64, 4), -4.0)
    logits[0, :, 1:3] = 4.0
    logits[1, :, 3] = 4.0
    routing = route(logits, torch.zeros(2, 4), experts())
    assert sorted(routing.chosen[0].unique().tolist()) == [1, 2]
    assert routing.loads[0].tolist() == [0.0, 0.5, 0.5, 0.0]
    assert routing.loads[1, 3] == 0.5
    torch.testing.assert_close(routing.weights.sum(-1), torch.full((2, 64), 2.0))


def test_a_bias_chooses_but_does_not_weigh():
    logits, none = torch.randn(1, 8, 4), torch.zeros(1, 4)
    pushed = route(logits, torch.tensor([[10.0, 10.0, 0.0, 0.0]]), experts())
    assert sorted(pushed.chosen.unique().tolist()) == [0, 1]
    scores = torch.sigmoid(logits).gather(-1, pushed.chosen)
    torch.testing.assert_close(pushed.weights, 2 * scores / scores.sum(-1, keepdim=True))
    assert pushed.penalty.tolist() == [0.0]
    assert route(logits, none, experts(balance="loss")).penalty.item() > 0.0


def test_the_router_of_a_single_choice_learns():
    logits = torch.randn(1, 8, 4, requires_grad=True)
    weights = route(logits, torch.zeros(1, 4), experts(top_k=1)).weights
    torch.testing.assert_close(weights, 2 * torch.sigmoid(logits).amax(-1, keepdim=True))
    (gradient,) = torch.autograd.grad(weights.sum(), logits)
    assert gradient.abs().sum() > 0.0


def test_the_balancing_loss_is_least_for_even_loads():
    """Switch Transformer's E · Σ share · score is 1 where both are even, and more the more they agree."""
    mix = experts(top_k=1, balance="loss", balance_rate=1.0)
    even = torch.eye(4).repeat(8, 1)[None] * 1e-3
    skewed = torch.tensor([3.0, 0.0, 0.0, 0.0]).expand(1, 32, 4)
    assert route(even, torch.zeros(1, 4), mix).penalty.item() == pytest.approx(1.0, abs=1e-3)
    assert route(skewed, torch.zeros(1, 4), mix).penalty.item() > 1.2


def imbalance(corpus, rate: float | None, balance: str = "bias") -> float:
    """Largest load over the mean after some steps of training."""
    shape = Shape(
        width=16, depth=2, experts=Experts(count=8, top_k=2, width=16, balance=balance, balance_rate=rate)
    )
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=256)
    model = ProxyModel(recipe, torch.device("cpu"))
    stack, optimizer = Stack.initial(model, 1), StackOptimizer(model)
    loads = []
    for step in range(120):
        tokens = torch.from_numpy(corpus.batch(0, step, 4, 64))
        result = stack.train(
            model, optimizer, tokens[:, :-1], tokens[:, 1:], [MemberRates(learning_rate=1e-2)]
        )
        loads.append(result.loads)
    return float(torch.stack(loads[-20:]).mean(0).amax(-1).mean() * 8)


@pytest.mark.parametrize(("balance", "weak", "strong"), [("bias", 1e-9, 1e-2), ("loss", 1e-9, 1e-1)])
def test_balancing_evens_the_loads(corpus, balance, weak, strong):
    assert imbalance(corpus, strong, balance) < 0.8 * imbalance(corpus, weak, balance)


@pytest.mark.parametrize("fields", [{}, {"shared": 2, "top_k": 1}])
def test_parameters_are_counted_as_they_lie(fields):
    shape = moe(**fields)
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=32)
    sizes = {matrix.name: matrix.size for matrix in layout(recipe)}
    hidden = sum(size for name, size in sizes.items() if name not in {"embedding", "head"})
    idle = sum(size for name, size in sizes.items() if name.startswith("expert"))
    mix = shape.experts
    assert shape.params_total == hidden
    assert shape.params_active == hidden - idle * (mix.count - mix.top_k) // mix.count
    assert shape.parameters == sum(sizes.values()) == initial_parameters(recipe).numel()
    assert shape.flops_per_token == 6 * shape.params_active


def test_all_experts_with_even_scores_are_one_dense_part():
    """With every expert active and a router of zeros a mixture is the dense feed-forward part of their width."""
    torch.manual_seed(2)
    x, mix = torch.randn(1, 12, 16), experts(count=3, top_k=3, width=8)
    inwards, outwards = torch.randn(1, 3, 16, 8), torch.randn(1, 3, 8, 16)
    mixed = mixture(x, route(torch.zeros(1, 12, 3), torch.zeros(1, 3), mix), inwards, outwards)
    wide = nn.Linear(16, 24, bias=False), nn.Linear(24, 16, bias=False)
    wide[0].weight.data = inwards[0].transpose(1, 2).reshape(24, 16)
    wide[1].weight.data = outwards[0].reshape(24, 16).T
    torch.testing.assert_close(mixed[0], wide[1](functional.relu(wide[0](x[0])) ** 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"count": 1}, "experts.count"),
        ({"top_k": 0}, "experts.top_k"),
        ({"top_k": 5}, "experts.top_k"),
        ({"width": 0}, "experts.width"),
        ({"shared": -1}, "experts.shared"),
        ({"balance": "luck"}, "experts.balance"),
        ({"balance_rate": 0.0}, "experts.balance_rate"),
        ({"balance_rate": 1.5}, "experts.balance_rate"),
    ],
)
def test_a_bad_mixture_names_its_field(fields, field):
    value = next(iter(fields.values()))
    with pytest.raises(BadShape, match=rf"^shape: {field} is {value!r}; allowed: .+"):
        experts(**fields)
