"""Placeholders: how values are spelt, what arithmetic gives, and what is refused."""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BadInput
from orchestrator.programs.placeholders import Template, spelt

KNOWN = {"learning_rate", "batch_tokens", "processes", "width", "name"}
VALUES = {"learning_rate": 3e-4, "batch_tokens": 131_072, "processes": 4, "width": 64, "name": "adamw"}

RATES = st.floats(min_value=1e-12, max_value=100.0, allow_nan=False, exclude_min=True)


@given(RATES)
def test_every_parser_reads_a_rate_as_the_same_float(rate: float) -> None:
    text = spelt(rate)
    yaml_1_1 = yaml.safe_load(text)
    assert isinstance(yaml_1_1, float)
    assert yaml_1_1 == rate
    assert tomllib.loads(f"x = {text}")["x"] == rate
    for read in (json.loads, ast.literal_eval):
        assert read(text) == rate
        assert isinstance(read(text), float)
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    assert parser.parse_args([f"--lr={text}"]).lr == rate
    assert re.fullmatch(r"[0-9]+\.[0-9]+(e[-+][0-9]{2})?", text)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("--lr={learning_rate}", "--lr=0.0003"),
        ("{batch_tokens/(16*1024*processes)}", "2"),
        ("{width*2-1}", "127"),
        ("a {{b}} {width}", "a {b} 64"),
        ("{{{width}}}", "{64}"),
        ("plain", "plain"),
        ("{name}-{width}", "adamw-64"),
    ],
)
def test_a_text_is_filled(text: str, rendered: str) -> None:
    assert Template.parse(text, KNOWN).render(VALUES) == rendered


def test_a_placeholder_that_stands_alone_keeps_its_type() -> None:
    assert Template.parse("{learning_rate}", KNOWN).value(VALUES) == 3e-4
    assert Template.parse("{batch_tokens/2}", KNOWN).value(VALUES) == 65_536
    assert Template.parse("{width}x", KNOWN).value(VALUES) == "64x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{learnin_rate}", "the nearest is {learning_rate}"),
        ("{nothing}", "known are"),
        ("{", "has no partner"),
        ("a}", "has no partner"),
        ("{}", "no name and no arithmetic"),
        ("{width**2}", r"\+ - \* / and parentheses only"),
        ("{__import__('os')}", r"\+ - \* / and parentheses only"),
        ("{width.real}", "parentheses only"),
        ("{1.5*width}", "parentheses only"),
        ("{'a'}", "parentheses only"),
        ("{width if 1 else 2}", "parentheses only"),
        ("a\0b", "NUL"),
    ],
)
def test_what_is_no_placeholder_is_refused_when_it_is_read(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Template.parse(text, KNOWN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{batch_tokens/3}", "must be a whole number"),
        ("{width/(processes-4)}", "divides by zero"),
        ("{learning_rate*2}", "arithmetic needs a whole number"),
        ("{name+1}", "arithmetic needs a whole number"),
    ],
)
def test_arithmetic_that_does_not_come_out_whole_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Template.parse(text, KNOWN).render(VALUES)
