"""Cells of proxies and of recorded tables."""

from __future__ import annotations

import pytest

from orchestrator.cells import dense_params, fewest_repeats, narrowed, proxy_cells, table_cells
from orchestrator.forecast import batch_flops
from orchestrator.planner.trunks import rate_flops
from orchestrator.planner.values import KnownRun, Outcome, Proposal, Record, asked_flops, full_grid_flops
from orchestrator.runtable import parse_csv
from orchestrator.spec import Grid, ProxyTrainer, Scale, Schedule
from trainer import Schedule as TrainerSchedule
from trainer import Shape

GRID = Grid.model_validate(
    {
        "scales": [{"width": 64, "depth": 2}, {"width": 16, "depth": 3}],
        "tokens": [262_144, 131_072],
        "batch_tokens": [256],
        "learning_rates": [1e-2, 1e-3],
    }
)
CELLS = proxy_cells(GRID, ProxyTrainer(kind="proxy"))


@pytest.mark.parametrize(("width", "depth"), [(16, 3), (32, 2), (64, 4)])
def test_derived_params_are_those_the_trainer_counts(width: int, depth: int) -> None:
    assert dense_params(Scale(width=width, depth=depth)) == Shape(width=width, depth=depth).params


@pytest.mark.parametrize("width", range(8, 700, 2))
def test_heads_nobody_asked_for_suit_the_width_and_are_the_trainers(width: int) -> None:
    heads = Scale(width=width, depth=1).attention_heads

    assert heads == Shape(width=width, depth=1).head_count
    assert width % (2 * heads) == 0
    assert heads == width // 16 or width % 16


def test_cells_come_smallest_first_and_horizons_share_a_trunk() -> None:
    assert [(cell.params, cell.tokens) for cell in CELLS] == [
        (9216.0, 131_072.0),
        (9216.0, 262_144.0),
        (98_304.0, 131_072.0),
        (98_304.0, 262_144.0),
    ]
    assert CELLS[0].trunk == CELLS[1].trunk != CELLS[2].trunk
    assert CELLS[0].rates == (1e-3, 1e-2)


def test_the_full_grid_costs_six_flops_per_parameter_and_token() -> None:
    expected = 6 * (9216 + 98_304) * (131_072 + 262_144) * 2

    assert full_grid_flops(CELLS, seeds=1) == pytest.approx(expected)


def test_a_batch_pays_for_a_shared_trunk_once() -> None:
    both = tuple(Proposal(cell=cell, learning_rate=1e-3, seed=0, flops=0.0, reason="") for cell in (0, 1))
    tokens = 0.8 * 262_144 + 0.2 * (131_072 + 262_144)

    assert batch_flops(Record(cells=CELLS), both) == pytest.approx(6 * 9216 * tokens)


TABLE = b"""params,tokens,batch_tokens,learning_rate,loss
2e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,2e-3,3.5
1e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,1e-3,3.6
1e6,2e8,2048,1e-3,
"""


def test_recorded_cells_hold_the_rates_recorded_there_cheapest_first() -> None:
    cells = table_cells(parse_csv(TABLE))

    assert [(cell.params, cell.tokens, cell.rates) for cell in cells] == [
        (1e6, 1e8, (1e-3, 2e-3)),
        (1e6, 2e8, (1e-3,)),
        (2e6, 1e8, (1e-3,)),
    ]


COUNTED = b"""params,tokens,batch_tokens,learning_rate,loss
1e6,100001000,1024,1e-3,3.5
1e6,99990000,1024,2.0001e-3,3.5
1e6,100000000,1024,2e-3,3.6
1e6,100009000,1024,1.0001e-3,3.6
1e6,101000000,1024,1e-3,3.6
"""


def test_tokens_counted_in_each_run_and_rounded_rates_are_one_cell_and_its_rates() -> None:
    table = parse_csv(COUNTED)
    cells = table_cells(table)

    assert [(cell.tokens, cell.rates) for cell in cells] == [(1.00000e8, (1e-3, 2e-3)), (1.01e8, (1e-3,))]
    assert fewest_repeats(table, cells[:1]) == 2


def test_horizons_and_scales_that_come_to_the_same_are_one_cell() -> None:
    grid = Grid.model_validate(
        {
            "scales": [{"width": 64, "depth": 2}, {"width": 64, "depth": 2, "heads": 4}],
            "tokens": [400_000, 400_100, 402_000],
            "batch_tokens": [2048],
            "learning_rates": [1e-3],
        }
    )

    assert [cell.tokens for cell in proxy_cells(grid, ProxyTrainer(kind="proxy"))] == [399_360.0, 401_408.0]


def test_repeats_are_counted_where_there_are_fewest() -> None:
    table = parse_csv(TABLE)
    cells = table_cells(table)

    assert fewest_repeats(table, cells) == 1
    assert fewest_repeats(table, narrowed(cells[:1], Grid(learning_rates=(1e-3,)))) == 2


def test_a_grid_narrows_what_is_recorded() -> None:
    cells = table_cells(parse_csv(TABLE))

    assert len(narrowed(cells, Grid())) == 3
    kept = narrowed(cells, Grid(tokens=(100_000_000,), learning_rates=(0.0020001,)))
    assert [(cell.number, cell.rates) for cell in kept] == [(0, (2e-3,))]


def test_horizons_of_a_cosine_share_the_warmup_alone_in_whole_steps() -> None:
    schedule = Schedule(shape="cosine", warmup_tokens=10_000)
    cells = proxy_cells(GRID, ProxyTrainer(kind="proxy", schedule=schedule))
    timetable = TrainerSchedule(warmup_tokens=10_000, shape="cosine").in_steps(256)
    warmup = 40 * 256

    assert len({cell.decay_fraction for cell in cells}) == 2
    for cell in cells:
        assert cell.fork_tokens == pytest.approx(warmup)
        assert cell.fork_tokens == pytest.approx(256 * timetable.fork(int(cell.tokens)))
        assert cell.marginal_flops(warmup) == pytest.approx(6 * cell.params * (cell.tokens - warmup))
    both = tuple(Proposal(cell=cell, learning_rate=1e-3, seed=0, flops=0.0, reason="") for cell in (1, 0))
    tokens = 131_072 + 262_144 - warmup
    assert batch_flops(Record(cells=cells), both) == pytest.approx(6 * 9216 * tokens)
    assert rate_flops(cells[:2]) == pytest.approx(6 * 9216 * tokens)
    runs = tuple(
        KnownRun(cell=cell, learning_rate=1e-3, seed=0, outcome=Outcome.COMPLETED, loss=2.0)
        for cell in (0, 1)
    )
    assert asked_flops(Record(cells=cells, runs=runs)) == pytest.approx(6 * 9216 * tokens)
