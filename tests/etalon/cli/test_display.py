"""Results in a terminal: numbers for people, and names that are not markup."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from rich.console import Console

from benchmarks.confirmed_targets import TARGET, target_world
from etalon.cli.display import formula_text, law_table, prediction_panel, sizes_view, sweeps_table
from orchestrator.amounts import SPACE
from orchestrator.answers.formula import Formula, formula
from orchestrator.answers.prediction import prediction
from orchestrator.documents.laws import CoefficientDocument, ExponentDocument, SizeLaw, SizesDocument
from orchestrator.documents.sweeps import Cost, Progress, SweepSummary
from orchestrator.states import RunState, SweepState


def printed(renderable: Any, width: int) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get().replace(SPACE, " ")


@cache
def written() -> Formula:
    return formula(target_world().law)


def summary(name: str, runs: dict[RunState, int], **fields: Any) -> SweepSummary:
    cost = Cost(spent_flops=0.3, comparison_flops=0, full_grid_flops=1, saved_fraction=0.7, seconds=None)
    progress = Progress(
        runs_total_known=sum(runs.values()), runs_by_state=runs, batches=12, grid_rates=0, comparison_runs=0
    )
    at = datetime(2026, 12, 1, tzinfo=UTC)
    given: dict[str, Any] = {"state": SweepState.COMPLETED, "prediction": None, **fields}
    none = dict.fromkeys(("reason", "target", "law_number", "prediction_refused", "submitted_by"))
    return SweepSummary(
        id="0123456789abcdef" * 2,
        name=name,
        revision=1,
        progress=progress,
        cost=cost,
        created_at=at,
        updated_at=at,
        **none,
        **given,
    )


def test_a_list_of_sweeps_has_all_columns_in_a_line_each_from_a_hundred_columns_on() -> None:
    answer = prediction(target_world().law, TARGET)
    row = summary("stdlib-dense", {RunState.COMPLETED: 120, RunState.DIVERGED: 3}, prediction=answer)

    heading, line = printed(sweeps_table([row], 100), 100).splitlines()

    assert heading.split() == ["id", "name", "state", "runs", "saved", "rate"]
    assert line.split()[:-1] == [row.id, "stdlib-dense", "completed", "123/123", "70", "%"]
    assert float(line.split()[-1]) == pytest.approx(answer.learning_rate, rel=0.05)


@pytest.mark.parametrize(("width", "name"), [(80, "stdlib dense, six sizes"), (64, "ladder")])
def test_a_narrow_list_of_sweeps_keeps_the_name_and_the_whole_id(width: int, name: str) -> None:
    row = summary(name, {RunState.COMPLETED: 11_234, RunState.DIVERGED: 300}, state=SweepState.CANCELLED)

    heading, line = printed(sweeps_table([row], width), width).splitlines()

    assert heading.split() == ["id", "name", "state", "runs"]
    assert line.split() == [row.id, *name.split(), "cancelled", "11534/11534"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_of_a_formula_parts_a_number_from_its_unit(width: int) -> None:
    lines = formula_text(written(), width).splitlines()

    assert max(map(len, lines)) <= width
    factors = [f"({base})^{power}".replace(SPACE, " ") for base, power in written().powers]
    assert all(any(factor in line.replace(SPACE, " ") for line in lines) for factor in factors)
    assert not any(line.split()[0] in {"k", "M", "B"} for line in lines)


def test_a_last_line_counts_the_terms_that_are_left_out() -> None:
    terms = [CoefficientDocument(name="ln N", value=-0.4, sd=0.1, from_prior=False)]
    terms += [CoefficientDocument(name="w²", value=0.0, sd=0.1, from_prior=True)] * 3

    assert printed(law_table(terms), 80).splitlines()[-1] == "and 3 smaller terms that come from priors alone"


@pytest.mark.parametrize(("more", "said"), [(0.0, "the target: "), (1.0, "the target (2.1 until sure): ")])
def test_runs_until_sure_are_shown_if_they_are_more(more: float, said: str) -> None:
    answer = prediction(target_world().law, TARGET)
    assert answer.confirmation is not None
    runs = {"expected_runs": 1.1, "expected_runs_until_sure": 1.1 + more}
    answer = answer.model_copy(update={"confirmation": answer.confirmation.model_copy(update=runs)})

    assert f"confirm with 1.1 runs expected at {said}" in printed(prediction_panel(answer), 200)


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    shown = printed(sweeps_table([summary("a [/] b [red]", {}, state=SweepState.QUEUED)], 160), 160)

    assert "a [/] b [red]" in shown


def test_the_law_in_either_count_of_parameters_is_a_row_each_and_a_verdict() -> None:
    known = ExponentDocument(value=-0.41, sd=0.02, from_prior=False)
    law = SizeLaw(size="params_active", params=known, tokens=known, mean_excess_loss=0.0042, reason=None)
    none = SizeLaw(size="params_total", params=None, tokens=None, mean_excess_loss=None, reason="why")
    sizes = SizesDocument(
        used="params_active",
        proportional=False,
        laws=[law, none],
        paired=None,
        better=None,
        summary="The two counts cannot be compared.",
    )

    table, verdict = sizes_view(sizes)
    lines = printed(table, 100).splitlines()

    assert lines[1].split() == [
        *("params_active", "(this", "law)", "-0.410", "±", "0.020", "-0.410", "±", "0.020", "0.42", "%"),
    ]
    assert lines[2].split() == ["params_total", "–", "–", "–"]
    assert verdict == sizes.summary
