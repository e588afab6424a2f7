"""Names and thresholds of the two lenses, the measurements of a run besides its losses."""

from __future__ import annotations

from typing import Final

MODULES: Final = ("embedding", "attention", "feedforward", "router", "head")
"""Parts of a model in their order of display; a dense model has no router."""

ATTENTION_LOGIT: Final = 50.0
"""Absolute attention logit above which attention is almost on one token (`trainer.symptoms`)."""

OUTPUT_LOGIT: Final = 30.0
"""RMS of the output logits above which the model is almost certain of nearly every token."""

UPDATE: Final = 0.3
"""RMS of an update over the RMS of the weights, above which the update replaces most of the weights."""
