"""The cells of a run table, with the rates recorded in each and how often."""

from __future__ import annotations

from orchestrator.law import Point
from orchestrator.tables.recorded_cells import RecordedCell, recorded_cells
from orchestrator.tables.run_table import parse_csv

TABLE = b"""params,tokens,batch_tokens,learning_rate,loss
2e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,2e-3,3.5
1e6,1e8,1024,1e-3,3.5
1e6,1e8,1024,1e-3,3.6
1e6,2e8,2048,1e-3,
"""


def cell(params: float, tokens: float, batch_tokens: float, **rates: object) -> RecordedCell:
    return RecordedCell(point=Point(params=params, tokens=tokens, batch_tokens=batch_tokens), **rates)


def test_cells_come_cheapest_first_with_their_rates_and_repeats() -> None:
    assert recorded_cells(parse_csv(TABLE)) == (
        cell(1e6, 1e8, 1024, rates=(1e-3, 2e-3), repeats=(2, 1)),
        cell(1e6, 2e8, 2048, rates=(1e-3,), repeats=(1,)),
        cell(2e6, 1e8, 1024, rates=(1e-3,), repeats=(1,)),
    )


COUNTED = b"""params,tokens,batch_tokens,learning_rate,loss
1e6,100001000,1024,1e-3,3.5
1e6,99990000,1024,2.0001e-3,3.5
1e6,100000000,1024,2e-3,3.6
1e6,100009000,1024,1.0001e-3,3.6
1e6,101000000,1024,1e-3,3.6
"""


def test_tokens_counted_in_each_run_and_rounded_rates_are_one_cell_and_its_rates() -> None:
    assert recorded_cells(parse_csv(COUNTED)) == (
        cell(1e6, 1e8, 1024, rates=(1e-3, 2e-3), repeats=(2, 2)),
        cell(1e6, 1.01e8, 1024, rates=(1e-3,), repeats=(1,)),
    )


def test_a_cell_can_be_limited_to_some_rates() -> None:
    (first, *_) = recorded_cells(parse_csv(TABLE))

    assert first.at_rates(lambda rate: rate > 1e-3) == cell(1e6, 1e8, 1024, rates=(2e-3,), repeats=(1,))
    assert first.at_rates(lambda rate: rate > 1).rates == ()
