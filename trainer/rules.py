"""The table of scaling rules: what each kind of parameter starts from and how fast it moves, at any scale.

| symbol | meaning |
|---|---|
| m_w, m_L, m_B, m_D | target over base: width, depth, batch in tokens, training tokens |
| m_h | the same of the hidden width of one token's experts together |
| α | exponent of depth, 1 as CompleteP recommends |

| role | initial variance | rate | decay | ε | forward multiplier |
|---|---|---|---|---|---|
| input | as base | 1 | 1 | m_w^−1 | 1 |
| hidden, m its own fan-in's growth | 1 / fan-in | m^−1·m_L^(α−1) | m | m'^−1·m_L^−α | m_L^−α where it writes to the residual stream |
| output | as base | 1 | 1 | m_w^−1 | m_w^−1 |
| every role | | ·√(m_B/m_D), or ·m_D^x | ·√(m_B/m_D) | ·√(m_D/m_B) | |

and 1 − β is multiplied by m_B/m_D. Where Muon moves a matrix, √m stands for m in rate and decay. ε follows the gradients: m' is m_h for what feeds the experts, else m_w, and it
moves with the rule `depth`. A factor whose rule is not asked for is 1; `standard` asks for none.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from trainer.errors import BadRecipe
from trainer.parametrization import Base
from trainer.recipe import Recipe

Module = Literal["embedding", "attention", "feedforward", "router", "head"]
"""Parts of a model that may have rates of their own; the experts of a mixture are its feed-forward part."""

Role = Literal["input", "hidden", "output"]

DEPTH_EXPONENT = 1.0
"""α of CompleteP (arXiv 2505.01618): the residual branch falls as 1/m_L, and the rate does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of parameter: what decides its rule.

    Attributes:
        kind: Its name.
        module: The part of the model that it belongs to.
        role: Whether its inputs, its outputs, both or neither grow with the scale.
        residual: Whether it writes to the residual stream.
        source: Where its rule comes from.
    """

    kind: str
    module: Module
    role: Role
    residual: bool = False
    source: str


_MUP = "Tensor Programs V (arXiv 2203.03466), table 8; microsoft/mup"
_EXPERT = "arXiv 2601.20205, table 2; arXiv 2608.20061"

TABLE = (
    Row(kind="embedding", module="embedding", role="input", source=_MUP),
    Row(
        kind="router", module="router", role="hidden", source=f"{_EXPERT}; normalized scale: arXiv 2605.23893"
    ),
    Row(kind="attention_in", module="attention", role="hidden", source=_MUP),
    Row(kind="attention_out", module="attention", role="hidden", residual=True, source=_MUP),
    Row(kind="feedforward_in", module="feedforward", role="hidden", source=_MUP),
    Row(kind="feedforward_out", module="feedforward", role="hidden", residual=True, source=_MUP),
    Row(kind="expert_in", module="feedforward", role="hidden", source=_EXPERT),
    Row(kind="expert_out", module="feedforward", role="hidden", residual=True, source=_EXPERT),
    Row(kind="head", module="head", role="output", source=_MUP),
)
"""Every kind of parameter, in the order in which they lie in memory; a shape has those it needs."""

RULE_SOURCES = {
    "weight_decay": "microsoft/mup, MuAdamW: rate × decay is kept",
    "depth": "CompleteP (arXiv 2505.01618); ε of the embedding: Complete(d)P (arXiv 2512.22382)",
    "batch": "Complete(d)P (arXiv 2512.22382)",
    "horizon": "Complete(d)P (arXiv 2512.22382); with an exponent, arXiv 2409.19913 and 2608.20061",
}


MUON: frozenset[Module] = frozenset({"attention", "feedforward"})
"""Whose hidden matrices Muon moves, where it is the optimizer; embedding, router and head are AdamW's (arXiv 2502.16982).

Its updates have the RMS of AdamW's but all singular values alike, so that a matrix grown evenly by m stretches what
passes by √m, not by m: rates fall as 1/√m.
"""

MUON_SOURCE = "arXiv 2512.05620, for updates of the RMS of AdamW's (arXiv 2502.16982)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of parameter starts from, and how it moves.

    Attributes:
        row: The kind of parameter.
        fan_in: Inputs of one unit.
        std: Standard deviation of its initial values.
        rate: Learning rate over the member's.
        decay: Weight decay over the recipe's.
        epsilon: AdamW's ε over the recipe's.
        multiplier: Factor on what the forward pass makes of it.
    """

    row: Row
    fan_in: int
    std: float
    rate: float
    decay: float
    epsilon: float
    multiplier: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Target over base; 1 for what no rule scales.

    Attributes:
        width, depth, experts, batch, tokens: m_w, m_L, m_h, m_B, m_D.
        horizon: The factor on every rate of a measured exponent of the horizon.
    """

    width: float = 1.0
    depth: float = 1.0
    experts: float = 1.0
    batch: float = 1.0
    tokens: float = 1.0
    horizon: float = 1.0

    @property
    def noise(self) -> float:
        """m_B / m_D: how much of the noise of gradients one step leaves, against the base."""
        return self.batch / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules of one recipe.

    Attributes:
        rules: One of each kind of parameter that the shape has, in the order of `TABLE`.
        growth: Target over base.
        attention_scale: Factor on the products of queries and keys.
        beta1, beta2: Decays of AdamW's moments.
    """

    rules: tuple[Rule, ...]
    growth: Growth
    attention_scale: float
    beta1: float
    beta2: float

    def of(self, kind: str) -> Rule:
        """The rule of a kind of parameter."""
        return next(rule for rule in self.rules if rule.row.kind == kind)


def rules_of(recipe: Recipe) -> Rules:
    """The rules that a recipe's parametrization gives for its shape, batch and horizon.

    Raises:
        BadRecipe: The base cannot be compared with the recipe, or a moment's decay would leave (0, 1).
    """
    base = recipe.parametrization.base
    growth = Growth() if base is None else _growth(recipe, base)
    return Rules(
        rules=tuple(_rule(row, recipe, growth) for row in TABLE if _fan_in(row, recipe)),
        growth=growth,
        attention_scale=_attention_scale(recipe, base),
        beta1=_beta("beta1", recipe.beta1, growth),
        beta2=_beta("beta2", recipe.beta2, growth),
    )


def _growth(recipe: Recipe, base: Base) -> Growth:
    shape, asked = recipe.shape, recipe.parametrization
    tokens = 1.0
    if "horizon" in asked.rules:
        if recipe.tokens is None:
            raise BadRecipe("recipe: tokens is missing; the rule horizon needs the horizon")
        tokens = recipe.tokens / (base.tokens or recipe.tokens)
    measured = asked.horizon_exponent
    return Growth(
        width=shape.width / base.width,
        depth=shape.depth / base.depth if "depth" in asked.rules else 1.0,
        experts=_experts(recipe, base),
        batch=recipe.batch_tokens / (base.batch_tokens or recipe.batch_tokens)
        if "batch" in asked.rules
        else 1.0,
        tokens=tokens if measured is None else 1.0,
        horizon=1.0 if measured is None else tokens**measured,
    )


def _experts(recipe: Recipe, base: Base) -> float:
    experts = recipe.shape.experts
    if experts is not None and base.expert_width is not None:
        return experts.active_width / base.expert_width
    if experts is None and base.expert_width is None:
        return 1.0
    ours, other = ("dense", "a mixture") if experts is None else ("a mixture", "dense")
    raise BadRecipe(f"base: expert_width is {base.expert_width}; the shape is {ours} and its base is {other}")


def _rule(row: Row, recipe: Recipe, growth: Growth) -> Rule:
    """One row of the table above; the recipe's own numbers are the base's."""
    fan_in, asked = _fan_in(row, recipe), recipe.parametrization.rules
    grown = _stretched(row, recipe, growth) if row.role == "hidden" else 1.0
    depth = growth.depth ** (DEPTH_EXPONENT - 1.0) if row.role == "hidden" else 1.0
    branch = growth.depth**-DEPTH_EXPONENT
    epsilon = _gradient(row, recipe, growth) if "depth" in asked else 1.0
    multipliers = {"input": 1.0, "hidden": branch if row.residual else 1.0, "output": 1.0 / growth.width}
    return Rule(
        row=row,
        fan_in=fan_in,
        std=_std(row, recipe, growth),
        rate=depth / grown * sqrt(growth.noise) * growth.horizon,
        decay=(grown if "weight_decay" in asked else 1.0) * sqrt(growth.noise),
        epsilon=epsilon / sqrt(growth.noise),
        multiplier=multipliers[row.role],
    )


def _fan_in(row: Row, recipe: Recipe) -> int:
    """Inputs of one unit; 0 where the shape has no such parameter."""
    shape = recipe.shape
    match row.kind:
        case "embedding":
            return 1
        case "router" | "expert_in":
            return shape.width if shape.experts else 0
        case "expert_out":
            return shape.experts.active_width if shape.experts else 0
        case "feedforward_in":
            return shape.width if shape.hidden else 0
        case "feedforward_out":
            return shape.hidden
        case _:
            return shape.width


def _grown(row: Row, recipe: Recipe, growth: Growth) -> float:
    """How much the fan-in of a hidden parameter has grown since the base."""
    by_experts = row.kind == "expert_out" or (row.kind == "feedforward_out" and recipe.shape.experts)
    return growth.experts if by_experts else growth.width


def _stretched(row: Row, recipe: Recipe, growth: Growth) -> float:
    """How much more an update at the base's rate stretches what passes a hidden matrix than it does at the base."""
    grown = _grown(row, recipe, growth)
    return sqrt(grown) if recipe.optimizer == "muon" and row.module in MUON else grown


def _gradient(row: Row, recipe: Recipe, growth: Growth) -> float:
    """How much smaller the gradient is than at the base, which ε should follow.

    Complete(d)P has no factor on the output because it has no multiplier there; here the multiplier is in the gradient.
    The experts: arXiv 2601.20205, table 2.
    """
    to_experts = row.kind == "expert_in" or (row.kind == "feedforward_in" and recipe.shape.experts)
    branch = growth.depth**-DEPTH_EXPONENT if row.role == "hidden" else 1.0
    return branch / (growth.experts if to_experts else growth.width)


def _std(row: Row, recipe: Recipe, growth: Growth) -> float:
    """1/√fan-in, of the base for the output; besides /√(2·depth) where it writes to the residual stream (GPT-2).

    The depth is the base's where the rule `depth` scales the branch itself.
    """
    if row.role == "input":
        return recipe.embedding_std
    if row.role == "output":
        return 1.0 / sqrt(recipe.shape.width / growth.width)
    residual = 1.0 / sqrt(2 * recipe.shape.depth / growth.depth) if row.residual else 1.0
    return residual / sqrt(_fan_in(row, recipe))


def _attention_scale(recipe: Recipe, base: Base | None) -> float:
    """q·k / √d, and under `mup` q·k / d in the base's units (arXiv 2203.03466, section 2)."""
    width = recipe.shape.head_width
    scale = (recipe.qk_scale if recipe.shape.qk_norm else 1.0) / sqrt(width)
    return scale if base is None or base.head_width is None else scale * sqrt(base.head_width / width)


def _beta(field: str, beta: float, growth: Growth) -> float:
    """The decay of a moment whose memory in tokens grows with the horizon (Complete(d)P)."""
    scaled = beta if growth.noise == 1.0 else 1.0 - (1.0 - beta) * growth.noise
    if not 0.0 <= scaled < 1.0:
        raise BadRecipe(
            f"recipe: {field} of {beta} becomes {scaled:.3g} at {growth.batch:.3g} times the base's batch and "
            f"{growth.tokens:.3g} times its horizon; allowed: from 0 to below 1, so take a nearer base"
        )
    return scaled
