"""The form that asks for a rate at any target: what was typed, and the answer or the refusal in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.amounts import exact, parse_amount
from orchestrator.answers.laws import predicted
from orchestrator.documents.predictions import PredictionDocument, read_answer
from orchestrator.errors import Unsupported
from orchestrator.store import Store
from orchestrator.store.records import LawRecord, Sweep

FIELDS: Final = ("params", "tokens", "batch_tokens")
LARGEST: Final = 1e18


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A form as it was filled in.

    Attributes:
        typed: what stands in each field.
        problems: what is wrong with a field, in words.
        answer: the prediction; None without a question, or where it is refused.
        refusal: why there is no answer; None without a question, or where there is one.
    """

    typed: Mapping[str, str]
    problems: Mapping[str, str]
    answer: PredictionDocument | None = None
    refusal: str | None = None


def ask(store: Store, sweep: Sweep, law: LawRecord | None, query: Mapping[str, str]) -> Asked:
    """Answer the form's question, if one was asked.

    Args:
        store: where its laws and runs are.
        sweep: the sweep that is asked.
        law: its newest law.
        query: the page's query; a question names both ``params`` and ``tokens``.
    """
    if not all(query.get(name, "").strip() for name in FIELDS[:2]):
        return Asked(typed=_defaults(sweep, law) | _given(query), problems={})
    typed = _given(query)
    values, problems = _numbers(typed)
    if problems:
        return Asked(typed=typed, problems=problems)
    try:
        answer = predicted(
            store,
            sweep,
            params=values["params"],
            tokens=values["tokens"],
            batch_tokens=values.get("batch_tokens"),
        )
    except Unsupported as refused:
        return Asked(typed=typed, problems={}, refusal=refused.detail)
    return Asked(typed=typed, problems={}, answer=answer)


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name][:60] for name in FIELDS if query.get(name, "").strip()}


def _defaults(sweep: Sweep, law: LawRecord | None) -> dict[str, str]:
    """The sweep's own target, to start from."""
    target = sweep.spec.target if law is None else read_answer(law.prediction).target
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
