"""Short forms on lines of output."""

from __future__ import annotations

import re

import pytest

from orchestrator.programs.declared_losses import OutputSource


@pytest.mark.parametrize(
    ("short", "line", "groups"),
    [
        ("it {step} loss {value}", f"it {5:>6d} loss {2.5:>10.4f}", ("5", "2.5000")),
        ("it {step}/ loss {value}", "it 000005/ loss nan", ("000005", "nan")),
        ("it={step},loss={value}", "it=    5,loss= 1e-3", ("5", "1e-3")),
        ("it +{step} loss {value}", "it     5 loss 1.05E+01", ("5", "1.05E+01")),
        (r"\{it\} \[{step}\] \({value}\)", "{it} [  7] ( 3.0)", ("7", "3.0")),
    ],
)
def test_numbers_are_read_however_they_are_padded(short: str, line: str, groups: tuple[str, str]) -> None:
    found = re.search(OutputSource(output=short).regex, line)
    assert found is not None
    assert (found["step"], found["value"]) == groups
