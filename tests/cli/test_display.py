"""Results in a terminal: numbers for people, and names that are not markup."""

from __future__ import annotations

from rich.console import Console

from cli.display import sweeps_table


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
