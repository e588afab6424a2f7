"""Identifiers of rows: 32 hex characters that sort by time of creation."""

from __future__ import annotations

import re
import secrets
import threading
import time
from typing import Final

ID_PATTERN: Final = re.compile(r"[0-9a-f]{32}")

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Make a unique identifier, greater than any that this process made before.

    Returns:
        Nanoseconds since 1970 (16 hex characters), then 64 random bits.
    """
    global _last  # noqa: PLW0603 - the order within one process needs one counter
    with _lock:
        _last = max(_last + 1, time.time_ns())
        moment = _last
    return f"{moment:016x}{secrets.token_hex(8)}"
