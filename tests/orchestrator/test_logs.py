"""Logs are JSON, one object a line."""

from __future__ import annotations

import json
import logging

import pytest

from orchestrator import logs


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> logging.Logger:
    """A logger that writes as the orchestrator's do; the root is put back afterwards."""
    return logging.getLogger("a.room")


@pytest.fixture(autouse=True)
def _root_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)


def test_a_line_carries_what_was_given(capsys: pytest.CaptureFixture[str], log: logging.Logger) -> None:
    logs.configure("INFO")
    log.info("batch of %d asked for", 3, extra={"sweep_id": "s", "batch": 2})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "a.room",
        "message": "batch of 3 asked for",
        "sweep_id": "s",
        "batch": 2,
    }


def test_an_error_carries_its_traceback_on_one_line(
    capsys: pytest.CaptureFixture[str], log: logging.Logger
) -> None:
    logs.configure("INFO")
    try:
        int("no number")
    except ValueError:
        log.exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_what_is_below_the_level_is_left_out(capsys: pytest.CaptureFixture[str], log: logging.Logger) -> None:
    logs.configure("WARNING")
    log.info("hidden")
    assert capsys.readouterr().err == ""
