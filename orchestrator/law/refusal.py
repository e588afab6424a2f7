"""Reasons to refuse a law or a prediction."""

from enum import Enum

from orchestrator.errors import FieldProblem, Refused


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
    NO_INTERIOR_MINIMUM = "No cell has an interior minimum: of {cells} cells, {kinds}. {advice}"
    NO_MINIMUM_LEFT = "None of the {cells} remaining cells shows a minimum."
    INTERVAL_TOO_WIDE = (
        "The learning rate at {place} is {known} (95 %), and a prediction needs ×/÷ 3: {cause}. Train proxies nearer to "
        "the target{advice}."
    )

    @property
    def code(self) -> str:
        """The rule for programs: `no_interior_minimum`."""
        return self.name.lower()

    def error(self, **values: object) -> Refused:
        """The refusal with its sentence; ``values`` fill the template."""
        of_target = self is LawRefusal.INTERVAL_TOO_WIDE
        problem = FieldProblem(path="target", message=self.code.replace("_", " "))
        return Refused(self.value.format(**values), fields=(problem,) if of_target else (), code=self.code)
