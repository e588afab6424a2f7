"""The two lenses in names: what is recorded of a run besides its losses, and from where it is a symptom."""

from __future__ import annotations

from typing import Final

MODULES: Final = ("embedding", "attention", "feedforward", "router", "head")
"""Parts of a model, in the order in which they are listed; a dense model has no router."""

ATTENTION_LOGIT: Final = 50.0
"""Size of an attention logit above which attention sees hardly more than one token (`trainer.symptoms`)."""

OUTPUT_LOGIT: Final = 30.0
"""RMS of output logits above which the model is all but certain of nearly every token."""

UPDATE: Final = 0.3
"""RMS of an update over that of the weights above which little is left of what was learned."""
