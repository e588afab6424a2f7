"""A replay may ask for what its table records, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.cells import Cells, Point
from orchestrator.errors import BadInput
from orchestrator.planner.values import RunHistory, prior_flops
from orchestrator.spec import RecordedRows, Resources, SweepSpec, parse_spec, replayed_cells
from orchestrator.spec.command import Program
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates

HEADER = "params,tokens,batch_tokens,learning_rate,loss\n"
TABLE = f"""{HEADER}2e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,2e-3,3.5
1e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,1e-3,3.6
1e6,2e8,2048,1e-3,
"""


@dataclass
class OneTable:
    """A catalogue of one table, and of no program."""

    text: str

    def program(self, name: str) -> Program:
        raise NotImplementedError

    def rates(self, source: RecordedRows, field: str) -> Mapping[Point, Mapping[float, int]]:
        assert (source.table, field) == ("t", "trainer")
        return recorded_rates(read_table(self.text.encode()).one_recipe(source.where, source.ignore))


def replay(**grid: Any) -> SweepSpec:
    return parse_spec({"name": "again", "trainer": {"kind": "replay", "table": "t"}, "grid": grid})


def cells(table: str = TABLE, **grid: Any) -> list[tuple[float, float, float, tuple[float, ...]]]:
    spec = replay(**grid)
    found = spec.training.cells(spec.grid, OneTable(table))
    assert [cell.number for cell in found] == list(range(len(found)))
    return [(cell.params, cell.tokens, cell.batch_tokens, cell.rates) for cell in found]


def test_without_a_grid_every_recorded_cell_and_rate_may_be_run() -> None:
    assert cells() == [
        (1e6, 1e8, 1024, (1e-3, 2e-3)),
        (1e6, 2e8, 2048, (1e-3,)),
        (2e6, 1e8, 1024, (1e-3,)),
    ]
    assert [cell.rates for cell in replayed_cells(recorded_rates(read_table(TABLE.encode())))] == [
        rates for *_, rates in cells()
    ]


def test_a_grid_narrows_what_is_recorded_up_to_rounding() -> None:
    assert cells(tokens=[100_000_000], learning_rates=[0.0020001]) == [(1e6, 1e8, 1024, (2e-3,))]
    assert cells(batch_tokens=[2048]) == [(1e6, 2e8, 2048, (1e-3,))]


def test_as_many_seeds_may_be_asked_for_as_every_rate_on_the_grid_has_rows() -> None:
    assert cells(f"{HEADER}1e6,1e8,1024,1e-3,3.5\n1e6,1e8,1024,1e-3,3.6\n", seeds=2)
    with pytest.raises(BadInput, match="2 is more than the table records .* at most 1") as refused:
        cells(seeds=2)
    assert refused.value.fields[0].path == "grid.seeds"


def test_a_grid_without_recorded_runs_is_refused() -> None:
    with pytest.raises(BadInput, match="no recorded run") as refused:
        cells(tokens=[5])
    assert refused.value.fields[0].path == "grid"


def test_sizes_come_from_the_table_alone() -> None:
    with pytest.raises(BadInput, match="sizes that its table records") as refused:
        replay(scales=[{"width": 64, "depth": 2}])
    assert refused.value.fields[0].path == "grid.scales"


def test_a_replay_takes_one_small_worker_whatever_it_asks_for() -> None:
    needs = replay().training.needs(Resources(cpus_per_run=64, gpus_per_run=8, max_parallel=9))

    assert (needs.gpus_per_run, needs.max_parallel) == (0, 1)
    assert 0 < needs.cpus_per_run < 1


def test_prior_runs_of_mixtures_cost_their_active_parameters() -> None:
    row = "params,params_active,tokens,batch_tokens,learning_rate,loss\n4e6,1e6,1e8,1024,1e-3,3.5\n"
    blank = row.replace(",1e6,1e8", ",,1e8")

    for text, active in ((row, 1e6), (blank, 4e6)):
        prior = read_table(text.encode()).observations()
        assert prior_flops(RunHistory(cells=Cells(), prior=prior)) == 6 * active * 1e8


def test_a_column_that_is_no_part_of_a_recipe_is_ignored() -> None:
    table = TABLE.replace(HEADER, HEADER.strip() + ",host\n")
    mixed = "\n".join(
        f"{line},{'ab'[at % 2]}" if at and line else line for at, line in enumerate(table.splitlines())
    )
    spec = parse_spec({"name": "again", "trainer": {"kind": "replay", "table": "t", "ignore": ["host"]}})
    assert len(spec.training.cells(spec.grid, OneTable(mixed))) == len(cells())
    spec = replay()
    with pytest.raises(BadInput, match="host"):
        spec.training.cells(spec.grid, OneTable(mixed))
