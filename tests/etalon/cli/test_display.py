"""Results in a terminal: numbers for people, and names that are not markup."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from rich.console import Console

from etalon.cli.display import formula_text, law_table, prediction_panel, sizes_view, sweeps_table
from orchestrator.amounts import SPACE
from orchestrator.answers.formula import Formula, formula
from orchestrator.answers.prediction import prediction
from tests.orchestrator.planner.test_confirmation import TARGET, sweep


def printed(renderable: Any, width: int) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get().replace(SPACE, " ")


@cache
def written() -> Formula:
    return formula(sweep().law)


def test_a_sweep_fits_eighty_columns_in_a_line_with_its_whole_id() -> None:
    row = {
        "id": "0123456789abcdef" * 2,
        "name": "stdlib-dense",
        "state": "completed",
        "progress": {"runs_by_state": {"completed": 120, "diverged": 3}, "batches": 12},
        "cost": {"saved_fraction": 0.7},
        "prediction": {"learning_rate": 3.8e-3},
    }

    heading, line = printed(sweeps_table([row]), 80).splitlines()

    assert heading.split() == ["id", "name", "state", "runs", "saved", "rate"]
    assert line.split() == [row["id"], "stdlib-dense", "completed", "123/123", "70", "%", "3.8e-3"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_of_a_formula_parts_a_number_from_its_unit(width: int) -> None:
    lines = formula_text(written(), width).splitlines()

    assert max(map(len, lines)) <= width
    factors = [f"({base})^{power}".replace(SPACE, " ") for base, power in written().powers]
    assert all(any(factor in line.replace(SPACE, " ") for line in lines) for factor in factors)
    assert not any(line.split()[0] in {"k", "M", "B"} for line in lines)


def test_what_the_table_of_terms_leaves_out_is_told_in_one_line() -> None:
    terms = [{"name": "ln N", "value": -0.4, "sd": 0.1, "from_prior": False}]
    terms += [{"name": "w²", "value": 0.0, "sd": 0.1, "from_prior": True}] * 3

    assert printed(law_table(terms), 80).splitlines()[-1] == "and 3 smaller terms that come from priors alone"


@pytest.mark.parametrize(("more", "said"), [(0.0, "the target: "), (1.0, "the target (2.1 until sure): ")])
def test_runs_until_sure_are_told_where_they_are_more(more: float, said: str) -> None:
    answer = prediction(sweep().law, TARGET).model_dump()
    answer["confirmation"] |= {"expected_runs": 1.1, "expected_runs_until_sure": 1.1 + more}

    assert f"confirm with 1.1 runs expected at {said}" in printed(prediction_panel(answer), 200)


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    sweep = {
        "id": "0" * 32,
        "name": "a [/] b [red]",
        "state": "queued",
        "progress": {"runs_by_state": {}, "batches": 0},
        "cost": {"saved_fraction": None},
        "prediction": None,
    }
    console = Console(width=160)

    with console.capture() as shown:
        console.print(sweeps_table([sweep]))

    assert "a [/] b [red]" in shown.get()
    assert "0" * 32 in shown.get()


def test_the_law_in_either_count_of_parameters_is_a_row_each_and_a_verdict() -> None:
    known = {"value": -0.41, "sd": 0.02, "from_prior": False}
    law = {
        "size": "params_active",
        "params": known,
        "tokens": known,
        "mean_excess_loss": 0.0042,
        "reason": None,
    }
    none = {"size": "params_total", "params": None, "tokens": None, "mean_excess_loss": None, "reason": "why"}
    sizes = {"used": "params_active", "laws": [law, none], "summary": "The two counts cannot be compared."}

    table, verdict = sizes_view(sizes)
    lines = printed(table, 100).splitlines()

    assert lines[1].split() == [
        *("params_active", "(this", "law)", "-0.410", "±", "0.020", "-0.410", "±", "0.020", "0.42", "%"),
    ]
    assert lines[2].split() == ["params_total", "–", "–", "–"]
    assert verdict == sizes["summary"]
