"""The target of a sweep: as specified, else completed from its law, or before there is one from its cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.cells import Cell, Point
from orchestrator.knowledge import target_of
from orchestrator.law import Law, fit
from orchestrator.spec import parse_spec
from tests.known_law import FAST, LARGE, grid, runs_of
from tests.orchestrator.law.valleys import BATCHES, true_loss

N, D = (1e8, 2e8), (4e9, 1e10)
CELLS = [
    Cell(
        number=number,
        params=point.params,
        tokens=point.tokens,
        batch_tokens=point.batch_tokens,
        rates=(1e-3, 2e-3),
    )
    for number, point in enumerate(grid(N, D, BATCHES))
]


def spec_of(target: dict[str, float] | None) -> Any:
    trainer = {"kind": "replay", "table": "0123456789abcdef0123456789abcdef"}
    return parse_spec(
        {"name": "batches", "trainer": trainer} | ({} if target is None else {"target": target})
    )


@pytest.fixture(scope="module")
def law() -> Law:
    known = replace(LARGE, bottom=lambda at: np.vectorize(true_loss)(at.params, at.tokens, at.batch_tokens))
    return fit(runs_of(known, sizes=N, horizons=D, batches=BATCHES), options=FAST)


def test_a_batch_of_the_specification_is_kept(law: Law) -> None:
    target = {"params": 1e9, "tokens": 2e10, "batch_tokens": 1e6}
    assert target_of(spec_of(target), CELLS) == target_of(spec_of(target), CELLS, law=law) == Point(**target)


def test_before_a_law_a_target_without_a_batch_takes_the_tried_one_that_is_likely_best() -> None:
    found = target_of(spec_of({"params": 1e9, "tokens": 2e10}), CELLS)
    assert found == Point(params=1e9, tokens=2e10, batch_tokens=524_288.0)  # 0.58·D^0.571 is 447 k


def test_with_a_law_a_target_without_a_batch_takes_the_best(law: Law) -> None:
    found = target_of(spec_of({"params": 4e8, "tokens": 2e10}), CELLS, law=law)
    assert found == law.completed(params=4e8, tokens=2e10)
    assert found.batch_tokens not in BATCHES


def test_without_a_target_it_is_the_costliest_cell_at_the_tried_batch_nearest_to_the_best(law: Law) -> None:
    early, later = (target_of(spec_of(None), CELLS, law=known) for known in (None, law))
    assert (early.params, early.tokens) == (later.params, later.tokens) == (2e8, 1e10)
    assert early.batch_tokens == 262_144.0  # 0.58·D^0.571 is 297 k
    best = law.completed(params=2e8, tokens=1e10).batch_tokens
    assert later.batch_tokens == min(BATCHES, key=lambda batch: abs(np.log(batch / best)))
