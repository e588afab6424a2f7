"""The table of ``etalon rules``: how a parametrization transfers a learning rate from its base to another scale."""

from __future__ import annotations

from orchestrator.documents.document import Document


class RuleColumn(Document):
    """One of the two models of the table, and the values that all its parameters share."""

    width: int
    depth: int
    heads: int
    expert_width: int | None
    batch_tokens: int
    tokens: int
    attention_scale: float
    beta1: float
    beta2: float


class ParameterValues(Document):
    """Initial values and optimizer settings of one kind of parameter in one of the two models."""

    initial_std: float
    initial_variance: float
    learning_rate_factor: float
    learning_rate: float | None
    weight_decay_factor: float
    weight_decay: float
    epsilon_factor: float
    epsilon: float
    forward_multiplier: float


class ParameterRow(Document):
    """One kind of parameter in both models, and the source of its rule."""

    kind: str
    module: str
    role: str
    source: str
    base: ParameterValues
    target: ParameterValues


class RuleTable(Document):
    """The scaling rules of a sweep of proxies, at the base and at another scale."""

    parametrization: str
    rules: list[str]
    rule_sources: dict[str, str]
    learning_rate: float | None
    ratios: dict[str, float]
    base: RuleColumn
    target: RuleColumn
    parameters: list[ParameterRow]
