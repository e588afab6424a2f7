"""Output in an encoding that lacks some characters, such as Latin-1: they are written in ASCII, never refused."""

from __future__ import annotations

import codecs
import sys
from io import TextIOWrapper
from typing import Final
from unicodedata import normalize

SPELLINGS: Final = {
    "\u00a0": " ",
    "\u202f": " ",
    "–": "-",
    "−": "-",
    "…": "...",
    "·": "*",
    "×": "x",
    "÷": "/",
    "±": "+-",
    "→": "->",
    "≈": "~",
    "≤": "<=",
    "≥": ">=",
    "½": "1/2",
    "¼": "1/4",
    "α": "alpha",
    "β": "beta",
    "ε": "epsilon",
    "η": "eta",
    "λ": "lambda",
    "σ": "sigma",
}
"""How characters of Etalon's own sentences are written in ASCII; others lose their accents, or become ``?``."""


def spelled(text: str) -> str:
    """Text in ASCII."""
    return "".join(
        SPELLINGS.get(sign) or normalize("NFKD", sign).encode("ascii", "ignore").decode() or "?"
        for sign in text
    )


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


def spell_what_cannot_be_encoded() -> None:
    """Let standard output and standard error write ``spelled`` text in place of characters that they lack."""
    codecs.register_error("etalon", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="etalon")
