"""What known trainers print and leave behind: fills losses, resume and diverged of a registration.

The formats are those of 2026. A pattern takes the losses of the trainer's own console alone, and where a line of a loss
has no step, ``losses.position`` takes it from another line. ``resume`` stands where the trainer's checkpoint has a fixed
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nanogpt": {
        "losses": {
            "training": {"output": r"iter {step}: loss {value}"},
            "validation": {"output": r"step {step}: train loss .*, val loss {value}"},
        },
        "resume": {"when": "{run_folder}/ckpt.pt", "arguments": ["--init_from=resume"]},
    },
    "megatron": {
        "losses": {
            "training": {"output": r"iteration +{step}/.*\| lm loss: {value}"},
            "validation": {
                "output": r"validation loss at iteration {step}\b(?! on test).*?\| lm loss value: {value}"
            },
        },
        "resume": {
            "when": "{run_folder}/checkpoints/latest_checkpointed_iteration.txt",
            "arguments": ["--load={run_folder}/checkpoints"],
        },
        "diverged": {"output": [r"number of nan iterations: +[1-9]"]},
    },
    "torchtitan": {
        "losses": {
            "training": {"output": r"(?<!validate )step: +{step} +loss: +{value}"},
            "validation": {"output": r"validate step: +{step} +loss: +{value}"},
        },
        "resume": {"when": "{run_folder}/checkpoint", "arguments": []},
    },
    "litgpt": {
        "losses": {
            "training": {"output": r"iter +[0-9]+ step {step} \| loss train: +{value}"},
            "validation": {"output": r"(?:iter [0-9]+: val loss|Final evaluation \| val loss:) +{value}"},
            "position": {"output": r"iter +[0-9]+ step {step} \|"},
        },
    },
    "levanter": {
        "losses": {
            "training": {"output": r'"event": "log", "step": {step}, .*?"train/loss": {value}'},
            "validation": {"output": r'"event": "log", "step": {step}, .*?"eval/loss": {value}'},
        },
        "diverged": {"output": [r"Loss is (?:NaN|Inf)\b"]},
    },
    "maxtext": {
        "losses": {
            "training": {"output": r"completed (?:profiler [\w/]+ )?step: {step},.*?, loss: {value}"},
            "validation": {"output": r"Completed eval after train step {step}, loss={value}"},
        },
        "diverged": {"output": [r"Aborting training due to NaN loss"]},
    },
    "composer": {
        "losses": {
            "training": {"output": r"Train (?:metrics/train/)?LanguageCrossEntropy: {value}"},
            "validation": {"output": r"Eval (?:metrics/eval/)?LanguageCrossEntropy: {value}"},
            "position": {"output": r"\[batch={step}(?:/[0-9]+)?\]"},
        },
        "diverged": {"output": [r"Train loss contains a NaN"]},
    },
    "olmo-core": {
        "losses": {
            "training": {"output": r"\btrain/CE loss={value}"},
            "validation": {"output": r"\beval/lm/.*/CE loss={value}"},
            "position": {"output": r"\[step={step}/"},
        },
        "diverged": {"output": [r"nan loss encountered at step"]},
    },
    "nanotron": {
        "losses": {"training": {"output": r"iteration: {step} / [0-9]+ \|.*\blm_loss: {value}"}},
    },
}
"""Fields by the name of the preset; a registration's own fields replace them whole."""

WITHOUT_PRESET: Final[Mapping[str, str]] = {
    "hf": "fills nothing: lines of Hugging Face's Trainer have a loss and no step. Leave preset and losses out, and give the "
    "Trainer callbacks=[etalon.HuggingFace()], which reports losses and checkpoints",
}
"""Trainers that people look for among the presets, and their own way."""
