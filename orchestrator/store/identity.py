"""Names for rows: 32 hex characters that sort by the time they were made."""

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
    """Make an identifier that no other process makes, greater than any this process made before.

    Returns:
        Nanoseconds since 1970 (16 hex characters), then 64 random bits, so that lists by id are lists by age.
    """
    global _last  # noqa: PLW0603 - the order within one process needs one counter
    with _lock:
        _last = max(_last + 1, time.time_ns())
        moment = _last
    return f"{moment:016x}{secrets.token_hex(8)}"
