"""The two lenses in names: what is recorded of a run besides its losses, and the sentence that tells of a divergence."""

from __future__ import annotations

import re
from typing import Final

MODULES: Final = ("embedding", "attention", "feedforward", "router", "head")
"""Parts of a model, in the order in which they are listed; a dense model has no router."""

ATTENTION_LOGIT: Final = 50.0
"""Size of an attention logit above which attention sees hardly more than one token (`trainer.symptoms`)."""

OUTPUT_LOGIT: Final = 30.0
"""RMS of output logits above which the model is all but certain of nearly every token."""

UPDATE: Final = 0.3
"""RMS of an update over that of the weights above which little is left of what was learned."""

_DIVERGED: Final = re.compile(r"Diverged after (\d+) tokens: ")


def diverged_after(tokens: int, reason: str) -> str:
    """The recorded reason of a run that diverged: after how many tokens it was noticed, and why."""
    return f"Diverged after {tokens} tokens: {reason}."


def diverged_tokens(reason: str | None) -> int | None:
    """After how many tokens a divergence was noticed, from its recorded reason; None where that does not tell."""
    found = _DIVERGED.match(reason or "")
    return None if found is None else int(found[1])
