"""Patterns on a program's output: the short forms ``{step}`` and so on, and faults told in the words of whoever wrote them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

_WHOLE: Final = r"[0-9]+(?:[_,][0-9]{3})*"
_AMOUNT: Final = rf"{_WHOLE}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\s?[kKMBGT]?"
_NUMBER: Final = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
GROUPS: Final = {
    "step": _WHOLE,
    "tokens": _AMOUNT,
    "samples": _AMOUNT,
    "value": rf"[-+]?(?i:nan|inf(?:inity)?)\b|{_NUMBER}",
}
"""What the groups match that ``{step}`` and so on stand for in a short form; the rest of it is a regular expression."""

_SHORT: Final = re.compile(r"(?<!\\)\{([A-Za-z_][^{}]*)\}")
_PADDING: Final = r"\s*"
"""Before a number that a program pads to a width."""

ESCAPES: Final = r"in a regular expression [ and ( themselves are written \[ and \("


def expanded(short: str) -> str:
    """The regular expression of a short form such as ``step {step} loss {value}``.

    Raises:
        ValueError: a name in braces is not known; a clause for people.
    """
    return _SHORT.sub(lambda found: _group(found, short), short)


def _group(found: re.Match[str], short: str) -> str:
    name = found[1]
    if name not in GROUPS:
        near = get_close_matches(name, GROUPS, n=1, cutoff=0.5)
        known = ", ".join(f"{{{each}}}" for each in GROUPS)
        hint = f"the nearest is {{{near[0]}}}" if near else f"known are {known}, the last one for the loss"
        raise ValueError(rf"{found[0]} stands for nothing here; {hint}; a brace itself is written \{{")
    # Behind a quantifier the padding would only be tried again and again.
    padding = "" if short[: found.start()].endswith(("*", "+", "?", "}")) else _PADDING
    return rf"{padding}(?P<{name}>{GROUPS[name]})"


def fault_of(pattern: str, *, short: bool = False) -> str | None:
    """Why a text is no regular expression: a clause with the place in it; None if it is one.

    Args:
        pattern: as it is written.
        short: whether it is a short form; its names are known.
    """
    if short and (held := _held_by_a_set(pattern)) is not None:
        return f"is no regular expression: {held}; {ESCAPES}"
    try:
        re.compile(expanded(pattern) if short else pattern)
    except (re.error, OverflowError, RecursionError) as error:
        why = _where(pattern, short=short) or getattr(error, "msg", str(error))
        return f"is no regular expression: {why}; {ESCAPES}"
    return None


def _where(pattern: str, *, short: bool) -> str | None:
    """The fault and its character, counted from 1, in the text as it is written."""
    # Placeholders as plain text of the same length keep all characters where they are.
    plain = _SHORT.sub(lambda found: "x" * len(found[0]), pattern) if short else pattern
    try:
        re.compile(plain)
    except re.error as error:
        return error.msg if error.pos is None else f"{error.msg} at character {error.pos + 1} of {pattern}"
    except (OverflowError, RecursionError):
        return None
    return None


def _held_by_a_set(pattern: str) -> str | None:
    """The set of characters that a placeholder stands in, as by an unescaped bracket; None if there is none."""
    held = next((found for found in _SHORT.finditer(pattern) if _open_set(pattern[: found.start()])), None)
    if held is None:
        return None
    opened = _open_set(pattern[: held.start()])
    return f"the [ at character {opened} of {pattern} begins a set of characters, which cannot hold {held[0]}"


def _open_set(text: str) -> int | None:
    """The character, counted from 1, of the bracket that is open at the end of a text."""
    opened = None
    for found in re.finditer(r"\\.|[\[\]]", text, re.DOTALL):
        if found[0] == "[" and opened is None:
            opened = found.start() + 1
        elif found[0] == "]" and opened is not None:
            opened = None
    return opened
