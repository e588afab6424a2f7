"""The stack against a plain model, written independently with nothing but PyTorch's own modules."""

import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional

from trainer import Recipe, Schedule, Shape
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import ProxyModel, initial_parameters, layout
from trainer.stack import Stack


def turn(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions on [sequences, heads, context, head width], pair by pair, in real numbers."""
    context, width = x.shape[-2:]
    angle = torch.arange(context)[:, None] * 10_000.0 ** -(torch.arange(0, width, 2) / width)
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class PlainBlock(nn.Module):
    def __init__(self, recipe: Recipe):
        super().__init__()
        self.recipe = recipe
        width, hidden = recipe.shape.width, recipe.shape.hidden
        self.attention_in = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.feedforward_in = nn.Linear(width, hidden, bias=False)
        self.feedforward_out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequences, context, width = x.shape
        shape, heads = self.recipe.shape, (sequences, context, self.recipe.shape.heads, -1)
        projected = self.attention_in(functional.rms_norm(x, (width,))).chunk(3, dim=-1)
        query, key, value = (part.reshape(heads).transpose(1, 2) for part in projected)
        scale = query.shape[-1] ** -0.5
        if shape.qk_norm:
            query, key = (functional.rms_norm(part, part.shape[-1:]) for part in (query, key))
            scale *= self.recipe.qk_scale
        logits = turn(query) @ turn(key).transpose(-1, -2) * scale
        hidden = torch.triu(torch.ones(context, context, dtype=torch.bool), diagonal=1)
        mixed = torch.softmax(logits.masked_fill(hidden, -torch.inf), dim=-1) @ value
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.feedforward_out(
            functional.relu(self.feedforward_in(functional.rms_norm(x, (width,)))) ** 2
        )


class PlainModel(nn.Module):
    def __init__(self, recipe: Recipe):
        super().__init__()
        shape = recipe.shape
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.Sequential(*(PlainBlock(recipe) for _ in range(shape.depth)))
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        values = torch.split(initial_parameters(recipe), [matrix.size for matrix in layout(recipe)])
        for matrix, value in zip(layout(recipe), values, strict=True):
            kind, _, block = matrix.name.partition(".")
            owner = self.blocks[int(block)] if block else self
            weight = value.view(matrix.rows, matrix.columns)
            getattr(owner, kind).weight.data = (weight if kind == "embedding" else weight.T).clone()

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.embedding(inputs))
        logits = self.head(functional.rms_norm(x, x.shape[-1:]))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@pytest.mark.parametrize(
    "shape",
    [
        Shape(width=16, depth=3),
        Shape(width=32, depth=2),
        Shape(width=24, depth=2, heads=2, context=16, qk_norm=False),
    ],
)
def test_a_stack_trains_like_plain_models(corpus, shape):
    rates, sequences = (1e-3, 4e-3), 4
    recipe = Recipe(
        shape=shape, schedule=Schedule(warmup_tokens=0), batch_tokens=sequences * shape.context, clip=0.5
    )
    plain = [PlainModel(recipe) for _ in rates]
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.1)
        for model, rate in zip(plain, rates, strict=True)
    ]
    stacked = ProxyModel(recipe, torch.device("cpu"))
    stack, optimizer = Stack.initial(stacked, len(rates)), StackOptimizer(stacked)
    for step in range(60):
        tokens = torch.from_numpy(corpus.batch(0, step, sequences, shape.context))
        batch = tokens[:, :-1], tokens[:, 1:]
        expected = []
        for model, own in zip(plain, optimizers, strict=True):
            own.zero_grad()
            loss = model(*batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            own.step()
            expected.append(loss.item())
        result = stack.train(stacked, optimizer, *batch, [MemberRates(learning_rate=rate) for rate in rates])
        assert result.losses.tolist() == pytest.approx(expected, abs=3e-5)


def losses(corpus, *, depth: int = 2, **how) -> list[float]:
    """The losses of three rates after 40 updates."""
    recipe = Recipe(shape=Shape(width=32, depth=depth), schedule=Schedule(warmup_tokens=0), batch_tokens=256)
    model = ProxyModel(recipe, torch.device("cpu"), **how)
    rates = [MemberRates(learning_rate=rate) for rate in (2e-3, 4e-3, 8e-3)]
    stack, optimizer = Stack.initial(model, len(rates)), StackOptimizer(model, vectorized=model.compiled)
    for step in range(40):
        tokens = torch.from_numpy(corpus.batch(0, step, recipe.sequences, recipe.shape.context))
        last = stack.train(model, optimizer, tokens[:, :-1], tokens[:, 1:], rates).losses
    assert {last.dtype, stack.parameters.dtype} == {torch.float32}
    return last.tolist()


def test_products_in_bfloat16_train_alike_and_keep_parameters_in_float32(corpus):
    """A GPU's default precision, tested on a CPU."""
    full, half = losses(corpus), losses(corpus, precision=torch.bfloat16)
    assert half == pytest.approx(full, abs=0.03)
    assert half != full


@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="no C++ compiler here"
)
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of PyTorch's compiler at PyTorch.
def test_a_compiled_training_trains_alike(corpus):
    assert losses(corpus, depth=1, compiled=True) == pytest.approx(losses(corpus, depth=1), abs=2e-3)
