"""Multipliers of the learning rate by module, and the one text that means them: ``attention=0.5,embedding=2``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, cast, get_args

Module = Literal["attention", "embedding", "feedforward", "head", "router"]

MODULES: Final[tuple[Module, ...]] = get_args(Module)
"""Modules of a proxy that may have a rate of their own, in the order in which a text names them."""

DIGITS: Final = 4
"""Significant digits of a multiplier: every process spells it alike, and no result hangs on more."""


def rounded(multiplier: float) -> float:
    """A multiplier with as many digits as its text keeps."""
    return float(f"{multiplier:.{DIGITS}g}")


def written(multipliers: Mapping[str, float]) -> str:
    """The text of some multipliers; those that are 1 are left out, so that no multipliers are the empty text.

    Raises:
        ValueError: a name that is no module, or a multiplier that is not a positive number.
    """
    for module, multiplier in multipliers.items():
        if module not in MODULES:
            raise ValueError(f"{module!r} is no module; there are: {', '.join(MODULES)}")
        if not 0 < multiplier < float("inf"):
            raise ValueError(f"the multiplier of {module} is {multiplier!r}; it must be a positive number")
    kept = {module: rounded(multipliers[module]) for module in MODULES if module in multipliers}
    return ",".join(f"{module}={value:.{DIGITS}g}" for module, value in kept.items() if value != 1)


def told(text: str) -> str:
    """The same for people: ``attention ×0.5, embedding ×2``."""
    return text.replace("=", " ×").replace(",", ", ")


def read(text: str) -> dict[Module, float]:
    """The multipliers that a text means; modules that it does not name have 1.

    Raises:
        ValueError: text that ``written`` does not write.
    """
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    found = {module: float(value) for module, _, value in pairs}
    if written(found) != text:
        raise ValueError(f"{text!r} is no text of module rates; one reads {written(found)!r}")
    return cast("dict[Module, float]", found)
