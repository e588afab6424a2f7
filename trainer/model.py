"""The GPT, dense or with experts, for K members at once: every matrix is a [K, in, out] view of one tensor [K, P]."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainer.compiling import can_compile, compiled_once
from trainer.experts import Routing, mixture, route
from trainer.operators import head_loss, lookup, rms_norm, rotary, rotation, squared_relu
from trainer.recipe import Recipe
from trainer.rules import Rule, rules_of

Place = Literal["embedding", "attention", "feedforward", "router", "head", "attention_logits"]
Watch = Callable[[Place, int, Tensor], None]
"""Told what passes a place of a block, members first: what the embedding, an attention or a feed-forward part
adds to the residual stream [K, R, W]; the logits of the router [K, R, E] and of the head [K, R, V]; the products
of queries and keys before the mask [K·sequences, heads, context, context]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One parameter of one member: its place in the layout and how it starts.

    Attributes:
        rule: Of its kind.
        block: The block it belongs to; 0 for the embedding and the head.
        count: How many of them lie one behind the other: the experts of a block, else 1.
        rows: Input width (the vocabulary for the embedding).
        columns: Output width.
    """

    rule: Rule
    block: int
    count: int = 1
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """Its kind and block, such as `attention_in.0`; the kind alone outside of blocks."""
        kind = self.rule.row.kind
        return kind if self.rule.row.role != "hidden" else f"{kind}.{self.block}"

    @property
    def size(self) -> int:
        """Its number of parameters."""
        return self.count * self.rows * self.columns


def layout(recipe: Recipe) -> tuple[Matrix, ...]:
    """The matrices of one member, in the order in which they lie in its P parameters: kind by kind.

    Parameters of one rule are so one stretch, which the optimizer updates in one go.
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
        number, rows, columns = sizes[rule.row.kind]
        blocks = shape.depth if rule.row.role == "hidden" else 1
        matrices += [
            Matrix(rule=rule, block=block, count=number, rows=rows, columns=columns)
            for block in range(blocks)
        ]
    return tuple(matrices)


def initial_parameters(recipe: Recipe) -> Tensor:
    """The P parameters that every member of a stack starts from; the recipe's seed alone decides them.

    Drawn block by block, from the embedding to the head.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    matrices = layout(recipe)
    places = {"input": -1, "output": recipe.shape.depth}
    drawn = {
        matrix.name: torch.randn(matrix.size, generator=generator) * matrix.rule.std
        for matrix in sorted(matrices, key=lambda m: places.get(m.rule.row.role, m.block))
    }
    return torch.cat([drawn[matrix.name] for matrix in matrices])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one forward pass gives.

    Attributes:
        losses: Mean cross-entropy of each member, nats per token, float32 [K].
        penalties: Balancing losses of all blocks together, [K]; None for a dense proxy.
        loads: Each expert's share of the choices, float32 [K, depth, E]; None for a dense proxy.
    """

    losses: Tensor
    penalties: Tensor | None = None
    loads: Tensor | None = None


Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Pass]
"""`Model.forward` without a watch."""


class Model:
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
            device: Where the parameters will be.
            precision: Type of the matrix products; None takes bfloat16 on a GPU and float32 on a CPU, where
                bfloat16 is slower. The residual stream, norms and losses are float32 in any case.
            compiled: Whether training goes through `torch.compile`, which takes a C++ compiler, and half a
                minute for each shape and process; None compiles on a GPU if it can.
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
        self._multipliers = {rule.row.kind: rule.multiplier for rule in self.rules.rules}

    @property
    def balance_shape(self) -> tuple[int, int]:
        """Blocks and experts that a bias balances, [depth, E]; (0, 0) where there are none."""
        experts = self.recipe.shape.experts
        return (0, 0) if experts is None else (self.recipe.shape.depth, experts.count)

    def forward(
        self,
        parameters: Tensor,
        balance: Tensor,
        inputs: Tensor,
        targets: Tensor,
        *,
        watch: Watch | None = None,
    ) -> Pass:
        """Each member's loss on one batch that all share.

        Args:
            parameters: [K, P].
            balance: Biases on the experts' scores, [K, depth, E]; not looked at for a dense proxy.
            inputs: Token ids [sequences, context].
            targets: The tokens that follow each of them, [sequences, context].
            watch: Told what passes inside.
        """
        lower = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision) if lower else nullcontext():
            return self._forward(self._views(parameters), balance, inputs.flatten(), targets.flatten(), watch)

    def _forward(
        self, views: dict[str, Tensor], balance: Tensor, tokens: Tensor, targets: Tensor, watch: Watch | None
    ) -> Pass:
        x = lookup(views["embedding"], tokens)
        if watch is not None:
            watch("embedding", 0, x)
        routings = []
        for block in range(self.recipe.shape.depth):
            x = self._attention(x, views, block, watch)
            x, routing = self._feedforward(x, views, balance, block, watch)
            if routing is not None:
                routings.append(routing)
        x = rms_norm(x)
        if (multiplier := self._multipliers["head"]) != 1.0:
            x = x * multiplier
        if watch is not None:
            watch("head", 0, torch.bmm(x, views["head"]))
        losses = head_loss(x, views["head"], targets)
        if not routings:
            return Pass(losses=losses)
        return Pass(
            losses=losses,
            penalties=torch.stack([routing.penalty for routing in routings]).sum(0),
            loads=torch.stack([routing.loads for routing in routings], dim=1),
        )

    def _views(self, parameters: Tensor) -> dict[str, Tensor]:
        """By name: [K, rows, columns] of one matrix, [K, E, rows, columns] of the experts of a block."""
        views = {}
        for matrix, values in zip(self.matrices, torch.split(parameters, self._sizes, dim=1), strict=True):
            count = () if matrix.count == 1 else (matrix.count,)
            views[matrix.name] = values.view(-1, *count, matrix.rows, matrix.columns)
        return views

    def _attention(self, x: Tensor, views: dict[str, Tensor], block: int, watch: Watch | None) -> Tensor:
        """The residual stream [K, R, W] after causal attention within each sequence."""
        shape, (members, rows, _) = self.recipe.shape, x.shape
        heads, head_width = shape.head_count, shape.head_width
        projected = torch.bmm(rms_norm(x), views[f"attention_in.{block}"])
        projected = projected.view(-1, shape.context, 3 * heads, head_width)
        both, value = torch.split(projected, [2 * heads, heads], dim=2)
        turned = rotary(both.float(), self.rotation, normalize=shape.qk_norm).to(value.dtype)
        query, key, value = (part.transpose(1, 2) for part in (*torch.split(turned, heads, dim=2), value))
        scale = self.rules.attention_scale
        if watch is not None:
            watch("attention_logits", block, (query @ key.transpose(2, 3) * scale).float())
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        mixed = mixed.transpose(1, 2).reshape(members, rows, shape.width)
        return self._added(x, mixed, views, "attention_out", block, watch)

    def _feedforward(
        self, x: Tensor, views: dict[str, Tensor], balance: Tensor, block: int, watch: Watch | None
    ) -> tuple[Tensor, Routing | None]:
        """The residual stream after the feed-forward part, and where its tokens went if experts are chosen."""
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
            if watch is not None:
                watch("router", block, logits)
        if watch is not None:
            watch("feedforward", block, x - before)
        return x, routing

    def _added(
        self, x: Tensor, left: Tensor, views: dict[str, Tensor], kind: str, block: int, watch: Watch | None
    ) -> Tensor:
        """The residual stream plus a product: one kernel, unless the product has a lower precision."""
        right, multiplier = views[f"{kind}.{block}"], self._multipliers[kind]
        if self.precision != torch.float32:
            summed = torch.add(x, torch.bmm(left, right), alpha=multiplier)
        else:
            summed = torch.baddbmm(x, left, right, alpha=multiplier)
        if watch is not None:
            watch("attention", block, summed - x)
        return summed
