"""Translates a specification into the trainer's shape and recipe."""

from __future__ import annotations

from orchestrator.spec import Base, Dense, Muon, Mup, ProxyTrainer, Scale, experts_of
from trainer import BaseScale, Experts, Parametrization, Recipe, Schedule, Shape


def shape_of(scale: Scale, trainer: ProxyTrainer, vocab_size: int = 256) -> Shape:
    """The trainer's shape of a scale.

    Args:
        scale: size of the proxy.
        trainer: the sweep's recipe.
        vocab_size: number of different tokens of the corpus.
    """
    return Shape(
        width=scale.width,
        depth=scale.depth,
        heads=scale.attention_heads,
        vocab_size=vocab_size,
        context=trainer.context,
        qk_norm=trainer.architecture.qk_norm,
        experts=_experts(scale, trainer),
    )


def _experts(scale: Scale, trainer: ProxyTrainer) -> Experts | None:
    architecture = trainer.architecture
    size = experts_of(scale, architecture)
    if size is None or isinstance(architecture, Dense):
        return None
    return Experts(
        count=size.count,
        top_k=architecture.top_k,
        width=size.width,
        shared=architecture.shared_experts,
        balance=architecture.balance,
        balance_rate=architecture.load_balance_rate,
    )


def recipe_of(
    shape: Shape, trainer: ProxyTrainer, base: Base | None, *, batch_tokens: int, tokens: int, seed: int = 0
) -> Recipe:
    """The trainer's recipe of one cell.

    Args:
        shape: of the proxy (`shape_of`).
        trainer: the sweep's recipe.
        base: where the parametrization changes nothing; None for the standard one.
        batch_tokens: tokens per optimizer step.
        tokens: horizon; part of the recipe only if the rule ``horizon`` needs it.
        seed: of the initial parameters and the order of the data.

    Raises:
        TrainerError: the rules cannot transfer the rate from the base to this cell.
    """
    schedule, optimizer = trainer.schedule, trainer.optimizer
    parametrization = parametrization_of(trainer, base)
    return Recipe(
        shape=shape,
        schedule=Schedule(
            warmup_tokens=schedule.warmup_tokens,
            decay_fraction=schedule.decay_fraction,
            shape=schedule.shape,
            final_fraction=schedule.final_fraction,
        ),
        batch_tokens=batch_tokens,
        tokens=tokens if "horizon" in parametrization.rules else None,
        parametrization=parametrization,
        seed=seed,
        optimizer=optimizer.kind,
        **({"momentum": optimizer.momentum} if isinstance(optimizer, Muon) else {}),
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        weight_decay=optimizer.weight_decay,
        clip=optimizer.clip,
    )


def parametrization_of(trainer: ProxyTrainer, base: Base | None) -> Parametrization:
    """The trainer's parametrization, whose ``expert_width`` is that of all experts of one token together."""
    asked, architecture = trainer.parametrization, trainer.architecture
    if not isinstance(asked, Mup) or base is None:
        return Parametrization()
    top_k = 1 if isinstance(architecture, Dense) else architecture.top_k
    return Parametrization(
        base=BaseScale(
            width=base.width,
            depth=base.depth,
            head_width=base.head_width,
            expert_width=None if base.expert_width is None else top_k * base.expert_width,
            batch_tokens=base.batch_tokens,
            tokens=base.tokens,
        ),
        rules=frozenset(asked.rules),
        horizon_exponent=asked.horizon_exponent,
    )
