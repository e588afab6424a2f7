"""The table of scaling rules: initial variance, learning rate, decay and ε of each kind of parameter at any scale.

| symbol | meaning |
|---|---|
| m_w, m_L, m_B, m_D | target over base: width, depth, batch in tokens, training tokens |
| m_h | target over base: hidden width of one token's experts together |
| m | target over base: fan-in of the parameter itself |
| m' | m_h for the parameters that feed the experts, else m_w |
| α | exponent of depth, 1 as CompleteP recommends |

| role | initial variance | rate | decay | ε | forward multiplier |
|---|---|---|---|---|---|
| input | as base | 1 | 1 | m_w^−1 | 1 |
| hidden | 1 / fan-in | m^−1·m_L^(α−1) | m | m'^−1·m_L^−α | m_L^−α if it writes to the residual stream, else 1 |
| output | as base | 1 | 1 | m_w^−1 | m_w^−1 |
| every role | | ·√(m_B/m_D), or ·m_D^x | ·√(m_B/m_D) | ·√(m_D/m_B) | |

1 − β is multiplied by m_B/m_D. For matrices of Muon, rate and decay have √m instead of m. ε follows the size of the
gradients and scales only with the rule `depth`. The factors of a rule that is not selected are 1; `standard` selects
none.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from trainer.exceptions import BadRecipe
from trainer.recipe import BaseScale, Recipe

Module = Literal["embedding", "attention", "feedforward", "router", "head"]
"""Parts of a model that can have learning rates of their own; experts belong to the feed-forward part."""

Role = Literal["input", "hidden", "output"]

DEPTH_EXPONENT = 1.0
"""α of CompleteP (arXiv 2505.01618): residual branches scale as 1/m_L, learning rates stay the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterKind:
    """One kind of parameter, and the properties that its rule follows from.

    Attributes:
        name: Name of the kind.
        module: The part of the model that it belongs to.
        role: Its row of the table above.
        residual: Whether it writes to the residual stream.
        source: Publication of its rule.
    """

    name: str
    module: Module
    role: Role
    residual: bool = False
    source: str


_MUP = "Tensor Programs V (arXiv 2203.03466), table 8; microsoft/mup"
_EXPERT = "arXiv 2601.20205, table 2; arXiv 2608.20061"
_ROUTER = f"{_EXPERT}; normalized scale: arXiv 2605.23893"

PARAMETER_KINDS = (
    ParameterKind(name="embedding", module="embedding", role="input", source=_MUP),
    ParameterKind(name="router", module="router", role="hidden", source=_ROUTER),
    ParameterKind(name="attention_in", module="attention", role="hidden", source=_MUP),
    ParameterKind(name="attention_out", module="attention", role="hidden", residual=True, source=_MUP),
    ParameterKind(name="feedforward_in", module="feedforward", role="hidden", source=_MUP),
    ParameterKind(name="feedforward_out", module="feedforward", role="hidden", residual=True, source=_MUP),
    ParameterKind(name="expert_in", module="feedforward", role="hidden", source=_EXPERT),
    ParameterKind(name="expert_out", module="feedforward", role="hidden", residual=True, source=_EXPERT),
    ParameterKind(name="head", module="head", role="output", source=_MUP),
)
"""All kinds of parameters in their order in memory; each shape has some of them."""

RULE_SOURCES = {
    "weight_decay": "microsoft/mup, MuAdamW: rate × decay is kept",
    "depth": "CompleteP (arXiv 2505.01618); ε of the embedding: Complete(d)P (arXiv 2512.22382)",
    "batch": "Complete(d)P (arXiv 2512.22382)",
    "horizon": "Complete(d)P (arXiv 2512.22382); with an exponent, arXiv 2409.19913 and 2608.20061",
}


MUON: frozenset[Module] = frozenset({"attention", "feedforward"})
"""Modules whose hidden matrices Muon updates if it is the optimizer; AdamW updates the others (arXiv 2502.16982).

Muon's updates have the RMS of AdamW's, but equal singular values: if both sides of a matrix grow by m, the spectral
norm of its update grows by √m, not by m, so learning rates scale as 1/√m.
"""

_MUON_SOURCE = "arXiv 2512.05620, for updates of the RMS of AdamW's (arXiv 2502.16982)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """Initial values and updates of one kind of parameter.

    Attributes:
        kind: The kind of parameter.
        std: Standard deviation of its initial values.
        rate: Learning rate over the member's.
        decay: Weight decay over the recipe's.
        epsilon: AdamW's ε over the recipe's.
        multiplier: Factor on its output in the forward pass.
        source: Publication of its rule, and of Muon's if that updates it under `mup`.
    """

    kind: ParameterKind
    std: float
    rate: float
    decay: float
    epsilon: float
    multiplier: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Target over base; 1 for quantities whose rule is not selected.

    Attributes:
        width, depth, experts, batch, tokens: m_w, m_L, m_h, m_B, m_D.
        horizon: Factor m_D^x on every learning rate, if the horizon has an exponent x.
    """

    width: float = 1.0
    depth: float = 1.0
    experts: float = 1.0
    batch: float = 1.0
    tokens: float = 1.0
    horizon: float = 1.0

    @property
    def noise(self) -> float:
        """m_B / m_D: the noise of the gradients per step, relative to the base (Complete(d)P)."""
        return self.batch / self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRules:
    """All rules of one recipe.

    Attributes:
        rules: One for each kind of parameter of the shape, in the order of `PARAMETER_KINDS`.
        attention_scale: Factor on the products of queries and keys.
        beta1, beta2: Decays of AdamW's moments.
    """

    rules: tuple[ParameterRule, ...]
    attention_scale: float
    beta1: float
    beta2: float

    def of(self, name: str) -> ParameterRule:
        """The rule of the kind of parameter with this name."""
        return next(rule for rule in self.rules if rule.kind.name == name)


def rules_of(recipe: Recipe) -> ParameterRules:
    """The rules of a recipe's parametrization for its shape, batch and horizon.

    Raises:
        BadRecipe: The base cannot be compared with the recipe, or the decay of a moment would leave [0, 1).
    """
    base = recipe.parametrization.base
    growth = Growth() if base is None else _growth(recipe, base)
    return ParameterRules(
        rules=tuple(_rule(kind, recipe, growth) for kind in PARAMETER_KINDS if _fan_in(kind, recipe)),
        attention_scale=_attention_scale(recipe, base),
        beta1=_beta("beta1", recipe.beta1, growth),
        beta2=_beta("beta2", recipe.beta2, growth),
    )


def _growth(recipe: Recipe, base: BaseScale) -> Growth:
    shape, parametrization = recipe.shape, recipe.parametrization
    batch = tokens = 1.0
    if "batch" in parametrization.rules:
        batch = recipe.batch_tokens / (base.batch_tokens or recipe.batch_tokens)
    if "horizon" in parametrization.rules:
        if recipe.tokens is None:
            raise BadRecipe("recipe: tokens is missing; the rule horizon needs the horizon")
        tokens = recipe.tokens / (base.tokens or recipe.tokens)
    exponent = parametrization.horizon_exponent
    return Growth(
        width=shape.width / base.width,
        depth=shape.depth / base.depth if "depth" in parametrization.rules else 1.0,
        experts=_experts_growth(recipe, base),
        batch=batch,
        tokens=tokens if exponent is None else 1.0,
        horizon=1.0 if exponent is None else tokens**exponent,
    )


def _experts_growth(recipe: Recipe, base: BaseScale) -> float:
    experts = recipe.shape.experts
    if experts is not None and base.expert_width is not None:
        return experts.active_width / base.expert_width
    if experts is None and base.expert_width is None:
        return 1.0
    ours, other = ("dense", "a mixture") if experts is None else ("a mixture", "dense")
    raise BadRecipe(f"base: expert_width is {base.expert_width}; the shape is {ours} and its base is {other}")


def _rule(kind: ParameterKind, recipe: Recipe, growth: Growth) -> ParameterRule:
    """One row of the table at the top of this module."""
    parametrization, by_muon = recipe.parametrization, recipe.optimizer == "muon" and kind.module in MUON
    grown, depth = 1.0, 1.0
    if kind.role == "hidden":
        fan_in = _fan_in_growth(kind, recipe, growth)
        grown, depth = sqrt(fan_in) if by_muon else fan_in, growth.depth ** (DEPTH_EXPONENT - 1.0)
    branch = growth.depth**-DEPTH_EXPONENT
    epsilon = _gradient_growth(kind, recipe, growth) if "depth" in parametrization.rules else 1.0
    multipliers = {"input": 1.0, "hidden": branch if kind.residual else 1.0, "output": 1.0 / growth.width}
    own_source = by_muon and parametrization.base is not None
    return ParameterRule(
        kind=kind,
        std=_std(kind, recipe, growth),
        rate=depth / grown * sqrt(growth.noise) * growth.horizon,
        decay=(grown if "weight_decay" in parametrization.rules else 1.0) * sqrt(growth.noise),
        epsilon=epsilon / sqrt(growth.noise),
        multiplier=multipliers[kind.role],
        source=f"{kind.source}; its rate and decay: {_MUON_SOURCE}" if own_source else kind.source,
    )


def _fan_in(kind: ParameterKind, recipe: Recipe) -> int:
    """Inputs of one unit; 0 if the shape has no such parameter."""
    shape = recipe.shape
    match kind.name:
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


def _fan_in_growth(kind: ParameterKind, recipe: Recipe, growth: Growth) -> float:
    """The m of a hidden parameter."""
    by_experts = kind.name == "expert_out" or (kind.name == "feedforward_out" and recipe.shape.experts)
    return growth.experts if by_experts else growth.width


def _gradient_growth(kind: ParameterKind, recipe: Recipe, growth: Growth) -> float:
    """The size of a parameter's gradients over that at the base, for ε.

    Complete(d)P has no factor for the output because it has no multiplier there; here the multiplier is part of the
    gradient. For the experts: arXiv 2601.20205, table 2.
    """
    to_experts = kind.name == "expert_in" or (kind.name == "feedforward_in" and recipe.shape.experts)
    branch = growth.depth**-DEPTH_EXPONENT if kind.role == "hidden" else 1.0
    return branch / (growth.experts if to_experts else growth.width)


def _std(kind: ParameterKind, recipe: Recipe, growth: Growth) -> float:
    """1/√fan-in, for the output that of the base; divided by √(2·depth) if it writes to the residual stream (GPT-2).

    With the rule `depth`, which scales the branches themselves, that depth is the base's.
    """
    if kind.role == "input":
        return recipe.embedding_std
    if kind.role == "output":
        return 1.0 / sqrt(recipe.shape.width / growth.width)
    residual = 1.0 / sqrt(2 * recipe.shape.depth / growth.depth) if kind.residual else 1.0
    return residual / sqrt(_fan_in(kind, recipe))


def _attention_scale(recipe: Recipe, base: BaseScale | None) -> float:
    """1/√d for heads of width d; under `mup` ∝ 1/d, equal to 1/√d at the base (arXiv 2203.03466, section 2)."""
    width = recipe.shape.head_width
    scale = (recipe.qk_scale if recipe.shape.qk_norm else 1.0) / sqrt(width)
    return scale if base is None or base.head_width is None else scale * sqrt(base.head_width / width)


def _beta(field: str, beta: float, growth: Growth) -> float:
    """The decay of a moment, whose memory in tokens scales with the horizon (Complete(d)P)."""
    scaled = beta if growth.noise == 1.0 else 1.0 - (1.0 - beta) * growth.noise
    if not 0.0 <= scaled < 1.0:
        raise BadRecipe(
            f"recipe: {field} of {beta} becomes {scaled:.3g} at {growth.batch:.3g} times the base's batch and "
            f"{growth.tokens:.3g} times its horizon; allowed: from 0 to below 1, so use a nearer base"
        )
    return scaled
