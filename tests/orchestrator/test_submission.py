"""Submitting: what a replay may ask for, and what a preview says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.store import Store
from orchestrator.submission import cells_of, preview

HEADER = "params,tokens,batch_tokens,learning_rate,loss\n"
TWICE = "1e6,1e8,1024,1e-3,3.5\n1e6,1e8,1024,1e-3,3.6\n1e6,1e8,1024,2e-3,3.4\n1e6,1e8,1024,2e-3,3.5\n"
ONCE = "2e6,1e8,1024,1e-3,3.2\n"


def replay(store: Store, rows: str, **grid: Any) -> dict[str, Any]:
    table = store.tables.add((HEADER + rows).encode(), rows=len(rows.splitlines()), cells=1)
    return {"name": "again", "trainer": {"kind": "replay", "table": table.id}, "grid": grid}


def test_recorded_repeats_may_be_asked_for(store: Store) -> None:
    cells = cells_of(parse_spec(replay(store, TWICE, seeds=2)), store)

    assert [cell.rates for cell in cells] == [(1e-3, 2e-3)]


@pytest.mark.parametrize(
    ("rows", "grid", "path", "told"),
    [
        (TWICE, {"seeds": 3}, "grid.seeds", "3 is more than the table records .* at most 2"),
        (TWICE + ONCE, {"seeds": 2}, "grid.seeds", "at most 1"),
        (TWICE, {"scales": [{"width": 64, "depth": 2}]}, "grid.scales", "sizes that its table records"),
        (TWICE, {"tokens": [5]}, "grid", "no recorded run"),
        (
            "".join(f"1e6,1e8,{batch},1e-3,3.5\n" for batch in range(1, 100_002)),
            {},
            "grid",
            "100001 runs .* at most 100000",
        ),
    ],
    ids=["seeds", "fewest seeds", "scales", "nothing", "too many"],
)
def test_a_replay_asks_for_nothing_that_is_not_recorded(
    store: Store, rows: str, grid: dict[str, Any], path: str, told: str
) -> None:
    with pytest.raises(BadInput, match=told) as refused:
        cells_of(parse_spec(replay(store, rows, **grid)), store)

    assert [problem.path for problem in refused.value.fields] == [path]


def test_the_preview_of_a_fit_says_what_it_fits(store: Store, tmp_path: Path) -> None:
    table = replay(store, TWICE)["trainer"]["table"]
    plan = preview(
        parse_spec({"name": "a fit", "prior_runs": {"table": table}}), store, Settings(home=tmp_path)
    )

    assert plan["cells"] == []
    assert plan["full_grid"]["runs"] == 0
    assert plan["expected"]["runs"] == 0
    assert plan["expected"]["saved_fraction"] is None
    assert plan["expected"]["ends_because"] == "it fits the 4 prior runs"
