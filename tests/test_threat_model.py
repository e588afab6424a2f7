"""Every line of the threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_line_of_the_threat_model_is_tested() -> None:
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = {name for source in sources for name in re.findall(r"^(?:async )?def (test_\w+)", source, re.M)}
    text = (ROOT / "docs" / "threat_model.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    headers = [row for row in rows if row.endswith("| tests |")]
    assert len(headers) == 2
    for row in rows:
        if row not in headers:
            named = re.findall(r"`(test_\w+)`", row)
            assert named, row
            assert set(named) <= known, row
