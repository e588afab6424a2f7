"""The lists of sweeps and laws, read in few queries."""

from typing import Any

import pytest

from orchestrator.documents.predictions import RefusalDocument, TargetDocument
from orchestrator.states import RunState, SweepState
from orchestrator.store.records import RunResult

LAW: dict[str, Any] = {"document": {}, "ruled_out": [], "runs": 3, "spent_flops": 1.0, "batch": 1}


def refusal(detail: str) -> RefusalDocument:
    return RefusalDocument(target=TargetDocument(params=1e6, tokens=2e7, batch_tokens=2048), detail=detail)


def test_the_runs_of_many_sweeps_are_added_up_each_on_its_own(bench: Any) -> None:
    begun, untouched = bench.sweep(), bench.sweep(SweepState.QUEUED)
    bench.ask(begun.id, (0, 1e-3), (0, 2e-3), (1, 1e-3))
    driver = bench.drive(begun.id)
    first, second = bench.store.runs.pending(begun.id)[:2]
    bench.store.runs.claim(begun.id, fence=driver, run_ids=[first.id, second.id])
    bench.store.runs.finish(
        [
            RunResult(run_id=first.id, state=RunState.COMPLETED, loss=2.0, flops=3.0, seconds=1.5),
            RunResult(run_id=second.id, state=RunState.DIVERGED, flops=4.0, seconds=0.5),
        ],
        fence=driver,
    )
    tallies = bench.store.sweeps.tallies([begun.id, untouched.id])
    tally = tallies[begun.id]
    assert dict(tally.by_state) == bench.store.sweeps.progress(begun.id)
    assert (tally.spent_flops, tally.seconds, tally.rates) == (7.0, 2.0, 6)
    idle = tallies[untouched.id]
    assert (sum(idle.by_state.values()), idle.spent_flops, idle.seconds, idle.rates) == (0, 0.0, None, 6)
    assert bench.store.sweeps.tallies([]) == {}


def test_the_predictions_of_many_sweeps_are_their_newest_laws(bench: Any) -> None:
    first, second, lawless = (bench.sweep().id for _ in range(3))
    for sweep_id, detail in ((first, "early"), (first, "late"), (second, "other")):
        bench.store.laws.add(sweep_id, prediction=refusal(detail), **LAW, fence=bench.fence)
    found = bench.store.laws.predictions([first, second, lawless])
    assert {sweep_id: answer.detail for sweep_id, answer in found.items()} == {first: "late", second: "other"}
    assert found[first].law_number == 2


@pytest.mark.parametrize(
    ("limit", "after", "numbers", "following"),
    [(2, 0, [1, 2], 2), (2, 2, [3], None), (3, 0, [1, 2, 3], None)],
)
def test_laws_come_in_pages(
    bench: Any, limit: int, after: int, numbers: list[int], following: int | None
) -> None:
    sweep_id = bench.sweep().id
    for _ in range(3):
        bench.store.laws.add(sweep_id, prediction=refusal("none"), **LAW, fence=bench.fence)
    laws, goes_on, total = bench.store.laws.page(sweep_id, limit=limit, after=after)
    assert ([law.number for law in laws], goes_on, total) == (numbers, following, 3)
