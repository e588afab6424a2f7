"""Errors of the trainer, each with a message that names the field, its value and the allowed range."""


class TrainerError(ValueError):
    """Base class of all errors that the trainer raises for bad input."""

    @classmethod
    def unless(cls, allowed: bool, field: str, value: object, values: str) -> None:
        """Raises this error unless a value is allowed.

        Args:
            allowed: Whether it is.
            field: What has the value.
            value: The value.
            values: The values that are allowed, in words.
        """
        if not allowed:
            raise cls(f"{field} is {value!r}; allowed: {values}")


class BadShape(TrainerError):
    """A proxy shape that cannot be built."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"shape: {field} is {value!r}; allowed: {allowed}")


class BadSchedule(TrainerError):
    """A schedule that is out of range, or a horizon too short for it."""


class BadRecipe(TrainerError):
    """A recipe whose numbers are out of range or contradict each other."""


class BadCorpus(TrainerError):
    """A corpus that is missing, too short, or differs from its description."""


class BadJob(TrainerError):
    """A job whose members, horizons and corpus do not fit together."""


class BadCheckpoint(TrainerError):
    """Saved state that is unreadable or belongs to another job."""


class OldCheckpoint(BadCheckpoint):
    """Saved state in the format of another version; the job has to be trained again."""
