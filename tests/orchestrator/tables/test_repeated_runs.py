"""Rows of one run with two losses."""

from __future__ import annotations

from orchestrator.tables.formats import read_table
from orchestrator.tables.table_notices import table_notices

HEADER = "params,tokens,batch_tokens,learning_rate,loss,seed,weight_decay"


def notices(*rows: str) -> list[str]:
    runs = [f"1e6,1e8,1024,{rate}e-3,3.{rate},0,0" for rate in range(4, 9)]
    table = read_table("\n".join([HEADER, *runs, *rows]).encode())
    return [notice.message for notice in table_notices(table) if notice.code == "contradictory_rows"]


def test_one_cell_rate_and_seed_with_two_losses_is_named_with_both_rows() -> None:
    (said,) = notices("1e6,1e8,1024,0.005,3.51,0,0")
    assert said.startswith(
        "Rows 3 and 7 are of one size, horizon, batch, learning rate and seed (0) but have the losses 3.5 and 3.51. "
    )

    (said,) = notices(
        "1e6,1e8,1024,0.005,3.51,0,0", "1e6,1e8,1024,0.005,3.52,0,0", "1e6,1e8,1024,0.008,3.9,0,0"
    )
    assert "Rows 3 and 7 are" in said
    assert "3.5 and 3.51, and there is 1 more such run. Both" in said


def test_copies_seeds_settings_and_runs_without_a_loss_do_not_contradict() -> None:
    assert not notices(
        "1e6,1e8,1024,0.005,3.5,0,0",  # a copy
        "1e6,1e8,1024,0.006,3.9,1,0",
        "1e6,1e8,1024,0.006,3.8,,0",
        "1e6,1e8,1024,0.006,3.7,,0",
        "1e6,1e8,1024,0.007,3.6,0,0.1",
        "1e6,1e8,1024,0.008,,0,0",
    )
