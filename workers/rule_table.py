"""The table of scaling rules that ``etalon rules`` prints: at the base, and at another scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.spec import Base, Dense, ProxyTrainer, Scale, experts_of
from trainer import TrainerError, rules_of
from trainer.scaling_rules import RULE_SOURCES
from workers.proxy_recipes import parametrization_of, recipe_of, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedScale:
    """A model and its training.

    Attributes:
        scale: its size.
        batch_tokens: tokens per optimizer step.
        tokens: horizon.
    """

    scale: Scale
    batch_tokens: int
    tokens: int


def rule_table(
    trainer: ProxyTrainer,
    base: Base,
    scale: Scale,
    batch_tokens: int,
    tokens: int,
    *,
    learning_rate: float | None = None,
) -> dict[str, Any]:
    """The table as a JSON-able mapping.

    Args:
        trainer: the sweep's recipe.
        base: where the parametrization changes nothing.
        scale: the size that the rate is transferred to.
        batch_tokens: tokens per optimizer step there.
        tokens: horizon there.
        learning_rate: at the base; None gives factors only.

    Raises:
        BadInput: the rules cannot transfer a rate from the base to that scale.
    """
    target = TrainedScale(scale=scale, batch_tokens=batch_tokens, tokens=tokens)
    at_base = TrainedScale(
        scale=_base_scale(trainer, base), batch_tokens=base.batch_tokens, tokens=base.tokens
    )
    asked = parametrization_of(trainer, base)
    columns = {
        "base": _column(trainer, base, at_base, learning_rate),
        "target": _column(trainer, base, target, learning_rate),
    }
    sources: dict[str, str] = {rule: RULE_SOURCES[rule] for rule in sorted(asked.rules)}
    kinds = columns["base"].pop("kinds"), columns["target"].pop("kinds")
    return {
        "parametrization": asked.kind,
        "rules": sorted(asked.rules),
        "rule_sources": sources,
        "learning_rate": learning_rate,
        "ratios": _ratios(trainer, at_base, target),
        **columns,
        "parameters": [
            {**row, "base": before, "target": after} for (row, before), (_, after) in zip(*kinds, strict=True)
        ],
    }


def _base_scale(trainer: ProxyTrainer, base: Base) -> Scale:
    return Scale(
        width=base.width,
        depth=base.depth,
        heads=base.width // base.head_width,
        expert_width=None if isinstance(trainer.architecture, Dense) else base.expert_width,
    )


def _ratios(trainer: ProxyTrainer, base: TrainedScale, target: TrainedScale) -> dict[str, float]:
    """Target over base; ``expert_width`` only for mixtures of experts."""
    ratios = {
        "width": target.scale.width / base.scale.width,
        "depth": target.scale.depth / base.scale.depth,
        "batch_tokens": target.batch_tokens / base.batch_tokens,
        "tokens": target.tokens / base.tokens,
    }
    sizes = experts_of(base.scale, trainer.architecture), experts_of(target.scale, trainer.architecture)
    if sizes[0] is None or sizes[1] is None:
        return ratios
    return ratios | {"expert_width": sizes[1].width / sizes[0].width}


def _column(
    trainer: ProxyTrainer, base: Base, there: TrainedScale, learning_rate: float | None
) -> dict[str, Any]:
    """One column: sizes, values common to all parameters, and for each kind its row of the table and its numbers."""
    try:
        recipe = recipe_of(
            shape_of(there.scale, trainer),
            trainer,
            base,
            batch_tokens=there.batch_tokens,
            tokens=there.tokens,
        )
        rules = rules_of(recipe)
    except TrainerError as error:
        raise BadInput(f"trainer.parametrization: {error}.") from error
    experts = experts_of(there.scale, trainer.architecture)
    return {
        "width": there.scale.width,
        "depth": there.scale.depth,
        "heads": there.scale.attention_heads,
        "expert_width": None if experts is None else experts.width,
        "batch_tokens": there.batch_tokens,
        "tokens": there.tokens,
        "attention_scale": rules.attention_scale,
        "beta1": rules.beta1,
        "beta2": rules.beta2,
        "kinds": [
            (
                {
                    "kind": rule.kind.name,
                    "module": rule.kind.module,
                    "role": rule.kind.role,
                    "source": rule.source,
                },
                {
                    "initial_std": rule.std,
                    "initial_variance": rule.std**2,
                    "learning_rate_factor": rule.rate,
                    "learning_rate": None if learning_rate is None else learning_rate * rule.rate,
                    "weight_decay_factor": rule.decay,
                    "weight_decay": recipe.weight_decay * rule.decay,
                    "epsilon_factor": rule.epsilon,
                    "epsilon": recipe.epsilon * rule.epsilon,
                    "forward_multiplier": rule.multiplier,
                },
            )
            for rule in rules.rules
        ],
    }
