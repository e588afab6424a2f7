"""The dense GPT, for K members at once: every matrix is a [K, in, out] view of one tensor [K, P]."""

from contextlib import nullcontext
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from trainer.operators import head_loss, lookup, rms_norm, rotary, rotation, squared_relu
from trainer.recipe import Recipe
from trainer.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One parameter of one member: its place in the layout and how it starts.

    Attributes:
        name: `embedding`, `head`, or a block's kind and number such as `attention_in.0`.
        rows: Input width (the vocabulary for the embedding).
        columns: Output width.
        std: Standard deviation of its initial values.
    """

    name: str
    rows: int
    columns: int
    std: float

    @property
    def size(self) -> int:
        """Its number of parameters."""
        return self.rows * self.columns


def layout(recipe: Recipe) -> tuple[Matrix, ...]:
    """The matrices of one member, in the order in which they lie in its P parameters.

    Hidden matrices start at 1 / √fan-in; those that write to the residual stream are divided by √(2·depth)
    besides (GPT-2), so that the stream's size does not grow with depth.
    """
    shape, width = recipe.shape, recipe.shape.width
    hidden = shape.feedforward * width
    residual = 1.0 / sqrt(2 * shape.depth)
    blocks = [
        Matrix(name=f"{kind}.{block}", rows=rows, columns=columns, std=scale / sqrt(rows))
        for block in range(shape.depth)
        for kind, rows, columns, scale in (
            ("attention_in", width, 3 * width, 1.0),
            ("attention_out", width, width, residual),
            ("feedforward_in", width, hidden, 1.0),
            ("feedforward_out", hidden, width, residual),
        )
    ]
    embedding = Matrix(name="embedding", rows=shape.vocab_size, columns=width, std=recipe.embedding_std)
    head = Matrix(name="head", rows=width, columns=shape.vocab_size, std=1.0 / sqrt(width))
    return (embedding, *blocks, head)


def initial_parameters(recipe: Recipe) -> Tensor:
    """The P parameters that every member of a stack starts from; the recipe's seed alone decides them."""
    generator = torch.Generator().manual_seed(recipe.seed)
    return torch.cat([torch.randn(m.size, generator=generator) * m.std for m in layout(recipe)])


class Model:
    """The losses of K members as a function of their stacked parameters."""

    def __init__(self, recipe: Recipe, device: torch.device, *, precision: torch.dtype | None = None) -> None:
        """Prepares the layout and the rotary factors.

        Args:
            recipe: Shape and initialization.
            device: Where the parameters will be.
            precision: Type of the matrix products; None takes bfloat16 on a GPU and float32 on a CPU, where
                bfloat16 is slower. The residual stream, norms and losses are float32 in any case.
        """
        shape = recipe.shape
        self.recipe = recipe
        self.device = device
        self.precision = precision or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.matrices = layout(recipe)
        self.rotation = rotation(shape.context, 2 * shape.head_count, shape.head_width).to(device)
        self.logit_scale = (recipe.qk_scale if shape.qk_norm else 1.0) / sqrt(shape.head_width)
        self._sizes = [matrix.size for matrix in self.matrices]

    def losses(self, parameters: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of each member on one batch that all share.

        Args:
            parameters: [K, P].
            inputs: Token ids [sequences, context].
            targets: The tokens that follow each of them, [sequences, context].

        Returns:
            Nats per token, float32 [K].
        """
        lower = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision) if lower else nullcontext():
            return self._forward(self._views(parameters), inputs.flatten(), targets.flatten())

    def _forward(self, matrices: list[Tensor], tokens: Tensor, targets: Tensor) -> Tensor:
        embedding, *blocks, head = matrices
        x = lookup(embedding, tokens)
        for first in range(0, len(blocks), 4):
            attention_in, attention_out, feedforward_in, feedforward_out = blocks[first : first + 4]
            mixed = self._attention(torch.bmm(rms_norm(x), attention_in), self.recipe.shape)
            x = self._add_product(x, mixed, attention_out)
            hidden = squared_relu(torch.bmm(rms_norm(x), feedforward_in))
            x = self._add_product(x, hidden, feedforward_out)
        return head_loss(rms_norm(x), head, targets)

    def _views(self, parameters: Tensor) -> list[Tensor]:
        members = parameters.shape[0]
        return [
            values.view(members, matrix.rows, matrix.columns)
            for matrix, values in zip(self.matrices, torch.split(parameters, self._sizes, dim=1), strict=True)
        ]

    def _attention(self, projected: Tensor, shape: Shape) -> Tensor:
        """Causal attention within each sequence: [K, R, 3·W] to [K, R, W]."""
        members, rows, _ = projected.shape
        heads, head_width = shape.head_count, shape.head_width
        projected = projected.view(-1, shape.context, 3 * heads, head_width)
        both, value = torch.split(projected, [2 * heads, heads], dim=2)
        turned = rotary(both.float(), self.rotation, normalize=shape.qk_norm).to(value.dtype)
        query, key = torch.split(turned, heads, dim=2)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            is_causal=True,
            scale=self.logit_scale,
        )
        return mixed.transpose(1, 2).reshape(members, rows, shape.width)

    def _add_product(self, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """The residual stream plus a product: one kernel, unless the product has a lower precision."""
        if self.precision != torch.float32:
            return x + torch.bmm(left, right)
        return torch.baddbmm(x, left, right)
