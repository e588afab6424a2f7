"""Differentiable operators for which PyTorch has no fused kernel on a CPU.

Their gradients are written by hand, which saves kernels, passes over memory and autograd nodes. Each works on a whole
stack, so K members take as many launches as one, and keeps the members apart.

| symbol | meaning |
|---|---|
| K | members of the stack |
| R | rows: tokens of one batch |
| W, V | width, vocabulary |
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional


def lookup(tables: Tensor, tokens: Tensor) -> Tensor:
    """Rows [K, R, W] of each member's embedding table [K, V, W] for tokens [R], the same for all members."""
    return _apply(_Lookup, tables, tokens)


def rms_norm(x: Tensor) -> Tensor:
    """X / rms(x) over the last dimension, without gain (arXiv 1910.07467); the rms is at least 1e-12."""
    return _apply(_RmsNorm, x)


def rotary(x: Tensor, factors: Tensor, *, normalize: bool) -> Tensor:
    """Queries and keys rotated by their positions (arXiv 2104.09864), normalized before if `normalize`.

    Args:
        x: [sequences, context, heads, head width].
        factors: From `rotation`, [context, heads, head width / 2].
        normalize: Whether to divide each head's vector by its rms.
    """
    return _apply(_Rotary, x, factors, normalize)


def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0)² (arXiv 2109.08668)."""
    return _apply(_SquaredRelu, x)


def dispatch(x: Tensor, order: Tensor, inverse: Tensor, copies: int) -> Tensor:
    """Copies of the rows [R, W] in another order, [R·copies, W].

    Args:
        x: The rows.
        order: Number of the row at each position, [R·copies]; copy c of row r has number r·copies + c.
        inverse: The inverse permutation of `order`.
        copies: Copies of each row.
    """
    return _apply(_Dispatch, x, order, inverse, copies)


def permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Rows [R, W] in another order, each once; the gradient is permuted back, without sums."""
    return _apply(_Permute, x, order, inverse)


def grouped_product(x: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """The rows of each group times its matrix, [R, H].

    Args:
        x: Rows [R, W], group after group.
        matrices: One for each group, [G, W, H].
        ends: End of each group, int32 [G], ascending to R.
    """
    if torch.compiler.is_compiling() and x.dtype != torch.bfloat16:
        return _apply(_GroupedProduct, x, matrices, ends)
    return functional.grouped_mm(x, matrices, offs=ends)


def head_loss(x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Output head and mean cross-entropy in one, so that the logits need only one buffer.

    Args:
        x: [K, R, W].
        head: [K, W, V].
        targets: Token ids [R].

    Returns:
        Nats per token, float32 [K]. A token's loss is at most 87, where its probability underflows float32.
    """
    return _apply(_HeadLoss, x, head, targets)


def rotation(context: int, heads: int, head_width: int, *, real: bool = False) -> Tensor:
    """The rotation of each position and pair, complex64 [context, heads, head width / 2].

    Repeated over the heads, so that the product runs over long contiguous rows.

    Args:
        context: Positions.
        heads: Of queries and keys together.
        head_width: Of one head.
        real: Returns cosines and sines, float32 [context, heads, head width / 2, 2], which a compiler can fuse;
            on a CPU complex products are faster.
    """
    pairs = head_width // 2
    frequencies = 10_000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    factors = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
    factors = factors[:, None, :].expand(context, heads, pairs).contiguous()
    return torch.view_as_real(factors).clone() if real else factors


def _apply(function: type[Function], *arguments: object) -> Tensor:
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def _rms(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.mul_(x.shape[-1] ** -0.5).clamp_min_(1e-12)


def _normalized_gradient(gradient: Tensor, output: Tensor, rms: Tensor) -> Tensor:
    """Gradient of x ↦ x / rms(x): the part orthogonal to x, over rms(x)."""
    along = (gradient * output).sum(-1, keepdim=True)
    return torch.addcmul(gradient, output, along, value=-1.0 / output.shape[-1]).div_(rms)


def _rotate(x: Tensor, factors: Tensor, *, back: bool = False) -> Tensor:
    """Pairs of the last dimension as complex numbers, times their factor, or its conjugate if `back`."""
    pairs = x.view(*x.shape[:-1], -1, 2)
    if factors.is_complex():
        turned = torch.view_as_complex(pairs) * (factors.conj_physical() if back else factors)
        return torch.view_as_real(turned).flatten(-2)
    (first, second), (cos, sin) = pairs.unbind(-1), factors.unbind(-1)
    sin = -sin if back else sin
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)


class _Lookup(Function):
    @staticmethod
    def forward(ctx: Any, tables: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape = tables.shape
        return tables.index_select(1, tokens)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (tokens,) = ctx.saved_tensors
        members, vocab, width = ctx.shape
        # Sums rows in the order of the tokens, so that a member has the same gradient alone and in a stack.
        rows = tokens + vocab * torch.arange(members, device=tokens.device)[:, None]
        # A custom operator keeps that order when compiled; a compiler would add in any order.
        gradient, rows = gradient.reshape(-1, width), rows.flatten()
        if torch.compiler.is_compiling():
            summed = torch.ops.etalon.row_sums(gradient, rows, members * vocab)
        else:
            summed = _row_sums(gradient, rows, members * vocab)
        return summed.view(members, vocab, width), None


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rms = _rms(x)
        output = x / rms
        ctx.save_for_backward(output, rms)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _normalized_gradient(gradient, *ctx.saved_tensors)


class _Rotary(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Tensor, normalize: bool) -> Tensor:
        rms = _rms(x) if normalize else None
        output = _rotate(x.contiguous() if rms is None else x / rms, factors)
        ctx.save_for_backward(factors, *(() if rms is None else (output, rms)))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # The rotation commutes with the norm, so the gradient of both follows from the rotated output.
        factors, *normalized = ctx.saved_tensors
        if normalized:
            gradient = _normalized_gradient(gradient, *normalized)
        return _rotate(gradient.contiguous(), factors, back=True), None, None


class _SquaredRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        rectified = x.clamp_min(0.0)
        ctx.save_for_backward(rectified)
        return rectified * rectified

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rectified,) = ctx.saved_tensors
        doubled: Tensor = (gradient * rectified).mul_(2.0)
        return doubled


class _Dispatch(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor, copies: int) -> Tensor:
        ctx.save_for_backward(inverse)
        ctx.copies = copies
        return x.index_select(0, torch.div(order, copies, rounding_mode="floor"))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (inverse,) = ctx.saved_tensors
        back = gradient.index_select(0, inverse)
        return back.view(-1, ctx.copies, gradient.shape[-1]).sum(1), None, None, None


class _Permute(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None


class _GroupedProduct(Function):
    """For compilation: `torch.compile` supports the grouped product in bfloat16 only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrices, ends)
        product: Tensor = _grouped_rows(x, matrices, ends)
        return product

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, matrices, ends = ctx.saved_tensors
        back = _grouped_rows(gradient, matrices.transpose(1, 2), ends)
        return back, _grouped_outer(x, gradient, ends), None


def _row_sums(x: Tensor, rows: Tensor, count: int) -> Tensor:
    summed: Tensor = torch.ops.aten.embedding_dense_backward(x, rows, count, -1, False)
    return summed


torch.library.custom_op("etalon::row_sums", _row_sums, mutates_args=()).register_fake(
    lambda x, _rows, count: x.new_empty(count, x.shape[1])
)


@torch.library.custom_op("etalon::grouped_rows", mutates_args=())
def _grouped_rows(x: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    return functional.grouped_mm(x.contiguous(), matrices, offs=ends)


@torch.library.custom_op("etalon::grouped_outer", mutates_args=())
def _grouped_outer(x: Tensor, y: Tensor, ends: Tensor) -> Tensor:
    return functional.grouped_mm(x.contiguous().T, y.contiguous(), offs=ends)


_grouped_rows.register_fake(lambda x, matrices, _ends: x.new_empty(x.shape[0], matrices.shape[2]))
_grouped_outer.register_fake(lambda x, y, ends: x.new_empty(ends.shape[0], x.shape[1], y.shape[1]))


class _HeadLoss(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        members, rows, _ = x.shape
        error = torch.softmax(torch.bmm(x, head).float(), dim=-1)
        index = targets.expand(members, rows).unsqueeze(-1)
        chosen = error.gather(-1, index)
        losses: Tensor = chosen.clamp_min(1e-38).log_().mean(dim=(1, 2)).neg_()
        if not any(ctx.needs_input_grad):
            return losses
        error.scatter_(-1, index, chosen.sub_(1.0))
        ctx.save_for_backward(
            torch.bmm(error, head.transpose(1, 2)).to(x.dtype),
            torch.bmm(x.transpose(1, 2), error).to(head.dtype),
        )
        ctx.rows = rows
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x_gradient, head_gradient = ctx.saved_tensors
        scale = (gradient / ctx.rows)[:, None, None]
        return x_gradient * scale, head_gradient * scale, None
