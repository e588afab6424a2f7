"""The form that asks for a prediction at any target: what was typed, and the answer or the refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.v1.queries import LARGEST
from orchestrator.amounts import exact, parse_amount
from orchestrator.answers.laws import predicted
from orchestrator.documents.predictions import PredictionDocument, TargetDocument
from orchestrator.errors import Refused
from orchestrator.spec import TargetSpec
from orchestrator.store import Store
from orchestrator.store.records import Sweep

FIELDS: Final = ("params", "tokens", "batch_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetForm:
    """The form as filled in.

    Attributes:
        typed: the text of each field.
        problems: what is wrong with a field.
        answer: the prediction; None without a target, or if it was refused.
        refusal: why there is no prediction; None without a target, or if there is one.
    """

    typed: Mapping[str, str]
    problems: Mapping[str, str]
    answer: PredictionDocument | None = None
    refusal: str | None = None


def fill_form(
    store: Store, sweep: Sweep, target: TargetDocument | TargetSpec | None, query: Mapping[str, str]
) -> TargetForm:
    """Predict at the target in the query, if it has one.

    Args:
        store: where the sweep's laws and runs are.
        sweep: the sweep.
        target: its own target, shown in an empty form; None if unknown.
        query: the page's query; a target has both ``params`` and ``tokens``.
    """
    typed = {name: query[name][:60] for name in FIELDS if query.get(name, "").strip()}
    if not {"params", "tokens"} <= typed.keys():
        return TargetForm(typed=_texts(target) | typed, problems={})
    values, problems = _numbers(typed)
    if problems:
        return TargetForm(typed=typed, problems=problems)
    try:
        answer = predicted(
            store,
            sweep,
            params=values["params"],
            tokens=values["tokens"],
            batch_tokens=values.get("batch_tokens"),
        )
    except Refused as refused:
        return TargetForm(typed=typed, problems={}, refusal=refused.detail)
    return TargetForm(typed=typed, problems={}, answer=answer)


def _texts(target: TargetDocument | TargetSpec | None) -> dict[str, str]:
    values = {} if target is None else target.model_dump(exclude_none=True)
    return {name: exact(values[name]) for name in FIELDS if name in values}


def _numbers(typed: Mapping[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    values, problems = {}, {}
    for name, text in typed.items():
        try:
            value = parse_amount(text)
        except ValueError as error:
            problems[name] = str(error)
            continue
        if 1 <= value <= LARGEST:
            values[name] = value
        else:
            problems[name] = f"{text} is out of range: 1 to 1e18."
    return values, problems
