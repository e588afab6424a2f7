"""A prediction as the contract spells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from orchestrator.documents.document import Document


class TargetDocument(Document):
    """The (N, D, B) of a model."""

    params: float = Field(examples=[1e9])
    tokens: float = Field(examples=[2e10])
    batch_tokens: float = Field(examples=[1048576])


class Interval(Document):
    """Where the rate lies with this probability."""

    level: float = Field(examples=[0.95])
    low: float
    high: float


class Valley(Document):
    """The rates that lose at most ``excess_loss`` of the best loss with a probability of ``probability`` each.

    Where the optimum is too uncertain for any rate to be sure of that, ``low`` and ``high`` are both the predicted
    rate and ``reason`` says so: then there is no valley.
    """

    low: float
    high: float = Field(description="Equal to `low` where there is no valley: `reason` then says why.")
    excess_loss: float = Field(examples=[0.001])
    probability: float = Field(
        default=0.8, description="Of each rate in the valley; 0.8 in laws stored without it."
    )
    reason: str | None = Field(default=None, description="Why there is no valley; null where there is one.")


class WrongRate(Document):
    """What a rate beside the predicted one is expected to cost."""

    factor: float = Field(description="On the predicted rate; 1 is the predicted rate itself.", examples=[2])
    learning_rate: float
    excess_loss: float = Field(
        description="Expected loss over the best one at the target, minus one; the optimum's uncertainty included.",
        examples=[0.023],
    )


class BestTried(Document):
    """Of the rates run at the target, the one that is expected to lose least."""

    learning_rate: float
    probability: float = Field(description="That it is within 0.1 % of the best rate.", examples=[0.93])


class AffordableRuns(Document):
    """Runs in the cell that narrows the target's interval most where a run at the target costs too much."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rates: list[float]
    flops: float = Field(description="Of all of them.")
    interval_factor_before: float = Field(
        description="The 95 % interval at the target is within ×/÷ this now …"
    )
    interval_factor_after: float = Field(description="… and is expected to be within ×/÷ this after them.")


class Confirmation(Document):
    """The few runs at the target itself that would settle the answer."""

    learning_rates: list[float] = Field(
        description="Those likely to be run, the next one first; after each run ask again. Empty where nothing is left "
        "to run, or nothing can be told: `reason` says which."
    )
    flops_per_run: float = Field(examples=[1.26e21])
    expected_runs: float | None = Field(
        description="Further runs expected until one is within 0.1 % of the best rate, whether or not one knows it.",
        examples=[1.2],
    )
    expected_runs_until_sure: float | None = Field(
        description="Further runs expected until one is known to be, with probability 0.9.", examples=[2.1]
    )
    probability_first: float | None = Field(
        description="That the first of `learning_rates` is within 0.1 % of the best rate.", examples=[0.85]
    )
    best: BestTried | None = Field(description="Null where no run at the target has finished.")
    reason: str
    affordable: AffordableRuns | None = Field(
        default=None,
        description="Only where `budget_flops` was given, is less than a run at the target costs, and runs of some "
        "cell that it pays for narrow the interval.",
    )


class AnchorDocument(Document):
    """A measured optimum that a ratio starts from."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rate: float


class PublishedRate(Document):
    """The rate of a published law at the same target."""

    law: str
    learning_rate: float
    source: str
    note: str | None = Field(
        default=None, description="When it applies, and where a ratio starts, in one line."
    )
    applies: str | None = Field(
        default=None,
        description="Units and recipe it was fitted in; null in answers stored by earlier versions.",
    )
    anchor: AnchorDocument | None = Field(
        default=None, description="Where a ratio starts; null where the law gives a rate itself."
    )


class PredictionDocument(Document):
    """The learning rate at a target, and how sure it is."""

    model_config = ConfigDict(extra="allow")

    sweep_id: str | None
    law_number: int | None
    target: TargetDocument
    learning_rate: float = Field(examples=[0.00094])
    interval: Interval
    valley: Valley
    wrong_rate: list[WrongRate] = Field(
        default=[],
        description="What a wrong rate costs, from a quarter to four times the predicted one; empty in answers of "
        "laws that an earlier version stored.",
    )
    confirmation: Confirmation | None = Field(
        default=None, description="Null in answers of laws that an earlier version stored."
    )
    expected_loss: float | None
    extrapolation: dict[str, float] = Field(description="Target over the largest seen, on each axis.")
    base: dict[str, int | None] | None = Field(
        default=None,
        description="The proxy that the rate is in units of, where the sweep's parametrization is muP: etalon rules tells "
        "the rates at the target. Null where the rate is the target's own.",
    )
    warnings: list[str]
    published: list[PublishedRate]


class RefusalDocument(Document):
    """A refused prediction, as a law keeps it in place of one."""

    model_config = ConfigDict(extra="allow")

    sweep_id: str | None = None
    law_number: int | None = None
    target: TargetDocument
    refused: str | None = Field(default=None, description="The rule that refuses, in a few words.")
    detail: str


def read_answer(content: Mapping[str, Any]) -> PredictionDocument | RefusalDocument:
    """Read an answer that was kept with a law."""
    refused = content.get("learning_rate") is None
    return (RefusalDocument if refused else PredictionDocument).model_validate(content)
