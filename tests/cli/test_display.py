"""Results in a terminal: numbers for people, and names that are not markup."""

from __future__ import annotations

import pytest
from rich.console import Console

from cli.display import count, percent, rate, sweeps_table


@pytest.mark.parametrize(
    ("value", "text"), [(1.0737e9, "1.07 B"), (2e10, "20 B"), (98_304, "98.3 k"), (12, "12"), (3e12, "3 T")]
)
def test_counts_are_short(value: float, text: str) -> None:
    assert count(value) == text


def test_rates_and_percentages_are_spelled_as_people_do() -> None:
    assert rate(9.4e-4) == "9.40e-4"
    assert percent(1.0) == "100 %"
    assert percent(0.0004) == "0.04 %"
    assert percent(None) == "–"


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
