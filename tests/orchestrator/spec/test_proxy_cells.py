"""The cells of a grid of proxies: their parameters, trunks and costs."""

from __future__ import annotations

import pytest

from orchestrator.cells import Cells
from orchestrator.errors import BadInput
from orchestrator.planner.draft import Draft
from orchestrator.planner.trunk_groups import rate_flops
from orchestrator.planner.values import (
    KnownRun,
    PlanRequest,
    RunHistory,
    RunOutcome,
    asked_flops,
    full_grid_flops,
)
from orchestrator.spec import (
    Dense,
    Grid,
    MixtureOfExperts,
    ProxyTrainer,
    Scale,
    Schedule,
    experts_of,
    params_of,
)
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
CELLS = ProxyTrainer(kind="proxy").cells(GRID)


def test_rates_that_differ_by_a_rounding_are_trained_once() -> None:
    rates = [0.004000000000000001, 4e-3, 4.003e-3, 4.0039e-3, 8e-3]

    assert GRID.model_copy(update={"learning_rates": rates}).rates() == (4e-3, 8e-3)
    assert GRID.model_copy(update={"learning_rates": [4e-3, 4.005e-3]}).rates() == (4e-3, 4.005e-3)


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
def test_experts_without_a_width_are_together_as_wide_as_a_dense_layer(
    top_k: int, shared: int, width: int, found: int
) -> None:
    mixture = MixtureOfExperts(kind="moe", experts=8, top_k=top_k, shared_experts=shared)

    assert mixture.expert_width_at(width) == found


MIXTURE = {"kind": "moe", "experts": 4, "top_k": 2}
MIXED = [{"width": 32, "depth": 1}, {"width": 16, "depth": 2, "experts": 16}]


def mixed_cells(scales: list[dict[str, int]], **architecture: object) -> Cells:
    trainer = ProxyTrainer.model_validate({"kind": "proxy", "architecture": MIXTURE | architecture})
    return trainer.cells(Grid.model_validate(GRID.model_dump() | {"scales": scales}))


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
        KnownRun(cell=cell, learning_rate=1e-3, seed=0, outcome=RunOutcome.COMPLETED, loss=3.0)
        for cell in (0, 1)
    )
    shared = cells[0].flops + cells[1].marginal_flops(cells[0].fork_tokens)

    assert asked_flops(RunHistory(cells=cells, runs=(first, second))) == pytest.approx(shared)
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


def test_mixtures_with_equal_counts_in_the_law_are_refused() -> None:
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
        assert set(trainer.trunk_scales(GRID)) == {cell.trunk for cell in trainer.cells(GRID)}
        return [cell.trunk for cell in trainer.cells(GRID)]

    assert names() == [cell.trunk for cell in CELLS]
    assert len(set(names("horizon"))) == len(CELLS)


@pytest.mark.parametrize("width", range(8, 700, 2))
def test_heads_by_default_suit_the_width_and_are_the_trainers(width: int) -> None:
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
    tokens = 0.8 * 262_144 + 0.2 * (131_072 + 262_144)

    for order in ((0, 1), (1, 0)):
        draft = Draft(RunHistory(cells=CELLS), PlanRequest(target=CELLS[1].point))
        for number in order:
            draft.add(CELLS[number], 1e-3, 0, "")
        assert sum(run.flops for run in draft.batch) == pytest.approx(6 * 9216 * tokens)


def test_horizons_and_scales_that_come_to_the_same_are_one_cell() -> None:
    grid = Grid.model_validate(
        {
            "scales": [{"width": 64, "depth": 2}, {"width": 64, "depth": 2, "heads": 4}],
            "tokens": [400_000, 400_100, 402_000],
            "batch_tokens": [2048],
            "learning_rates": [1e-3],
        }
    )

    assert [cell.tokens for cell in ProxyTrainer(kind="proxy").cells(grid)] == [399_360.0, 401_408.0]


def test_horizons_of_a_cosine_share_the_warmup_alone_in_whole_steps() -> None:
    schedule = Schedule(shape="cosine", warmup_tokens=10_000)
    cells = ProxyTrainer(kind="proxy", schedule=schedule).cells(GRID)
    timetable = TrainerSchedule(warmup_tokens=10_000, shape="cosine").in_steps(256)
    warmup = 40 * 256

    assert len({cell.decay_fraction for cell in cells}) == 2
    for cell in cells:
        assert cell.fork_tokens == pytest.approx(warmup)
        assert cell.fork_tokens == pytest.approx(256 * timetable.fork(int(cell.tokens)))
        assert cell.marginal_flops(warmup) == pytest.approx(6 * cell.params * (cell.tokens - warmup))
    tokens = 131_072 + 262_144 - warmup
    assert rate_flops((cells[0], cells[1])) == pytest.approx(6 * 9216 * tokens)
    runs = tuple(
        KnownRun(cell=cell, learning_rate=1e-3, seed=0, outcome=RunOutcome.COMPLETED, loss=2.0)
        for cell in (0, 1)
    )
    assert asked_flops(RunHistory(cells=cells, runs=runs)) == pytest.approx(6 * 9216 * tokens)
