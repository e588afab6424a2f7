"""The form that asks for a rate at any target: what was typed, and the answer or the refusal in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.figures.snapshot import law_of
from orchestrator.amounts import exact, parse_amount
from orchestrator.answers.prediction import prediction
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.errors import Unsupported
from orchestrator.knowledge import default_batch, observations_of
from orchestrator.law import Point
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
        store: where its runs are, for a target that has some.
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
    if law is None:
        return Asked(typed=typed, problems={}, refusal="This sweep has no law yet.")
    fitted = law_of(law)
    values.setdefault("batch_tokens", default_batch(sweep.spec, (bowl.batch_tokens for bowl in fitted.bowls)))
    try:
        answer = prediction(
            fitted,
            Point(**values),
            sweep_id=sweep.id,
            law_number=law.number,
            runs=lambda: observations_of(store, sweep),
            spec=sweep.spec,
        )
    except Unsupported as refused:
        return Asked(typed=typed, problems={}, refusal=refused.detail)
    return Asked(typed=typed, problems={}, answer=answer)


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: query[name][:60] for name in FIELDS if query.get(name, "").strip()}


def _defaults(sweep: Sweep, law: LawRecord | None) -> dict[str, str]:
    """The sweep's own target, to start from."""
    target = law.prediction.get("target") if law is not None else None
    if target is None:
        target = sweep.spec.target.model_dump() if sweep.spec.target is not None else {}
    return {name: exact(target[name]) for name in FIELDS if target.get(name)}


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
