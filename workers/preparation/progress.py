"""Progress of a preparation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class PreparationStage(StrEnum):
    """The stages in order."""

    CHECKING = "checking the text"
    TRAINING = "training the tokenizer"
    ENCODING = "encoding"
    MEASURING = "measuring"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationProgress:
    """Progress of a stage.

    Attributes:
        stage: the current one.
        done, total: bytes of text, or of the token file while it is measured.
        tokens: ids written so far.
    """

    stage: PreparationStage
    done: int
    total: int
    tokens: int = 0


OnProgress = Callable[[PreparationProgress], None]
