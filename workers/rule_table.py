"""Fills the table of scaling rules that ``etalon rules`` prints, from the trainer's own rules."""

from __future__ import annotations

from orchestrator.documents.rule_tables import ParameterRow, ParameterValues, RuleColumn, RuleTable
from orchestrator.errors import BadInput
from orchestrator.spec import Base, Dense, ProxyTrainer, Scale, TrainedScale, experts_of
from trainer import Recipe, TrainerError, rules_of
from trainer.scaling_rules import RULE_SOURCES, ParameterRule, ParameterRules
from workers.proxy_recipes import parametrization_of, recipe_of, shape_of


def rule_table(
    trainer: ProxyTrainer, base: Base, target: TrainedScale, *, learning_rate: float | None = None
) -> RuleTable:
    """The scaling rules at the base and at a target.

    Args:
        trainer: the sweep's recipe.
        base: where the parametrization changes nothing.
        target: to which the rate is transferred.
        learning_rate: at the base; None gives factors only.

    Raises:
        BadInput: the rules cannot transfer a rate from the base to the target.
    """
    at_base = TrainedScale(
        scale=_base_scale(trainer, base), batch_tokens=base.batch_tokens, tokens=base.tokens
    )
    (recipe, before), (_, after) = (_rules(trainer, base, there) for there in (at_base, target))
    asked = parametrization_of(trainer, base)
    return RuleTable(
        parametrization="standard" if asked.base is None else "mup",
        rules=sorted(asked.rules),
        rule_sources={rule: RULE_SOURCES[rule] for rule in sorted(asked.rules)},
        learning_rate=learning_rate,
        ratios=_ratios(trainer, at_base, target),
        base=_column(trainer, at_base, before),
        target=_column(trainer, target, after),
        parameters=[
            ParameterRow(
                kind=rule.kind.name,
                module=rule.kind.module,
                role=rule.kind.role,
                source=rule.source,
                base=_values(rule, recipe, learning_rate),
                target=_values(there, recipe, learning_rate),
            )
            for rule, there in zip(before.rules, after.rules, strict=True)
        ],
    )


def _base_scale(trainer: ProxyTrainer, base: Base) -> Scale:
    return Scale(
        width=base.width,
        depth=base.depth,
        heads=base.width // base.head_width,
        expert_width=None if isinstance(trainer.architecture, Dense) else base.expert_width,
    )


def _rules(trainer: ProxyTrainer, base: Base, there: TrainedScale) -> tuple[Recipe, ParameterRules]:
    try:
        recipe = recipe_of(
            shape_of(there.scale, trainer),
            trainer,
            base,
            batch_tokens=there.batch_tokens,
            tokens=there.tokens,
        )
        return recipe, rules_of(recipe)
    except TrainerError as error:
        raise BadInput(f"trainer.parametrization: {error}.") from error


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


def _column(trainer: ProxyTrainer, there: TrainedScale, rules: ParameterRules) -> RuleColumn:
    scale, experts = there.scale, experts_of(there.scale, trainer.architecture)
    return RuleColumn(
        width=scale.width,
        depth=scale.depth,
        heads=scale.attention_heads,
        expert_width=None if experts is None else experts.width,
        batch_tokens=there.batch_tokens,
        tokens=there.tokens,
        attention_scale=rules.attention_scale,
        beta1=rules.beta1,
        beta2=rules.beta2,
    )


def _values(rule: ParameterRule, recipe: Recipe, learning_rate: float | None) -> ParameterValues:
    return ParameterValues(
        initial_std=rule.std,
        initial_variance=rule.std**2,
        learning_rate_factor=rule.rate,
        learning_rate=None if learning_rate is None else learning_rate * rule.rate,
        weight_decay_factor=rule.decay,
        weight_decay=recipe.weight_decay * rule.decay,
        epsilon_factor=rule.epsilon,
        epsilon=recipe.epsilon * rule.epsilon,
        forward_multiplier=rule.multiplier,
    )
