"""Reasons to refuse a law or a prediction."""

from enum import Enum

from orchestrator.errors import FieldProblem, Unsupported


class LawRefusal(Enum):
    """Reasons for a refusal; the value is the template of the sentence for the user."""

    NO_RUNS = "{finite} of {runs} runs completed with a loss; a bowl needs at least three in one cell."
    FLAT = (
        "No bowl stands out from the noise: in {cells} cells with three rates or more, bowls explain {gain} times the "
        "square of the noise, and chance alone may explain {least}. {advice}"
    )
    INVERTED = (
        "The losses form the opposite of bowls: in {inverted} of {cells} cells with three rates or more the loss is "
        "highest between the rates tried and lowest at both ends. If a higher value is better, the column holds no loss."
    )
    NO_INTERIOR_MINIMUM = (
        "No cell has an interior minimum: of {cells} cells, {low} have their best run at the lowest rate tried "
        "({lowest}), {high} at the highest ({highest}), {few} have fewer than three rates, {wasted} have more but "
        "fewer than three that neither diverged nor lie {above} above the best, and {flat} are flat. {advice}"
    )
    NO_MINIMUM_LEFT = "None of the {cells} remaining cells shows a minimum."
    INTERVAL_TOO_WIDE = (
        "The learning rate at {place} is {known} (95 %), and a prediction needs ×/÷ 3: {cause}. Train proxies nearer to "
        "the target{advice}."
    )


class Refused(Unsupported):
    """The runs cannot support the request; `reason` is the rule, `detail` the sentence for the user."""

    def __init__(self, reason: LawRefusal, **values: object) -> None:
        self.reason = reason
        of_target = reason is LawRefusal.INTERVAL_TOO_WIDE
        problem = FieldProblem(path="target", message=self.code.replace("_", " "))
        super().__init__(reason.value.format(**values), fields=(problem,) if of_target else ())

    @property
    def code(self) -> str:
        """The rule for programs: `no_interior_minimum`."""
        return self.reason.name.lower()
