"""The table of scaling rules of a specification, for programs: at the base, and at another scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.spec import Base, Dense, ProxyTrainer, Scale, experts_of
from trainer import TrainerError, rules_of
from trainer.scaling_rules import RULE_SOURCES
from workers.recipes import parametrization_of, recipe_of, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model and how it is trained.

    Attributes:
        scale: its size.
        batch_tokens: tokens per optimizer step.
        tokens: horizon.
    """

    scale: Scale
    batch_tokens: int
    tokens: int


def document(
    trainer: ProxyTrainer,
    base: Base,
    scale: Scale,
    batch_tokens: int,
    tokens: int,
    *,
    learning_rate: float | None = None,
) -> dict[str, Any]:
    """The table for programs.

    Args:
        trainer: the sweep's recipe.
        base: where its parametrization changes nothing.
        scale: the size to carry the rate to.
        batch_tokens: tokens per optimizer step there.
        tokens: horizon there.
        learning_rate: at the base; None leaves the rates out and their factors in.

    Raises:
        BadInput: the rules cannot carry a rate from the base to that scale.
    """
    place = Place(scale=scale, batch_tokens=batch_tokens, tokens=tokens)
    at_base = Place(scale=_base_scale(trainer, base), batch_tokens=base.batch_tokens, tokens=base.tokens)
    asked = parametrization_of(trainer, base)
    columns = {
        "base": _column(trainer, base, at_base, learning_rate),
        "target": _column(trainer, base, place, learning_rate),
    }
    sources: dict[str, str] = {rule: RULE_SOURCES[rule] for rule in sorted(asked.rules)}
    kinds = columns["base"].pop("kinds"), columns["target"].pop("kinds")
    return {
        "parametrization": asked.kind,
        "rules": sorted(asked.rules),
        "rule_sources": sources,
        "learning_rate": learning_rate,
        "ratios": _ratios(trainer, at_base, place),
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


def _ratios(trainer: ProxyTrainer, base: Place, place: Place) -> dict[str, float]:
    """Target over base; of the experts that one token meets only where there are some."""
    ratios = {
        "width": place.scale.width / base.scale.width,
        "depth": place.scale.depth / base.scale.depth,
        "batch_tokens": place.batch_tokens / base.batch_tokens,
        "tokens": place.tokens / base.tokens,
    }
    sizes = experts_of(base.scale, trainer.architecture), experts_of(place.scale, trainer.architecture)
    if sizes[0] is None or sizes[1] is None:
        return ratios
    return ratios | {"expert_width": sizes[1].width / sizes[0].width}


def _column(trainer: ProxyTrainer, base: Base, place: Place, learning_rate: float | None) -> dict[str, Any]:
    """One place: its size, what holds for all parameters, and for each kind its row of the table and its numbers."""
    try:
        recipe = recipe_of(
            shape_of(place.scale, trainer),
            trainer,
            base,
            batch_tokens=place.batch_tokens,
            tokens=place.tokens,
        )
        rules = rules_of(recipe)
    except TrainerError as error:
        raise BadInput(f"trainer.parametrization: {error}.") from error
    experts = experts_of(place.scale, trainer.architecture)
    return {
        "width": place.scale.width,
        "depth": place.scale.depth,
        "heads": place.scale.attention_heads,
        "expert_width": None if experts is None else experts.width,
        "batch_tokens": place.batch_tokens,
        "tokens": place.tokens,
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
