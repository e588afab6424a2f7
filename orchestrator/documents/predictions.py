"""Predictions: the learning rate at a target with its interval, and the runs that would confirm it."""

from __future__ import annotations

from pydantic import Field

from orchestrator.documents.document import Document
from orchestrator.documents.notices import NoticedDocument


class TargetDocument(Document):
    """The (N, D, B) of a model."""

    params: float = Field(examples=[1e9])
    tokens: float = Field(examples=[2e10])
    batch_tokens: float = Field(examples=[1048576])


class Interval(Document):
    """An interval that holds the rate, the batch or the loss with this probability."""

    level: float = Field(examples=[0.95])
    low: float
    high: float


class Valley(Document):
    """The rates that each lose at most ``excess_loss`` of the best loss with probability ``probability``.

    Where the optimum is too uncertain there is no valley: ``low`` and ``high`` are both the predicted rate, and
    ``reason`` is set.
    """

    low: float
    high: float = Field(description="Equal to `low` where there is no valley.")
    excess_loss: float = Field(examples=[0.001])
    probability: float = Field(default=0.8, description="Of each rate in the valley.")
    reason: str | None = Field(default=None, description="The reason for no valley; null where there is one.")


class WrongRate(Document):
    """The expected cost of another rate than the predicted one."""

    factor: float = Field(
        description="Over the predicted rate; 1 is the predicted rate itself.", examples=[2]
    )
    learning_rate: float
    excess_loss: float = Field(
        description="Expected loss over the best one at the target, minus one, with the uncertainty of the optimum.",
        examples=[0.023],
    )


class BestTried(Document):
    """The rate run at the target that is expected to lose least."""

    learning_rate: float
    probability: float = Field(description="That it is within 0.1 % of the best rate.", examples=[0.93])


class AffordableRuns(Document):
    """Runs in another cell, the one that narrows the target's interval most, where a run at the target costs too much."""

    params: float
    tokens: float
    batch_tokens: float
    learning_rates: list[float]
    flops: float = Field(description="Of all of them.")
    interval_factor_before: float = Field(
        description="The 95 % interval at the target is within ×/÷ this before the runs."
    )
    interval_factor_after: float = Field(description="The same as expected after the runs.")


class Confirmation(Document):
    """The runs at the target itself that would settle the answer."""

    learning_rates: list[float] = Field(
        description="The rates likely to be run, the next one first; ask again after each run. Empty where nothing is "
        "left to run, or nothing is known: see `reason`."
    )
    flops_per_run: float = Field(examples=[1.26e21])
    expected_runs: float | None = Field(
        description="Further runs expected until one is within 0.1 % of the best rate, known or not.",
        examples=[1.2],
    )
    expected_runs_until_sure: float | None = Field(
        description="Further runs expected until one is known to be that close with probability 0.9.",
        examples=[2.1],
    )
    probability_first: float | None = Field(
        description="That the first of `learning_rates` is within 0.1 % of the best rate.", examples=[0.85]
    )
    best: BestTried | None = Field(description="Null where no run at the target has finished.")
    reason: str
    affordable: AffordableRuns | None = Field(
        default=None,
        description="Null unless `budget_flops` was given and does not pay for a run at the target, and it pays for runs "
        "that narrow the interval.",
    )


class FurtherCellDocument(TargetDocument):
    """A cell of a further size, and the rates to run there."""

    learning_rates: list[float]


class FurtherSizeDocument(Document):
    """A size that was not tried and would narrow the interval at the target most for its FLOPs.

    It takes at least a tenth off the logarithm of the interval's factor and costs less than one run at the target. Where
    there is none, `cells` is empty, `reason` says why, and the rest is null.
    """

    params: float | None = Field(
        description="To two digits: a size near it serves as well.", examples=[4.0e7]
    )
    cells: list[FurtherCellDocument]
    flops: float | None = Field(description="Of all runs.")
    interval_factor_before: float | None = Field(
        description="The 95 % interval at the target is within ×/÷ this before the runs.", examples=[1.9]
    )
    interval_factor_after: float | None = Field(
        description="The same as expected after the runs.", examples=[1.5]
    )
    reason: str


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
        description="Units and recipe it was fitted in.",
    )
    anchor: AnchorDocument | None = Field(
        default=None, description="Where a ratio starts; null where the law gives a rate itself."
    )


class BatchChoice(Document):
    """The cost of a batch: of the best rate there, against the best rate at the best batch."""

    batch_tokens: float = Field(examples=[524288])
    learning_rate: float = Field(description="The best rate at this batch.", examples=[0.0011])
    excess_loss: float = Field(
        description="Expected loss of the best rate at this batch over that at the best batch, minus one, with the "
        "uncertainty of the best batch.",
        examples=[0.0021],
    )
    low: float = Field(description="Lower end of the 95 % interval of the excess loss.", examples=[0.0009])
    high: float = Field(description="Its upper end.", examples=[0.0035])


class LargestWithin(Document):
    """The largest batch whose expected excess loss is no more than this above the least."""

    excess_loss: float = Field(examples=[0.005])
    batch_tokens: float | None = Field(
        description="Null where the best batch is too uncertain for any to be expected within it.",
        examples=[2.1e6],
    )
    learning_rate: float | None = Field(
        default=None,
        description="The best rate at this batch; null where `batch_tokens` is.",
        examples=[0.0012],
    )


class BatchAnswer(Document):
    """The best batch at the (N, D) of the target, and what any other costs."""

    best: float | None = Field(
        description="B of the least loss, in tokens per step, each batch at its best rate; null where the runs do not "
        "show it: see `reason`.",
        examples=[1.1e6],
    )
    interval: Interval | None = Field(description="The 95 % interval of `best`; null where it is.")
    learning_rate: float | None = Field(
        default=None, description="The best rate at `best`; null where it is.", examples=[0.0011]
    )
    reason: str | None = Field(description="Why there is no best batch; null where there is one.")
    choices: list[BatchChoice] = Field(
        default=[],
        description="The batches tried and powers of two between and one beyond them, in ascending order.",
    )
    largest_within: list[LargestWithin] = Field(default=[], description="For 0.5 % and for 1 %.")


class BaseProxyDocument(Document):
    """The proxy at which muP changes nothing."""

    width: int
    depth: int
    head_width: int
    expert_width: int | None = Field(description="Null for a dense model.")
    batch_tokens: int
    tokens: int


class PredictionDocument(NoticedDocument):
    """The learning rate at a target, with its uncertainty."""

    sweep_id: str | None
    law_number: int | None
    target: TargetDocument
    learning_rate: float = Field(examples=[0.00094])
    interval: Interval
    valley: Valley
    wrong_rate: list[WrongRate] = Field(
        default=[],
        description="Expected costs of rates from a quarter to four times the predicted one.",
    )
    confirmation: Confirmation | None = Field(
        default=None, description="The runs at the target that would settle the answer."
    )
    further_size: FurtherSizeDocument | None = Field(
        default=None, description="The size to add to those tried, if one is worth its FLOPs."
    )
    expected_loss: float | None
    expected_loss_interval: Interval | None = Field(
        default=None,
        description="Of the loss of a run at the target with `learning_rate`; null where `expected_loss` is.",
    )
    batch: BatchAnswer | None = Field(
        default=None,
        description="The best batch at the params and tokens of the target. Null only in predictions kept from before "
        "it was answered.",
    )
    extrapolation: dict[str, float] = Field(description="Target over the largest seen, on each axis.")
    base: BaseProxyDocument | None = Field(
        default=None,
        description="The proxy whose units the rate is in, under muP: `etalon rules` prints the rates at the target. Null "
        "where the rate is the target's own.",
    )
    published: list[PublishedRate]


class RefusalDocument(Document):
    """A refused prediction, as a law keeps it in place of one."""

    sweep_id: str | None = None
    law_number: int | None = None
    target: TargetDocument
    refused: str | None = Field(
        default=None, description="The rule that refused, for programs.", examples=["interval_too_wide"]
    )
    detail: str


TargetAnswer = PredictionDocument | RefusalDocument
"""What a law says at its sweep's target."""
