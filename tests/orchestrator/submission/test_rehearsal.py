"""Rehearsals: a strategy runs to its end on synthetic losses, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from orchestrator.cells import Cell, Cells, Point
from orchestrator.law import Observations
from orchestrator.spec import ProxyTrainer, parse_spec
from orchestrator.submission.rehearsal import Rehearsal, rehearse
from tests.known_law import KnownLaw, grid, observations

TARGET = Point(params=200_000, tokens=400_000, batch_tokens=2048)


def of_proxies(strategy: str, **kwargs: Any) -> Rehearsal:
    grid = {
        "scales": [{"width": width, "depth": 2} for width in (32, 64, 96)],
        "tokens": [200_704],
        "batch_tokens": [2048],
        "learning_rates": {"min": 1e-3, "max": 6.4e-2, "per_octave": 1},
    }
    search = {"strategy": strategy, "stop": {"interval_factor": 1.5}}
    spec = parse_spec({"name": "a", "trainer": {"kind": "proxy"}, "grid": grid, "search": search})
    assert isinstance(spec.trainer, ProxyTrainer)
    return rehearse(spec, spec.trainer.cells(spec.grid), TARGET, **kwargs)


def known(measured: bool = True) -> Observations:
    """A dense grid round the target whose optimum is 4e-3 everywhere."""
    law = KnownLaw(
        rate=4e-3, curvature=0.03, bottom=lambda cell: 3.0 * (cell.params * cell.tokens / 1e11) ** -0.05
    )
    cells = grid((5e4, 1e5, 2e5, 4e5), (1e5, 2e5, 4e5, 8e5), (2048.0,))
    runs = law.runs(cells, [4e-3 * 2.0**octave for octave in range(-2, 3)])
    return observations((cell, rate, loss if measured else None) for cell, rate, loss in runs)


def test_the_grid_strategy_runs_the_whole_grid() -> None:
    expected = of_proxies("grid")

    assert expected.runs == 21
    assert "complete" in expected.reason


def test_runs_that_prior_runs_replace_are_not_made() -> None:
    alone, informed = of_proxies("law"), of_proxies("law", prior=known())

    assert informed.runs < alone.runs
    assert "×/÷ 1.5" in informed.reason


def test_prior_runs_without_a_loss_change_nothing() -> None:
    assert of_proxies("grid", prior=known(measured=False)).runs == 21


def test_a_sweep_that_only_fits_is_named_as_that() -> None:
    spec = parse_spec({"name": "a fit", "prior_runs": {"table": "tbl-1"}})

    expected = rehearse(spec, (), TARGET, prior=known())

    assert (expected.runs, expected.batches, expected.flops) == (0, 0, 0.0)
    assert expected.reason == "It fits the 80 prior runs."


def test_a_long_rehearsal_is_cut_off_and_says_so() -> None:
    seconds = count()

    expected = of_proxies("random", clock=lambda: float(next(seconds)))

    assert expected.batches == 2
    assert expected.runs == 16
    assert expected.reason == "The rehearsal was cut off after 2 seconds; the sweep may spend more."


PROGRAM_GRID = {
    "scales": [{"params": 1e5}],
    "tokens": [1e5],
    "batch_tokens": [2048],
    "learning_rates": [1e-3],
}


def rehearsal(
    trainer: dict[str, Any], clock: Callable[[], float] = time.thread_time, **search: Any
) -> Rehearsal:
    """A rehearsal in twelve cells that share nothing, until the interval is within ×/÷ 1.1."""
    cells = Cells(
        Cell(number=at, params=n, tokens=d, batch_tokens=2048.0, rates=tuple(1e-3 * 2.0 ** np.arange(7)))
        for at, (n, d) in enumerate((n, d) for n in (5e4, 1e5, 2e5, 4e5) for d in (1e5, 2e5, 4e5))
    )
    grid = {} if trainer["kind"] == "replay" else PROGRAM_GRID
    fields = {
        "name": "a",
        "trainer": trainer,
        "grid": grid,
        "search": {"stop": {"interval_factor": 1.1}, **search},
        "resources": {"max_parallel": 3},
    }
    return rehearse(parse_spec(fields), cells, TARGET, clock=clock)


def test_a_rehearsal_asks_as_the_sweep_will() -> None:
    replay, command = {"kind": "replay", "table": "t"}, {"kind": "command", "name": "c"}

    in_batches = rehearsal(replay, refit="batch")
    together, apart = rehearsal(replay), rehearsal(command)

    assert all("×/÷ 1.1 was asked for" in found.reason for found in (in_batches, together, apart))
    assert together.batches > in_batches.batches
    assert together.runs <= in_batches.runs
    assert apart.batches > together.batches, "a run is asked for whenever one has ended"


def test_a_rehearsal_of_runs_that_end_one_by_one_is_cut_off_in_time_too() -> None:
    seconds = count(0.0, 0.9)

    expected = rehearsal({"kind": "command", "name": "c"}, clock=lambda: next(seconds), refit="arrival")

    assert expected.reason == "The rehearsal was cut off after 2 seconds; the sweep may spend more."
