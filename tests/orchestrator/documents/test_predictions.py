"""Predictions are read back from what a law was stored with."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from pydantic import TypeAdapter

from orchestrator.documents.predictions import PredictionDocument, RefusalDocument, TargetAnswer

ANSWER: Final[TypeAdapter[TargetAnswer]] = TypeAdapter(TargetAnswer)

TARGET = {"params": 1e9, "tokens": 2e10, "batch_tokens": 1048576.0}
LEAST: dict[str, Any] = {
    "sweep_id": "s",
    "law_number": 7,
    "target": TARGET,
    "learning_rate": 9.4e-4,
    "interval": {"level": 0.95, "low": 7.8e-4, "high": 1.13e-3},
    "valley": {"low": 6e-4, "high": 1.4e-3, "excess_loss": 0.001},
    "expected_loss": 2.23,
    "extrapolation": {"params": 2.0, "tokens": 0.5, "batch_tokens": 1.0},
    "warnings": ["far"],
    "published": [
        {"law": "Step Law", "learning_rate": 9.5e-4, "source": "a paper", "note": "dense", "applies": "dense"}
    ],
}
"""A prediction with the required fields alone."""


def test_what_is_written_is_read_back_the_same() -> None:
    answer = ANSWER.validate_python(LEAST)
    assert ANSWER.validate_python(json.loads(answer.model_dump_json())) == answer


def test_a_refusal_is_read_as_one() -> None:
    answer = ANSWER.validate_python(
        {"sweep_id": "s", "target": TARGET, "refused": "interval_too_wide", "detail": "It is far."}
    )
    assert isinstance(answer, RefusalDocument)
    assert (answer.refused, answer.detail, answer.target.params) == ("interval_too_wide", "It is far.", 1e9)


def test_a_number_that_is_not_finite_is_null_in_json() -> None:
    answer = PredictionDocument.model_validate(LEAST | {"expected_loss": math.inf})
    assert json.loads(answer.model_dump_json())["expected_loss"] is None
