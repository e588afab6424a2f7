"""Cells of proxies and of recorded tables."""

from __future__ import annotations

import pytest

from orchestrator.errors import BadInput
from orchestrator.planner.trunks import rate_flops
from orchestrator.planner.values import (
    Cells,
    KnownRun,
    Outcome,
    Proposal,
    Record,
    asked_flops,
    full_grid_flops,
    prior_flops,
)
from orchestrator.spec import Dense, Grid, MixtureOfExperts, ProxyTrainer, Scale, Schedule, experts_of
from orchestrator.submission.cells import (
    fewest_repeats,
    narrowed,
    params_of,
    proxy_cells,
    table_cells,
    trunk_scales,
)
from orchestrator.submission.rehearsal import batch_flops
from orchestrator.tables.run_table import parse_csv
from trainer import Experts, Shape
from trainer import Schedule as TrainerSchedule

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
    shape = Shape(width=width, depth=depth)
    derived = params_of(Scale(width=width, depth=depth), Dense())

    assert (derived.total, derived.active) == (shape.params_total, shape.params_active)


@pytest.mark.parametrize("shared", [0, 1, 3])
@pytest.mark.parametrize(("count", "top_k", "width"), [(4, 1, None), (8, 2, 24), (64, 8, 16)])
def test_params_of_a_mixture_are_those_the_trainer_counts(
    count: int, top_k: int, width: int | None, shared: int
) -> None:
    mixture = MixtureOfExperts(
        kind="moe", experts=count, top_k=top_k, expert_width=width, shared_experts=shared
    )
    scale = Scale(width=48, depth=3)
    size = experts_of(scale, mixture)
    assert size is not None
    experts = Experts(count=size.count, top_k=top_k, width=size.width, shared=shared)
    shape = Shape(width=48, depth=3, experts=experts)
    derived = params_of(scale, mixture)

    assert (derived.total, derived.active) == (shape.params_total, shape.params_active)


@pytest.mark.parametrize(
    ("top_k", "shared", "width", "found"),
    [(2, 0, 32, 64), (2, 1, 32, 40), (8, 0, 16, 8), (8, 8, 16, 8), (1, 0, 32, 128)],
)
def test_experts_nobody_gave_a_width_are_together_as_wide_as_a_dense_layer(
    top_k: int, shared: int, width: int, found: int
) -> None:
    mixture = MixtureOfExperts(kind="moe", experts=8, top_k=top_k, shared_experts=shared)

    assert mixture.expert_width_at(width) == found


MIXTURE = {"kind": "moe", "experts": 4, "top_k": 2}
MIXED = [{"width": 32, "depth": 1}, {"width": 16, "depth": 2, "experts": 16}]


def mixed_cells(scales: list[dict[str, int]], **architecture: object) -> Cells:
    trainer = ProxyTrainer.model_validate({"kind": "proxy", "architecture": MIXTURE | architecture})
    return proxy_cells(Grid.model_validate(GRID.model_dump() | {"scales": scales}), trainer)


def test_a_cell_of_a_mixture_has_both_counts_and_its_flops_are_of_the_active_one() -> None:
    for count in ("active", "total"):
        cells = mixed_cells(MIXED, params=count)
        assert [cell.params for cell in cells] == [getattr(cell, f"params_{count}") for cell in cells]
        for cell in cells:
            assert cell.params_total is not None
            assert cell.params_active is not None
            assert cell.params_active < cell.params_total
            assert cell.flops == 6 * cell.params_active * cell.tokens
        assert [cell.params for cell in cells] == sorted(cell.params for cell in cells)
        assert full_grid_flops(cells, 1) == sum(2 * cell.flops for cell in cells)


def test_a_dense_cell_has_one_count() -> None:
    assert {(cell.params_total, cell.params_active) for cell in CELLS} == {(None, None)}


def test_what_a_mixture_was_asked_is_priced_by_its_active_parameters() -> None:
    cells = mixed_cells(MIXED, params="total")
    first, second = (
        KnownRun(cell=place, learning_rate=1e-3, seed=0, outcome=Outcome.COMPLETED, loss=3.0)
        for place in (0, 1)
    )
    shared = cells[0].flops + cells[1].marginal_flops(cells[0].fork_tokens)

    assert asked_flops(Record(cells=cells, runs=(first, second))) == pytest.approx(shared)
    assert shared == pytest.approx(
        6 * cells[0].params_active * (0.8 * 262_144 + 0.2 * (131_072 + 262_144))  # type: ignore[operator]
    )


def test_scales_that_differ_in_their_experts_are_models_and_trunks_of_their_own() -> None:
    scales = [{"width": 32, "depth": 2, "experts": count} for count in (4, 8, 4)]
    cells = mixed_cells(scales, params="total")

    assert len(cells) == 4
    assert len({cell.trunk for cell in cells}) == 2
    assert {cell.params_total for cell in cells} == {
        2 * (4 * 32**2 + 32 * count + count * 2 * 32 * 64) for count in (4.0, 8.0)
    }


def test_mixtures_that_the_laws_count_cannot_tell_apart_are_refused() -> None:
    wide = [{"width": 2048, "depth": 1, "experts": count} for count in (4, 6)]

    assert len({cell.params for cell in mixed_cells(wide, params="total")}) == 2
    with pytest.raises(BadInput, match="a law in active parameters cannot tell them apart") as refused:
        mixed_cells(wide)
    assert refused.value.fields[0].path == "grid.scales.1"


def test_horizons_share_no_trunk_where_the_rate_depends_on_the_horizon() -> None:
    def names(*rules: str) -> list[str | None]:
        trainer = ProxyTrainer.model_validate(
            {"kind": "proxy", "parametrization": {"kind": "mup", "rules": rules}}
        )
        assert set(trunk_scales(GRID, trainer)) == {cell.trunk for cell in proxy_cells(GRID, trainer)}
        return [cell.trunk for cell in proxy_cells(GRID, trainer)]

    assert names() == [cell.trunk for cell in CELLS]
    assert len(set(names("horizon"))) == len(CELLS)


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
    assert fewest_repeats(table, Cells((cells[0],))) == 2


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
    assert fewest_repeats(table, narrowed(Cells((cells[0],)), Grid(learning_rates=(1e-3,)))) == 2


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
    assert rate_flops((cells[0], cells[1])) == pytest.approx(6 * 9216 * tokens)
    runs = tuple(
        KnownRun(cell=cell, learning_rate=1e-3, seed=0, outcome=Outcome.COMPLETED, loss=2.0)
        for cell in (0, 1)
    )
    assert asked_flops(Record(cells=cells, runs=runs)) == pytest.approx(6 * 9216 * tokens)


def test_prior_runs_of_mixtures_cost_their_active_parameters() -> None:
    row = "params,params_active,tokens,batch_tokens,learning_rate,loss\n4e6,1e6,1e8,1024,1e-3,3.5\n"
    blank = row.replace(",1e6,1e8", ",,1e8")

    for text, active in ((row, 1e6), (blank, 4e6)):
        prior = parse_csv(text.encode()).observations()
        assert prior_flops(Record(cells=Cells(), prior=prior)) == 6 * active * 1e8
