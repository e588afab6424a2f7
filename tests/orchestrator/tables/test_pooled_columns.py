"""Settings that a table pools: numbers that take a few values within one cell, and nothing else."""

from __future__ import annotations

import itertools
import random

import pytest

from orchestrator.tables.formats import read_table
from orchestrator.tables.pooled_columns import confounded, pooled
from orchestrator.tables.table_notices import table_notices

HEADER = "params,tokens,batch_tokens,learning_rate,loss,params_total,seed,weight_decay,width,final_rate,noise,data_seed"


def rows(*, decays: tuple[str, ...] = ("0",), totals: tuple[str, ...] = ("2e6",)) -> list[list[str]]:
    """Two sizes, three rates and two seeds of every decay and every total count of parameters."""
    crossed = itertools.product(("1e6", "2e6"), (1e-3, 2e-3, 4e-3), (0, 1), decays, totals)
    return [
        [
            n,
            "1e8",
            "1024",
            f"{rate}",
            f"3.{i}",
            total,
            f"{seed}",
            decay,
            n,
            f"{rate / 10}",
            f"{i / 7}",
            f"{seed}",
        ]
        for i, (n, rate, seed, decay, total) in enumerate(crossed)
    ]


def table(runs: list[list[str]]) -> bytes:
    return "\n".join([HEADER, *map(",".join, runs)]).encode()


def test_a_setting_that_varies_within_a_cell_is_named_with_its_values() -> None:
    runs = read_table(table(rows(decays=("0", "0.1", "0.10"))))

    assert pooled(runs) == {"weight_decay": ("0", "0.1")}
    (message,) = (notice.message for notice in table_notices(runs) if notice.code == "pooled_column")
    assert message == (
        "weight_decay takes 2 values (0, 0.1) within one size, horizon and batch: pick one with "
        'where={"weight_decay": …} if it is part of the recipe, else ignore it with ignore=["weight_decay"].'
    )
    assert pooled(runs.where({"weight_decay": "0.1"})) == {}


def test_several_total_sizes_of_one_active_size_are_pooled_unless_they_are_the_size() -> None:
    runs = read_table(table(rows(totals=("4e6", "8e6"))))

    assert pooled(runs) == {"params_total": ("4000000", "8000000")}
    assert "params_total" not in pooled(runs.sized("params_total"))


def test_seeds_measurements_and_what_follows_the_size_or_the_rate_are_no_settings() -> None:
    assert pooled(read_table(table(rows()))) == {}


def test_a_column_that_marks_divergence_is_no_setting() -> None:
    runs = rows(decays=("0", "1"))
    for run in runs:
        run[4] = "" if run[7] == "1" else run[4]

    assert pooled(read_table(table(runs))) == {}


def test_a_setting_of_some_rates_only_is_named() -> None:
    runs = rows()
    for run in runs:
        run[7] = "0.1" if run[3] == "0.004" else "0"
    more = [
        [*run[:3], f"{float(run[3]) * 8}", *run[4:9], f"{float(run[3]) * 0.8}", f"{run[10]}5", run[11]]
        for run in runs
    ]

    assert pooled(read_table(table(runs + more))).keys() == {"weight_decay"}


def searched(*, replicates: int, values: int, name: str, digits: int = 6) -> bytes:
    """Six cells of eight rates, with a column of random values."""
    rng = random.Random(1)
    lines = [
        f"{n},{d},1024,{2**k}e-4,3.{k},{seed},{rng.randrange(values) / values:.{digits}f}"
        for n in ("1e6", "2e6", "4e6")
        for d in ("1e8", "2e8")
        for k in range(8)
        for seed in range(replicates)
    ]
    return "\n".join([f"params,tokens,batch_tokens,learning_rate,loss,seed,{name}", *lines]).encode()


@pytest.mark.parametrize("replicates", [1, 3])
@pytest.mark.parametrize("name", ["weight_decay", "adam_beta2", "WarmUp", "my_setting"])
def test_ten_values_of_a_setting_are_named(replicates: int, name: str) -> None:
    assert name in pooled(read_table(searched(replicates=replicates, values=10, name=name)))


def test_a_setting_known_by_its_name_is_named_if_no_value_repeats() -> None:
    table = read_table(searched(replicates=1, values=10**6, name="weight_decay"))

    (notice,) = table_notices(table)
    assert notice.message.startswith("weight_decay takes 8 values (0.")


@pytest.mark.parametrize(
    "name", ["gpu_seconds", "runtime_hours", "final_grad_norm", "data_seed", "accuracy", "_step"]
)
def test_measurements_and_seeds_are_not_named_although_they_repeat(name: str) -> None:
    assert pooled(read_table(searched(replicates=3, values=10, name=name))) == {}


def test_a_measurement_of_another_name_has_values_of_its_own() -> None:
    assert pooled(read_table(searched(replicates=3, values=10**6, name="sharpness"))) == {}


def test_a_weight_decay_that_is_a_multiple_of_the_rate_is_a_rule() -> None:
    rows = [f"1e6,1e8,1024,{k * 1.1e-4},3.{k},{k * 1.1e-5}" for k in range(1, 30)]
    header = "params,tokens,batch_tokens,learning_rate,loss,weight_decay"
    assert pooled(read_table("\n".join([header, *rows]).encode())) == {}


@pytest.mark.parametrize("name", ["muon_token_horizons", "optimizer_sweep", "steplaw_dense"])
def test_the_recorded_tables_pool_nothing(recorded_runs, name: str) -> None:
    assert pooled(read_table((recorded_runs / f"{name}.csv").read_bytes())) == {}


def of_sizes(beta: dict[str, str], *, name: str = "beta2") -> bytes:
    """Two sizes at two horizons, three rates each, with a setting that depends on the size."""
    lines = [f"params,tokens,batch_tokens,learning_rate,loss,{name}"]
    crossed = itertools.product(beta, ("1e8", "2e8"), (1e-3, 2e-3, 4e-3))
    lines += [f"{n},{d},1024,{rate},{3 + i / 100},{beta[n]}" for i, (n, d, rate) in enumerate(crossed)]
    return "\n".join(lines).encode()


def test_a_setting_that_changes_with_the_size_is_named_since_the_law_takes_it_for_the_size() -> None:
    runs = read_table(of_sizes({"1e6": "0.99", "2e6": "0.95"}))

    assert confounded(runs) == {"beta2": (("0.95", "0.99"), ("params",))}
    (message,) = (notice.message for notice in table_notices(runs) if notice.code == "confounded_column")
    assert message.startswith(
        "beta2 changes with params (0.95, 0.99), never within one size, horizon and batch: the law"
    )
    assert message.endswith('Pick one with where={"beta2": …}, else ignore it with ignore=["beta2"].')


@pytest.mark.parametrize("name", ["width", "heads", "perplexity"])
def test_what_makes_a_size_is_no_setting_that_changes_with_it(name: str) -> None:
    assert confounded(read_table(of_sizes({"1e6": "8", "2e6": "16"}, name=name))) == {}


def test_a_setting_of_one_value_or_within_cells_is_not_confounded() -> None:
    assert confounded(read_table(of_sizes({"1e6": "0.9", "2e6": "0.9"}))) == {}
    assert confounded(read_table(table(rows(decays=("0", "0.1"))))) == {}
