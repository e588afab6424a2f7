"""What the trainer refuses, in the user's words."""


class TrainerError(ValueError):
    """Base of everything the trainer refuses."""


class BadShape(TrainerError):
    """A proxy shape that cannot be built.

    Attributes:
        field: The field at fault.
        value: What it was.
        allowed: What it may be, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"shape: {field} is {value!r}; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class BadSchedule(TrainerError):
    """A schedule that cannot be followed, or a horizon that it has no room for."""


class BadRecipe(TrainerError):
    """A recipe whose numbers are out of range or do not fit together."""


class BadCorpus(TrainerError):
    """A corpus that is missing, too short, or not what it was said to be."""


class BadJob(TrainerError):
    """A job whose members, horizons and corpus do not fit together."""


class BadCheckpoint(TrainerError):
    """Saved state that is unreadable or belongs to another job."""


class OldCheckpoint(BadCheckpoint):
    """Saved state of another version: what it stood for can only be trained again."""
