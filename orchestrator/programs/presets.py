"""What known trainers print and leave behind: fills losses, resume and diverged of a registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nanogpt": {
        "losses": {
            "training": {"output": r"iter {step}: loss {value}"},
            "validation": {"output": r"step {step}: train loss .*, val loss {value}"},
        },
        "diverged": {"output": [r"loss (?:nan|inf)\b"]},
    },
    "hf": {
        "losses": {
            "training": {"output": r"'loss': '?{value}'?.*'step': '?{step}"},
            "validation": {"output": r"'eval_loss': '?{value}'?.*'step': '?{step}"},
        },
    },
}
"""Fields by the name of the preset; a registration's own fields replace them whole."""
