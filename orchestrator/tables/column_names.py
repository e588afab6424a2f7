"""The names of a run table's columns: how they are read, and which columns of a tracker look like a missing one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.tables.run_table import OPTIONAL, REQUIRED
from orchestrator.tables.text_columns import listed

MOST_COLUMNS: Final = 200

CLOSE_SPELLING: Final = 0.8
"""Similarity, of 1, from which a name may be a misspelling."""

SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "params": (
        *("n_params", "num_params", "param_count", "parameters", "n_parameters", "num_parameters"),
        *("model_params", "non_embedding_params", "params_non_embedding", "model_size", "size", "n"),
    ),
    "tokens": (
        *("n_tokens", "num_tokens", "train_tokens", "training_tokens", "total_tokens", "token_count"),
        *("tokens_seen", "horizon", "d"),
    ),
    "batch_tokens": (
        *("tokens_per_batch", "tokens_per_step", "batch_size_tokens", "global_batch_size", "batch_size"),
        *("train_batch_size", "batch", "bs", "b"),
    ),
    "learning_rate": (
        *("lr", "peak_lr", "max_lr", "peak_learning_rate", "max_learning_rate", "base_lr"),
        *("base_learning_rate", "init_lr", "learningrate", "eta", "η"),
    ),
    "loss": (
        *("val_loss", "valid_loss", "validation_loss", "eval_loss", "heldout_loss", "test_loss"),
        *("final_val_loss", "final_loss", "train_loss", "training_loss"),
    ),
}
"""Names that trackers and scripts have for the required columns, the likeliest first."""

_ADVICE: Final = {"batch_tokens": " (tokens per optimizer step: sequences times their length)"}


def read_names(names: Sequence[str]) -> list[str]:
    """The names under which columns are read: ``Learning Rate`` and ``State`` are ``learning_rate`` and ``state``.

    A column that the table has is never read from another.
    """
    plain = [_plain(name) for name in names]
    times = Counter(plain)
    known = {*REQUIRED, *OPTIONAL}.difference(names)
    return [to if to in known and times[to] == 1 else name for name, to in zip(names, plain, strict=True)]


def check_names(names: Sequence[str]) -> None:
    """Check the names of a table's columns, as they are read.

    Raises:
        BadInput: more than ``MOST_COLUMNS``, or a required one is missing, one is named twice, or a name has a NUL character.
    """
    if len(names) > MOST_COLUMNS:
        raise BadInput(f"The table has {len(names)} columns; at most {MOST_COLUMNS} are allowed.")
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise _lacking(missing, names)
    if any("\0" in name for name in names):
        raise BadInput("A column's name has a NUL character.")
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise BadInput(f"The table names a column twice: {', '.join(listed(repeated))}.")


def _lacking(missing: Sequence[str], names: Sequence[str]) -> BadInput:
    """The refusal of a table that lacks required columns, with those that look like them."""
    others = [name for name in names if name not in REQUIRED]
    guesses = {name: _lookalikes(name, others) for name in missing}
    renames = [
        f"Rename {' or '.join(found)} to {name}{_ADVICE.get(name, '')}"
        for name, found in guesses.items()
        if found
    ]
    advice = "".join(f"{rename}. " for rename in renames)
    return BadInput(
        f"The table lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}. {advice}"
        f"A run table needs {', '.join(REQUIRED)}; this one has: {', '.join(listed(names)) or 'nothing'}.",
        fields=tuple(
            FieldProblem(
                path=f"column {name}",
                message=f"is missing; {' or '.join(found)} looks like it" if found else "is missing",
            )
            for name, found in guesses.items()
        ),
    )


def _lookalikes(missing: str, names: Sequence[str]) -> list[str]:
    """The columns that may be a missing one, two at most; of the parts of ``config.lr`` the last counts too."""
    plain = {
        spelling: name
        for name in reversed(names)
        for spelling in (_plain(re.split(r"[./]", name)[-1]), _plain(name))
    }
    found = [plain[synonym] for synonym in SYNONYMS[missing] if synonym in plain]
    close = [plain[spelling] for spelling in get_close_matches(missing, plain, cutoff=CLOSE_SPELLING)]
    return list(dict.fromkeys(found or close))[:2]


def _plain(name: str) -> str:
    """A name in lower case, with underscores between its words."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")
