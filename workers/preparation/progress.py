"""What a preparation tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of a preparation, in order."""

    CHECKING = "checking the text"
    TRAINING = "training the tokenizer"
    ENCODING = "encoding"
    MEASURING = "measuring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a stage has come.

    Attributes:
        stage: which.
        done, total: bytes of text, or of the token file when it is measured.
        tokens: written so far.
    """

    stage: Stage
    done: int
    total: int
    tokens: int = 0


Tell = Callable[[Progress], None]
