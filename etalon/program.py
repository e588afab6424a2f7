"""Calls for a training program that Etalon starts: standard library alone, Python 3.8 and later.

A run of Etalon is told by the environment: ``ETALON_RUN`` is the path of a JSON file with the values of the run,
``ETALON_REPORT`` the path of the report, one JSON object a line, and ``ETALON_STOP`` a path that exists once the
program must save and end. Without them each call does nothing and returns False, so a program with these calls runs
unchanged by hand.

A call writes one whole line. Where ``RANK`` is set, as torchrun does, only rank 0 writes, but every rank may report a
divergence. A report that cannot be written, because the disk is full for example, is logged once and does not end the
training. Arguments that do not go together are an error with and without Etalon.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, SupportsFloat

TYPE_CHECKING = False

LONGEST_LINE = 8192
"""Bytes of a line of the report, its newline included; longer ones are not read."""

LONGEST_REASON = 500
"""Characters of a reason: it stays below the longest line however its characters are escaped."""

log = logging.getLogger("etalon")

_failures = {"told": False, "torn": False}
"""Whether a failure has been logged, and whether the last line was written in part."""

if TYPE_CHECKING:
    run: Mapping[str, Any]
    """The values of the run, read at the first use: learning_rate, tokens, batch_tokens, steps, seed and the others
    of the registration's placeholders, and the program's own parameters. Empty where there is no run of Etalon."""


def report(
    *,
    tokens: SupportsFloat | None = None,
    step: SupportsFloat | None = None,
    loss: SupportsFloat | None = None,
    validation_loss: SupportsFloat | None = None,
) -> bool:
    """Report a point of the learning curve. Losses are in nats a token; NaN and infinite ones are told as they are.

    Args:
        tokens: tokens trained so far, on all ranks together; or ``step``.
        step: optimizer steps so far. Etalon multiplies them with the run's ``batch_tokens``.
        loss: training loss.
        validation_loss: held-out loss.

    Returns:
        Whether it was written: False without a run of Etalon, and on other ranks than 0.

    Raises:
        TypeError: both or neither of ``tokens`` and ``step``, or no loss.
    """
    if (tokens is None) == (step is None):
        given = "neither" if tokens is None else "both"
        raise TypeError(f"etalon.report() takes tokens= or step=, and got {given}: give one of them")
    if loss is None and validation_loss is None:
        raise TypeError("etalon.report() got no loss: give loss=, validation_loss= or both")
    if not _reports():
        return False
    position = {"step": _whole(step)} if tokens is None else {"tokens": _whole(tokens)}
    losses = {"loss": loss, "validation_loss": validation_loss}
    return _write(
        *({**position, name: _number(value)} for name, value in losses.items() if value is not None)
    )


def saved(path: str | os.PathLike[str], tokens: SupportsFloat) -> bool:
    """Report a checkpoint that is whole on disk. Etalon may start other runs from it.

    Args:
        path: the checkpoint, a file or folder.
        tokens: tokens trained when it was taken, on all ranks together.

    Returns:
        Whether it was written: False without a run of Etalon, and on other ranks than 0.
    """
    return _reports() and _write({"saved": os.path.abspath(os.fspath(path)), "tokens": _whole(tokens)})


def should_stop() -> bool:
    """Whether the program must save and end. It looks for a file: microseconds, no communication.

    Several processes look at different moments. Let rank 0 look and broadcast what it saw, or one process leaves while
    the others wait for it.
    """
    path = os.environ.get("ETALON_STOP")
    return bool(path) and os.path.exists(str(path))


def diverged(reason: str, tokens: SupportsFloat | None = None) -> bool:
    """Report that the learning rate was too high. Etalon ends the program soon after.

    Args:
        reason: what was seen, for people; cut after 500 characters.
        tokens: tokens trained so far, on all ranks together.

    Returns:
        Whether it was written: False without a run of Etalon.
    """
    if not os.environ.get("ETALON_REPORT"):
        return False
    seen = {"diverged": str(reason)[:LONGEST_REASON]}
    return _write(seen if tokens is None else {**seen, "tokens": _whole(tokens)})


def model(*, params: int, params_total: int | None = None, params_active: int | None = None) -> bool:
    """Report the size of the model, once.

    Args:
        params: parameters without embeddings and output head: the N of the law.
        params_total: all parameters, embeddings included.
        params_active: of a mixture of experts, those that a token uses, without embeddings and output head.

    Returns:
        Whether it was written: False without a run of Etalon, and on other ranks than 0.
    """
    sizes = {"params": params, "params_total": params_total, "params_active": params_active}
    known = {name: size for name, size in sizes.items() if size is not None}
    return _reports() and _write({"model": {name: _whole(size) for name, size in known.items()}})


def done(loss: SupportsFloat | None = None) -> bool:
    """Report the end of the training.

    Args:
        loss: the run's answer, in place of the one that its registration takes from the reported losses.

    Returns:
        Whether it was written: False without a run of Etalon, and on other ranks than 0.
    """
    return _reports() and _write({"done": True} if loss is None else {"done": True, "loss": _number(loss)})


def _reports() -> bool:
    return bool(os.environ.get("ETALON_REPORT")) and os.environ.get("RANK", "0") in ("", "0")


def _number(value: SupportsFloat) -> float:
    """A number, or the only element of a tensor or array, which need not be detached."""
    return float(value.item() if hasattr(value, "item") else value)


def _whole(value: SupportsFloat | None) -> int:
    return value if isinstance(value, int) else round(_number(value or 0))


def _write(*entries: Mapping[str, Any]) -> bool:
    """Append entries, all in one write: lines of several processes do not mix."""
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    if max(map(len, text.splitlines())) >= LONGEST_LINE:
        return _failed(f"a line of {len(text)} bytes is longer than {LONGEST_LINE}")
    line = ("\n" * _failures["torn"] + text).encode()
    try:
        opened = os.open(os.environ["ETALON_REPORT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(opened, line)
        finally:
            os.close(opened)
    except OSError as error:
        return _failed(str(error))
    _failures["torn"] = written < len(line)
    return not _failures["torn"] or _failed(f"{written} of {len(line)} bytes were written")


def _failed(why: str) -> bool:
    if not _failures["told"]:
        log.warning("etalon: a report to Etalon was not written and the training goes on: %s", why)
        _failures["told"] = True
    return False


if not TYPE_CHECKING:  # for a type checker, any name would exist

    def __getattr__(name: str) -> Mapping[str, Any]:
        """``run`` is read when it is used (PEP 562)."""
        if name != "run":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        path = os.environ.get("ETALON_RUN")
        if not path:
            return MappingProxyType({})
        with open(path, encoding="utf-8") as file:
            return MappingProxyType(json.load(file))
