"""The GPT, dense or with experts, for K members at once: every matrix is a [K, in, out] view of one tensor [K, P]."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from trainer.experts import Routing, mixture, route
from trainer.operators import head_loss, lookup, rms_norm, rotary, rotation, squared_relu
from trainer.recipe import Recipe
from trainer.scaling_rules import ParameterRule, rules_of

HookPoint = Literal["embedding", "attention", "feedforward", "router", "head", "attention_logits"]
Hook = Callable[[HookPoint, int, Tensor], None]
"""Called with a point, a block and the activations there: what the embedding, an attention or a feed-forward part adds
to the residual stream [K, R, W]; the logits of the router [K, R, E] and of the head [K, R, V]; the products of
queries and keys before the mask [K·sequences, heads, context, context]."""

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")

COMPILATIONS = 1_024
"""Most compilations of one function in one process: each shape, batch and optimizer takes one or two, and a worker
runs as long as its sweep. PyTorch's own limit, for a function compiled as a whole, is 8."""


def can_compile() -> bool:
    """Whether PyTorch can compile for a GPU: Triton is installed, and a C compiler to build its launchers."""
    compilers = (os.environ.get("CC") or "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers)


def compiled_once(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """The function, compiled as a whole at its first call, and for any number of members when that first changes.

    Raises:
        Exception: When called, one of the compiler's own, if compilation fails.
    """
    config = torch._dynamo.config  # This attribute imports the module, which takes a second.
    config.recompile_limit = max(config.recompile_limit, COMPILATIONS)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, COMPILATIONS)
    compiled: Callable[Arguments, Returned] = torch.compile(function, fullgraph=True)
    return compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One parameter of a member.

    Attributes:
        rule: The rule of its kind.
        block: Its block; 0 for the embedding and the head.
        count: Number of consecutive matrices: the experts of a block, else 1.
        rows: Input width (the vocabulary for the embedding).
        columns: Output width.
    """

    rule: ParameterRule
    block: int
    count: int = 1
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """Kind and block, such as `attention_in.0`; the kind alone outside of blocks."""
        kind = self.rule.kind.name
        return kind if self.rule.kind.role != "hidden" else f"{kind}.{self.block}"

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.count * self.rows * self.columns


def layout(recipe: Recipe) -> tuple[Matrix, ...]:
    """The matrices of one member in their order in memory, kind by kind.

    The parameters of one rule are thus contiguous, and the optimizer updates them at once.
    """
    shape = recipe.shape
    width, count = shape.width, shape.experts.count if shape.experts else 1
    hidden, expert = shape.hidden, shape.experts.width if shape.experts else 0
    sizes = {
        "embedding": (1, shape.vocab_size, width),
        "router": (1, width, count),
        "attention_in": (1, width, 3 * width),
        "attention_out": (1, width, width),
        "feedforward_in": (1, width, hidden),
        "feedforward_out": (1, hidden, width),
        "expert_in": (count, width, expert),
        "expert_out": (count, expert, width),
        "head": (1, width, shape.vocab_size),
    }
    matrices = []
    for rule in rules_of(recipe).rules:
        number, rows, columns = sizes[rule.kind.name]
        blocks = shape.depth if rule.kind.role == "hidden" else 1
        matrices += [
            Matrix(rule=rule, block=block, count=number, rows=rows, columns=columns)
            for block in range(blocks)
        ]
    return tuple(matrices)


def initial_parameters(recipe: Recipe) -> Tensor:
    """The initial parameters [P] of every member, determined by the recipe and its seed.

    They are drawn block by block, from the embedding to the head.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    matrices = layout(recipe)
    order = {"input": -1, "output": recipe.shape.depth}
    drawn = {
        matrix.name: torch.randn(matrix.size, generator=generator) * matrix.rule.std
        for matrix in sorted(matrices, key=lambda m: order.get(m.rule.kind.role, m.block))
    }
    return torch.cat([drawn[matrix.name] for matrix in matrices])


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardOutput:
    """Results of one forward pass.

    Attributes:
        losses: Mean cross-entropy of each member, nats per token, float32 [K].
        penalties: Sum of the balancing losses of all blocks, [K]; None for a dense proxy.
        loads: Each expert's share of the choices, float32 [K, depth, E]; None for a dense proxy.
    """

    losses: Tensor
    penalties: Tensor | None = None
    loads: Tensor | None = None


Forward = Callable[[Tensor, Tensor, Tensor, Tensor], ForwardOutput]
"""Type of `ProxyModel.forward` without a hook."""


class ProxyModel:
    """The losses of K members as a function of their stacked parameters."""

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        precision: torch.dtype | None = None,
        compiled: bool | None = None,
    ) -> None:
        """Prepares the layout and the rotary factors.

        Args:
            recipe: Shape and initialization.
            device: Device of the parameters.
            precision: Type of the matrix products; None takes bfloat16 on a GPU and float32 on a CPU, where
                bfloat16 is slower. The residual stream, norms and losses are always float32.
            compiled: Whether to train through `torch.compile`, which needs a C++ compiler, and half a minute for
                each shape and process; None compiles on a GPU if possible.
        """
        shape = recipe.shape
        self.recipe = recipe
        self.rules = rules_of(recipe)
        self.device = device
        self.precision = precision or (torch.bfloat16 if device.type == "cuda" else torch.float32)
        self.matrices = layout(recipe)
        self.compiled = device.type == "cuda" and can_compile() if compiled is None else compiled
        factors = rotation(shape.context, 2 * shape.head_count, shape.head_width, real=self.compiled)
        self.rotation = factors.to(device)
        self.differentiable: Forward = compiled_once(self.forward) if self.compiled else self.forward
        self._sizes = [matrix.size for matrix in self.matrices]
        self._multipliers = {rule.kind.name: rule.multiplier for rule in self.rules.rules}

    @property
    def balance_shape(self) -> tuple[int, int]:
        """Blocks and experts, (depth, E); (0, 0) for a dense proxy."""
        experts = self.recipe.shape.experts
        return (0, 0) if experts is None else (self.recipe.shape.depth, experts.count)

    def forward(
        self,
        parameters: Tensor,
        balance: Tensor,
        inputs: Tensor,
        targets: Tensor,
        *,
        hook: Hook | None = None,
    ) -> ForwardOutput:
        """Each member's loss on one batch, which is the same for all.

        Args:
            parameters: [K, P].
            balance: Biases on the experts' scores, [K, depth, E]; ignored for a dense proxy.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow each of them, [sequences, context].
            hook: Called with the activations.
        """
        lower = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision) if lower else nullcontext():
            return self._forward(self._views(parameters), balance, inputs.flatten(), targets.flatten(), hook)

    def _forward(
        self, views: dict[str, Tensor], balance: Tensor, tokens: Tensor, targets: Tensor, hook: Hook | None
    ) -> ForwardOutput:
        x = lookup(views["embedding"], tokens)
        if hook is not None:
            hook("embedding", 0, x)
        routings = []
        for block in range(self.recipe.shape.depth):
            x = self._attention(x, views, block, hook)
            x, routing = self._feedforward(x, views, balance, block, hook)
            if routing is not None:
                routings.append(routing)
        x = rms_norm(x)
        if (multiplier := self._multipliers["head"]) != 1.0:
            x = x * multiplier
        if hook is not None:
            hook("head", 0, torch.bmm(x, views["head"]))
        losses = head_loss(x, views["head"], targets)
        if not routings:
            return ForwardOutput(losses=losses)
        return ForwardOutput(
            losses=losses,
            penalties=torch.stack([routing.penalty for routing in routings]).sum(0),
            loads=torch.stack([routing.loads for routing in routings], dim=1),
        )

    def _views(self, parameters: Tensor) -> dict[str, Tensor]:
        """Views by name: [K, rows, columns] of a matrix, [K, E, rows, columns] of the experts of a block."""
        views = {}
        for matrix, values in zip(self.matrices, torch.split(parameters, self._sizes, dim=1), strict=True):
            count = () if matrix.count == 1 else (matrix.count,)
            views[matrix.name] = values.view(-1, *count, matrix.rows, matrix.columns)
        return views

    def _attention(self, x: Tensor, views: dict[str, Tensor], block: int, hook: Hook | None) -> Tensor:
        """The residual stream [K, R, W] after causal attention within each sequence."""
        shape, (members, rows, _) = self.recipe.shape, x.shape
        heads, head_width = shape.head_count, shape.head_width
        projected = torch.bmm(rms_norm(x), views[f"attention_in.{block}"])
        projected = projected.view(-1, shape.context, 3 * heads, head_width)
        both, value = torch.split(projected, [2 * heads, heads], dim=2)
        turned = rotary(both.float(), self.rotation, normalize=shape.qk_norm).to(value.dtype)
        query, key, value = (part.transpose(1, 2) for part in (*torch.split(turned, heads, dim=2), value))
        scale = self.rules.attention_scale
        if hook is not None:
            hook("attention_logits", block, (query @ key.transpose(2, 3) * scale).float())
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        mixed = mixed.transpose(1, 2).reshape(members, rows, shape.width)
        return self._added(x, mixed, views, "attention_out", block, hook)

    def _feedforward(
        self, x: Tensor, views: dict[str, Tensor], balance: Tensor, block: int, hook: Hook | None
    ) -> tuple[Tensor, Routing | None]:
        """The residual stream after the feed-forward part, and the routing of its tokens if there are experts."""
        normalized, before, routing = rms_norm(x), x, None
        if self.recipe.shape.hidden:
            hidden = squared_relu(torch.bmm(normalized, views[f"feedforward_in.{block}"]))
            x = self._added(x, hidden, views, "feedforward_out", block, None)
        if (experts := self.recipe.shape.experts) is not None:
            logits = torch.bmm(normalized, views[f"router.{block}"]).float()
            routing = route(logits, balance[:, block], experts)
            pair = (views[f"{kind}.{block}"].to(self.precision) for kind in ("expert_in", "expert_out"))
            mixed = mixture(normalized.to(self.precision), routing, *pair)
            x = torch.add(x, mixed, alpha=self._multipliers["expert_out"])
            if hook is not None:
                hook("router", block, logits)
        if hook is not None:
            hook("feedforward", block, x - before)
        return x, routing

    def _added(
        self, x: Tensor, left: Tensor, views: dict[str, Tensor], kind: str, block: int, hook: Hook | None
    ) -> Tensor:
        """The residual stream plus a product, in one kernel unless the product has a lower precision."""
        right, multiplier = views[f"{kind}.{block}"], self._multipliers[kind]
        if self.precision != torch.float32:
            summed = torch.add(x, torch.bmm(left, right), alpha=multiplier)
        else:
            summed = torch.baddbmm(x, left, right, alpha=multiplier)
        if hook is not None:
            hook("attention", block, summed - x)
        return summed
