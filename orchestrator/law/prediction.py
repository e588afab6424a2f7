"""What a law answers at a target."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.law.notices import Notice, messages
from orchestrator.law.point import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The learning rate at a target and how sure it is.

    Attributes:
        target: The cell asked for.
        learning_rate: η*, the median of what the law believes.
        low, high: Interval of η* at `level`.
        level: Probability of the interval.
        valley_low, valley_high: Rates that lose at most 0.1 % with a probability of 80 % each; equal where there are none.
        expected_loss: Loss at `learning_rate` in the table's unit, or None.
        expected_loss_reason: Why there is none.
        extrapolation: Target over the largest value tried, per axis.
        notices: What the user should know.
    """

    target: Point
    learning_rate: float
    low: float
    high: float
    level: float
    valley_low: float
    valley_high: float
    expected_loss: float | None
    expected_loss_reason: str | None
    extrapolation: Mapping[str, float]
    notices: tuple[Notice, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of the notices."""
        return messages(self.notices)
