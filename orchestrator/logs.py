"""Logs as JSON, one object a line, with the standard library alone."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Fields of every record; any other field was passed as ``extra``."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message and every ``extra`` field."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if _is_extra(name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _is_extra(name: str) -> bool:
    """Whether a field was passed as ``extra``; fields that libraries add to every record start with an underscore."""
    return name not in _STANDARD and not name.startswith("_")


def configure(level: str) -> None:
    """Log to standard error, from ``level`` up (DEBUG, INFO, WARNING or ERROR)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
