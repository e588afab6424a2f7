"""The cells of a run table, with the rates recorded in each and how often."""

from __future__ import annotations

from orchestrator.cells import Point
from orchestrator.tables.formats import read_table
from orchestrator.tables.recorded_rates import recorded_rates

TABLE = b"""params,tokens,batch_tokens,learning_rate,loss
2e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,2e-3,3.5
1e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,1e-3,3.6
1e6,2e8,2048,1e-3,
"""


def at(params: float, tokens: float, batch_tokens: float) -> Point:
    return Point(params=params, tokens=tokens, batch_tokens=batch_tokens)


def test_cells_come_cheapest_first_with_the_number_of_rows_of_every_rate() -> None:
    recorded = recorded_rates(read_table(TABLE))

    assert [(point, list(rates.items())) for point, rates in recorded.items()] == [
        (at(1e6, 1e8, 1024), [(1e-3, 2), (2e-3, 1)]),
        (at(1e6, 2e8, 2048), [(1e-3, 1)]),
        (at(2e6, 1e8, 1024), [(1e-3, 1)]),
    ]


COUNTED = b"""params,tokens,batch_tokens,learning_rate,loss
1e6,100001000,1024,1e-3,3.5
1e6,99990000,1024,2.0001e-3,3.5
1e6,100000000,1024,2e-3,3.6
1e6,100009000,1024,1.0001e-3,3.6
1e6,101000000,1024,1e-3,3.6
"""


def test_tokens_counted_in_each_run_and_rounded_rates_are_one_cell_and_its_rates() -> None:
    assert recorded_rates(read_table(COUNTED)) == {
        at(1e6, 1e8, 1024): {1e-3: 2, 2e-3: 2},
        at(1e6, 1.01e8, 1024): {1e-3: 1},
    }
