"""Forming jobs: every run once, one shape and position per stack, level loads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cells import Cell, Cells
from orchestrator.store.records import Run
from tests.workers.pending import pending
from workers.proxy_jobs import ProxyJob, proxy_jobs

RATES = tuple(0.001 * 2**i for i in range(9))
HORIZONS = (40_960, 81_920, 163_840)


def cells_of(*shapes: tuple[str, float], batch_tokens: float = 256.0) -> Cells:
    places = [(trunk, params, tokens) for trunk, params in shapes for tokens in HORIZONS]
    return Cells(
        Cell(
            number=number,
            params=params,
            tokens=float(tokens),
            batch_tokens=batch_tokens,
            rates=RATES,
            trunk=trunk,
            decay_fraction=0.2,
        )
        for number, (trunk, params, tokens) in enumerate(places)
    )


CELLS = cells_of(("small", 1e4), ("large", 1e5))


def run(cell: int, rate: float, seed: int = 0) -> Run:
    return pending(
        id=f"r-{cell}-{rate}-{seed}",
        cell=cell,
        learning_rate=rate,
        seed=seed,
        trunk_id=f"{CELLS[cell].trunk}-{rate}-{seed}",
    )


def formed(
    runs: list[Run], *, limit: int = 16, workers: int = 1, positions=None, cells: Cells = CELLS
) -> tuple[ProxyJob, ...]:
    return proxy_jobs(
        runs,
        cells,
        positions=positions or {},
        limits={"small": limit, "large": limit},
        workers=workers,
    )


PLACES = st.tuples(st.integers(0, len(CELLS) - 1), st.sampled_from(RATES), st.integers(0, 1))


@given(
    places=st.sets(PLACES, min_size=1, max_size=60),
    limit=st.integers(1, 16),
    workers=st.integers(1, 5),
    saved=st.dictionaries(st.sampled_from(RATES), st.sampled_from([32_768, 65_536, 131_072])),
)
def test_every_run_is_in_one_job_and_a_stack_is_of_one_kind(places, limit, workers, saved):
    runs = [run(*place) for place in sorted(places)]
    positions = {one.trunk_id: (saved[one.learning_rate],) for one in runs if one.learning_rate in saved}

    jobs = formed(runs, limit=limit, workers=workers, positions=positions)

    answered = [run_id for job in jobs for run_id in job.run_ids]
    assert sorted(answered) == sorted(one.id for one in runs)
    by_id = {one.id: one for one in runs}
    for job in jobs:
        assert 1 <= len(job.members) <= limit
        for member in job.members:
            mine = [by_id[branch.run_id] for branch in member.branches]
            assert {CELLS[one.cell].trunk for one in mine} == {job.trunk}
            assert {one.seed for one in mine} == {job.seed}
            assert {one.learning_rate for one in mine} == {member.learning_rate}
            assert job.start_tokens in {0, *positions.get(member.trunk_id, ())}
            assert job.start_tokens <= 0.8 * member.horizons[0] + 128
    assert [job.flops for job in jobs] == sorted((job.flops for job in jobs), reverse=True)


@given(places=st.sets(PLACES, min_size=1, max_size=40), workers=st.integers(1, 4))
def test_the_same_runs_form_the_same_jobs_in_any_order(places, workers):
    runs = [run(*place) for place in sorted(places)]
    assert formed(runs, workers=workers) == formed(runs[::-1], workers=workers)


def test_horizons_of_one_rate_share_one_member_and_its_trunk():
    (job,) = formed([run(2, 0.001), run(0, 0.001), run(1, 0.001)])
    (member,) = job.members
    assert member.horizons == HORIZONS
    assert member.run_ids((HORIZONS[1],)) == ("r-1-0.001-0",)
    trunk, branches = 0.8 * HORIZONS[-1], 0.2 * sum(HORIZONS)
    assert job.flops == pytest.approx(6 * 1e4 * (trunk + branches))


def test_a_saved_trunk_is_gone_on_from_and_not_paid_again():
    (job,) = formed([run(2, 0.001)], positions={"small-0.001-0": (32_768, 65_536)})
    assert job.start_tokens == 65_536
    assert job.flops == pytest.approx(6 * 1e4 * (0.8 * HORIZONS[2] - 65_536 + 0.2 * HORIZONS[2]))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_cosine_shares_its_warm_up_and_pays_every_horizon_from_there(order):
    warmup = 4_096
    cosine = Cells(replace(cell, decay_fraction=1 - warmup / cell.tokens) for cell in CELLS)
    runs = [run(number, 0.001) for number in order]
    (afresh,) = formed(runs, cells=cosine)
    (again,) = formed(runs, cells=cosine, positions={"small-0.001-0": (warmup,)})
    assert (afresh.start_tokens, again.start_tokens) == (0, warmup)
    assert again.flops == pytest.approx(6 * 1e4 * sum(tokens - warmup for tokens in HORIZONS))
    assert afresh.flops == pytest.approx(again.flops + 6 * 1e4 * warmup)


def test_a_trunk_that_has_passed_the_fork_is_of_no_use_to_a_shorter_horizon():
    (job,) = formed([run(0, 0.001)], positions={"small-0.001-0": (65_536,)})
    assert job.start_tokens == 0


def test_one_stack_is_shared_out_when_a_worker_would_stand_idle():
    jobs = formed([run(0, rate) for rate in RATES], limit=16, workers=2)
    assert sorted(len(job.members) for job in jobs) == [4, 5]


def test_one_worker_gets_the_largest_stacks_there_may_be():
    jobs = formed([run(0, rate) for rate in RATES], limit=16, workers=1)
    assert [len(job.members) for job in jobs] == [9]


@given(
    workers=st.integers(2, 4),
    rates=st.integers(4, 9),
    trunks=st.sets(st.sampled_from([0, 3]), min_size=1),
)
def test_workers_finish_within_one_member_of_each_other(workers, rates, trunks):
    runs = [run(cell, rate) for cell in sorted(trunks) for rate in RATES[:rates]]
    jobs = formed(runs, workers=workers)
    loads = [0.0] * workers
    for job in jobs:
        loads[loads.index(min(loads))] += job.flops
    heaviest_member = max(job.flops / len(job.members) for job in jobs)
    assert max(loads) - sum(loads) / workers <= heaviest_member * 1.000001


def test_a_job_has_one_name_for_the_same_work():
    runs = [run(0, rate) for rate in RATES[:3]]
    assert formed(runs)[0].name == formed(runs[::-1])[0].name
    assert formed(runs)[0].name != formed(runs[:2])[0].name
