"""Coordinate checks: under mup all activations have the same size at every scale after a few updates.

As in Tensor Programs V (arXiv 2203.03466, appendix D.1) and CompleteP (arXiv 2505.01618, appendix). A slope is that of
the log of the root mean square over the log of the scale: 0 is constant, 1 grows with the scale.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch

from trainer import BaseScale, Experts, Parametrization, Recipe, Schedule, Shape, load_corpus
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import HookPoint, ProxyModel
from trainer.stack import Stack

UPDATES, LEARNING_RATE = 8, 1.5e-2
BATCH_TOKENS = 128
WIDTHS, DEPTHS = (16, 64, 256), (2, 6, 16)
FLAT, GROWING = 0.22, 0.22

Size = float
Coordinates = dict[str, tuple[Size, Size]]
"""Root mean squares by point, mean over blocks: of the activations, and of their change since the start."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Proxies of growing scale, and the base of mup."""

    shape: Callable[[int], Shape]
    base: BaseScale
    optimizer: Literal["adamw", "muon"] = "adamw"

    def recipe(self, scale: int, kind: str) -> Recipe:
        mup = Parametrization(base=self.base, rules=frozenset({"depth"}))
        return Recipe(
            shape=self.shape(scale),
            schedule=Schedule(warmup_tokens=0),
            batch_tokens=BATCH_TOKENS,
            optimizer=self.optimizer,
            parametrization=mup if kind == "mup" else Parametrization(),
        )


def mixture(width: int, expert_width: int, depth: int = 2) -> Shape:
    return Shape(width=width, depth=depth, experts=Experts(count=4, top_k=2, width=expert_width))


DENSE = Family(
    shape=lambda width: Shape(width=width, depth=2), base=BaseScale(width=16, depth=2, head_width=16)
)
MIXTURE = Family(
    shape=lambda width: mixture(width, width),
    base=BaseScale(width=16, depth=2, head_width=16, expert_width=32),
)
FIXED_EXPERTS = Family(
    shape=lambda width: mixture(width, 32),
    base=BaseScale(width=16, depth=2, head_width=16, expert_width=64),
)
MUON = Family(shape=MIXTURE.shape, base=MIXTURE.base, optimizer="muon")
WIDER_EXPERTS = Family(
    shape=lambda width: mixture(16, width), base=BaseScale(width=16, depth=2, head_width=16, expert_width=32)
)
DEEP = Family(
    shape=lambda depth: Shape(width=32, depth=depth),
    base=BaseScale(width=32, depth=2),
)
DEEP_MIXTURE = Family(
    shape=lambda depth: mixture(32, 32, depth),
    base=BaseScale(width=32, depth=2, expert_width=64),
)
FAMILIES = {
    "dense": DENSE,
    "mixture": MIXTURE,
    "mixture of fixed experts": FIXED_EXPERTS,
    "mixture, moved by Muon": MUON,
}
DEEP_FAMILIES = {"deep dense": DEEP, "deep mixture": DEEP_MIXTURE}
EVERY_FAMILY = {**FAMILIES, **DEEP_FAMILIES, "wider experts": WIDER_EXPERTS}


@cache
def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(load_corpus("stdlib").batch(0, number, BATCH_TOKENS // 64, 64))
    return tokens[:, :-1], tokens[:, 1:]


def rms(x: torch.Tensor) -> Size:
    return float(x.pow(2).mean().sqrt())


@torch.no_grad()
def passing(model: ProxyModel, stack: Stack) -> dict[str, list[torch.Tensor]]:
    """Activations by point on one batch, and the residual stream after the last block."""
    seen: dict[str, list[torch.Tensor]] = {}

    def hook(place: HookPoint, block: int, x: torch.Tensor) -> None:
        seen.setdefault(place, []).append(x.clone())

    model.forward(stack.parameters, stack.balance, *batch(99), hook=hook)
    added = [*seen["embedding"], *seen["attention"], *seen["feedforward"]]
    return seen | {"stream": [torch.stack(added).sum(0)]}


@cache
def trained(family: str, kind: str, scale: int) -> tuple[ProxyModel, Stack, Coordinates]:
    """A proxy after a few updates, and its coordinates."""
    model = ProxyModel(EVERY_FAMILY[family].recipe(scale, kind), torch.device("cpu"))
    optimizer, stack = StackOptimizer(model), Stack.initial(model, 1)
    before = passing(model, stack)
    for number in range(UPDATES):
        stack.train(model, optimizer, *batch(number), [MemberRates(learning_rate=LEARNING_RATE)])
    after = passing(model, stack)
    seen = {
        place: (
            float(np.mean([rms(x) for x in after[place]])),
            float(np.mean([rms(x - y) for x, y in zip(after[place], before[place], strict=True)])),
        )
        for place in after
    }
    return model, stack, seen


def slope(sizes: Iterable[Size], scales: Iterable[int]) -> float:
    return float(np.polyfit(np.log(list(scales)), np.log(list(sizes)), 1)[0])


@cache
def coordinates(family: str, kind: str, scales: tuple[int, ...]) -> dict[str, tuple[float, float]]:
    """The slopes of each place and of its change."""
    seen = [trained(family, kind, scale)[2] for scale in scales]
    return {
        place: (slope((s[place][0] for s in seen), scales), slope((s[place][1] for s in seen), scales))
        for place in seen[0]
    }


PLACES = [
    (family, place)
    for family in FAMILIES
    for place in ("embedding", "attention_logits", "attention", "feedforward", "router", "head", "stream")
    if (family, place) != ("dense", "router")
]


@pytest.mark.parametrize(("family", "place"), PLACES)
def test_mup_is_flat_over_width(family: str, place: str):
    passes, moves = coordinates(family, "mup", WIDTHS)[place]
    assert abs(passes) < FLAT
    assert abs(moves) < FLAT


@pytest.mark.parametrize(
    ("family", "place"),
    [(family, place) for family, place in PLACES if place not in ("embedding", "attention_logits")],
)
def test_standard_moves_more_at_a_larger_width(family: str, place: str):
    """Except the embedding, which has the same rate, and attention logits, which are capped by the norm of queries and keys."""
    _, moves = coordinates(family, "standard", WIDTHS)[place]
    assert moves > GROWING


def test_mup_is_flat_over_the_experts_width():
    passes, moves = coordinates("wider experts", "mup", WIDTHS)["feedforward"]
    assert abs(passes) < FLAT
    assert abs(moves) < FLAT


def test_standard_grows_with_the_experts_width():
    passes, moves = coordinates("wider experts", "standard", WIDTHS)["feedforward"]
    assert passes > GROWING
    assert moves > GROWING


@pytest.mark.parametrize("family", DEEP_FAMILIES)
def test_the_rule_depth_keeps_the_residual_stream_flat_over_depth(family: str):
    passes, moves = coordinates(family, "mup", DEPTHS)["stream"]
    assert abs(passes) < FLAT
    assert abs(moves) < FLAT


@pytest.mark.parametrize("place", ["attention", "feedforward"])
@pytest.mark.parametrize("family", DEEP_FAMILIES)
def test_the_rule_depth_lets_every_block_add_its_share(family: str, place: str):
    passes, moves = coordinates(family, "mup", DEPTHS)[place]
    assert passes == pytest.approx(-1, abs=FLAT)
    assert moves == pytest.approx(-1, abs=FLAT)


@pytest.mark.parametrize("family", DEEP_FAMILIES)
def test_standard_grows_with_depth(family: str):
    passes, moves = coordinates(family, "standard", DEPTHS)["stream"]
    assert passes > GROWING
    assert moves > GROWING


def gradients_over_epsilon(model: ProxyModel, stack: Stack) -> dict[str, Size]:
    """Root mean squares by kind of parameter."""
    parameters = stack.parameters.requires_grad_()
    losses = model.forward(parameters, stack.balance, *batch(99)).losses
    (gradient,) = torch.autograd.grad(losses.sum(), parameters)
    parts = torch.split(gradient[0], [matrix.size for matrix in model.matrices])
    found: dict[str, list[Size]] = {}
    for matrix, part in zip(model.matrices, parts, strict=True):
        found.setdefault(matrix.rule.kind.name, []).append(rms(part) / matrix.rule.epsilon)
    return {kind: float(np.mean(sizes)) for kind, sizes in found.items()}


@pytest.mark.parametrize(
    ("family", "scales"),
    [("dense", WIDTHS), ("mixture", WIDTHS), ("deep dense", DEPTHS), ("deep mixture", DEPTHS)],
)
def test_epsilon_falls_as_the_gradients_do(family: str, scales: tuple[int, ...]):
    """Except the router, whose gradient at these widths falls more slowly than in arXiv 2601.20205."""
    seen = [gradients_over_epsilon(*trained(family, "mup", scale)[:2]) for scale in scales]
    slopes = {kind: slope((each[kind] for each in seen), scales) for kind in seen[0] if kind != "router"}
    assert {kind: found for kind, found in slopes.items() if abs(found) >= 0.35} == {}
