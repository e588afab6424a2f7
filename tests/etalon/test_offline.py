"""``etalon.fit``: a law from a file, a data frame or columns, the same as ``etalon fit`` prints."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from typer.testing import CliRunner

import etalon
from etalon import offline
from etalon.cli.commands import app
from tests.known_law import RECORDED, grid, run_table

RATES = [8e-3 * 2**octave for octave in range(-3, 4)]
BATCHES = (65_536.0, 131_072.0)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run table of twelve cells of two batches."""
    path = tmp_path_factory.mktemp("offline") / "runs.csv"
    path.write_text(run_table(RECORDED.runs(grid((1e6, 2e6, 4e6), (1e8, 2e8), BATCHES), RATES)))
    return path


@pytest.fixture(scope="module")
def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


@pytest.fixture(scope="module")
def law(path: Path) -> etalon.Law:
    return etalon.fit(path)


class PolarsFrame:
    """The part of a Polars data frame that a table is read by."""

    class Series:
        def __init__(self, values: list[Any]) -> None:
            self._values = values

        def to_list(self) -> list[Any]:
            return self._values

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Series:
        return self.Series(self._columns[name])


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame,
        pa.Table.from_pandas,
        lambda frame: frame.to_dict("list"),
        lambda frame: {name: frame[name].to_numpy() for name in frame},
        lambda frame: PolarsFrame(frame.to_dict("list")),
    ],
    ids=["pandas", "pyarrow", "lists", "arrays", "polars"],
)
def test_a_frame_gives_the_law_of_its_file(frame: pd.DataFrame, law: etalon.Law, convert: Any) -> None:
    assert etalon.fit(convert(frame)).document == law.document


def test_a_missing_loss_of_a_frame_is_a_divergence(frame: pd.DataFrame, path: Path, tmp_path: Path) -> None:
    nullable = frame.convert_dtypes()
    nullable.loc[3, "loss"] = pd.NA
    frame = frame.copy()
    frame.loc[3, "loss"] = np.nan
    frame.to_csv(tmp_path / "one.csv", index=False)
    expected = etalon.fit(tmp_path / "one.csv").document
    assert etalon.fit(nullable).document == etalon.fit(frame).document == expected


def test_it_predicts_as_the_command_prints(path: Path, law: etalon.Law) -> None:
    target = "params=8M,tokens=400M,batch_tokens=131072"
    done = CliRunner().invoke(app, ["fit", str(path), "--target", target, "--budget-flops", "1e19", "--json"])
    printed = json.loads(done.output)

    predicted = law.predict(params="8M", tokens=4e8, batch_tokens=131_072, budget_flops="1e19")

    assert predicted.to_json() == printed["predictions"][0]
    assert law.document.to_json() == printed | {"predictions": []}


def test_the_batch_is_by_default_the_best_of_the_table() -> None:
    known = replace(RECORDED, bottom=lambda at: 3.0 + abs(math.log(at.batch_tokens / 131_072)) / 10)
    batches = [131_072 * 2.0**octave for octave in (-1, 0, 1, 2)]
    rows = [
        line.split(",")
        for line in run_table(known.runs(grid((1e6, 2e6), (1e8, 2e8), batches), RATES)).split()
    ]
    law = etalon.fit({name: [float(value) for value in column] for name, *column in zip(*rows, strict=True)})

    answer, batch = law.predict(params="4M", tokens="200M"), law.batch(params="4M", tokens="200M")

    assert answer.batch == batch
    assert answer.target.batch_tokens == batch.best == pytest.approx(131_072, rel=0.3)
    assert law.predict(params="4M", tokens="200M", batch_tokens=262_144).target.batch_tokens == 262_144


def test_two_batches_do_not_show_the_best_and_the_better_one_is_asked_at(law: etalon.Law) -> None:
    batch = law.batch(params="8M", tokens="400M")
    assert (batch.best, batch.choices) == (None, [])
    assert "3 batches or more" in (batch.reason or "")
    assert law.predict(params="8M", tokens="400M").target.batch_tokens in BATCHES


@pytest.mark.parametrize("wrong", [0, -1, "many"])
def test_a_batch_of_no_size_is_refused(law: etalon.Law, wrong: Any) -> None:
    with pytest.raises(etalon.BadInput, match="params"):
        law.batch(params=wrong, tokens="400M")


def test_a_law_shows_its_formula(law: etalon.Law) -> None:
    assert repr(law).startswith("<Law of 84 runs in 12 cells: η* ≈ ")
    assert str(law.formula).splitlines()[1].startswith("ln η* ≈ ")
    assert [term.name for term in law.coefficients][:2] == ["1", "ln N"]
    assert len(law.bowls) == 12
    assert law.warnings == law.document.warnings


def test_a_target_that_the_runs_cannot_support_is_refused(law: etalon.Law) -> None:
    with pytest.raises(etalon.Refused, match="not known at all") as refused:
        law.predict(params="10T", tokens="10T")
    assert refused.value.code == "interval_too_wide"


def test_where_picks_one_recipe(frame: pd.DataFrame, law: etalon.Law) -> None:
    mixed = pd.concat([frame.assign(optimizer="muon"), frame.assign(optimizer="adamw", loss=9.0)])

    with pytest.raises(etalon.BadInput, match="adamw, muon"):
        etalon.fit(mixed)
    assert etalon.fit(mixed, where={"optimizer": "muon"}).bowls == law.bowls


@pytest.mark.parametrize("where", ["optimizer=muon", [("optimizer", "muon")]])
def test_conditions_that_are_no_mapping_are_refused(path: Path, where: Any) -> None:
    with pytest.raises(etalon.BadInput, match="where is a mapping"):
        etalon.fit(path, where=where)


def test_columns_to_ignore_are_a_list_or_one_name(frame: pd.DataFrame, law: etalon.Law) -> None:
    mixed = frame.assign(host=["a", *["b"] * (len(frame) - 1)])

    assert etalon.fit(mixed, ignore="host").bowls == etalon.fit(mixed, ignore=["host"]).bowls == law.bowls
    with pytest.raises(etalon.BadInput, match="ignore is a list of columns"):
        etalon.fit(mixed, ignore=1)


def test_a_fit_uses_one_thread_of_the_linear_algebra_library(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    def fit_table(*_: Any) -> None:
        raise etalon.Refused(str(threads()))

    monkeypatch.setattr(offline, "fit_table", fit_table)
    with threadpool_limits(limits=2, user_api="blas"):
        with pytest.raises(etalon.Refused, match=r"^\{1\}$"):
            etalon.fit(path)
        assert threads() == {2}


def test_size_names_the_column_that_is_n(frame: pd.DataFrame) -> None:
    experts = frame.assign(params_total=frame.params * 4)
    assert etalon.fit(experts, size="params_total").bowls[0].params == 4e6
    with pytest.raises(etalon.BadInput, match="N cannot be 'width'"):
        etalon.fit(experts, size="width")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "not list"),
        ({"params": [1e6]}, "lacks the columns"),
        (dict.fromkeys(("params", "tokens", "batch_tokens", "learning_rate", "loss"), 1.0), "single value"),
        ("nowhere.csv", r"nowhere.csv cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(table: object, message: str) -> None:
    with pytest.raises(etalon.BadInput, match=message):
        etalon.fit(table)


def test_columns_of_a_tracker_that_look_like_missing_ones_are_named(path: Path, tmp_path: Path) -> None:
    header, *rows = path.read_text().split()
    header = header.replace("learning_rate", "optimizer.lr").replace("batch_tokens", "batch_size")
    (tmp_path / "mine.csv").write_text("\n".join([header.replace("loss", "eval/loss"), *rows]))

    with pytest.raises(etalon.BadInput) as refused:
        etalon.fit(tmp_path / "mine.csv")

    assert str(refused.value) == refused.value.detail
    for words in (
        "mine.csv: The table lacks the columns batch_tokens, learning_rate, loss.",
        "Rename batch_size to batch_tokens (tokens per optimizer step: sequences times their length).",
        "Rename optimizer.lr to learning_rate. Rename eval/loss to loss.",
    ):
        assert words in str(refused.value)


def test_columns_in_another_case_are_read_with_a_notice(frame: pd.DataFrame, law: etalon.Law) -> None:
    written = {name: name.title() for name in ("params", "learning_rate", "loss")}
    other = frame.rename(columns=written).assign(State="FINISHED", note=["a", *["b"] * (len(frame) - 1)])

    found = etalon.fit(other, where={"State": "FINISHED"}, ignore=["note"])

    assert found.bowls == law.bowls
    (said,) = (n.message for n in found.document.notices if n.code == "column_renamed")
    assert "Params as params" in said
    assert "State as state" in said


def test_a_column_of_states_under_another_name_is_pointed_at(frame: pd.DataFrame) -> None:
    states = ["crashed", *["finished"] * (len(frame) - 1)]

    with pytest.raises(etalon.BadInput, match=r"If it holds the states of the runs, name it state\."):
        etalon.fit(frame.assign(status=states))
    assert repr(etalon.fit(frame.assign(State=states))).startswith(f"<Law of {len(frame) - 1} runs in ")


def test_columns_of_different_lengths_are_refused(frame: pd.DataFrame) -> None:
    columns = frame.to_dict("list")
    columns["loss"] = columns["loss"][:-1]
    with pytest.raises(etalon.BadInput, match="one length"):
        etalon.fit(columns)


@pytest.mark.parametrize("wrong", [True, None, "many", -1, float("nan"), "1e30", 10**400])
def test_an_amount_that_is_none_is_refused_with_its_name(law: etalon.Law, wrong: Any) -> None:
    with pytest.raises(etalon.BadInput, match="^params: "):
        law.predict(params=wrong, tokens=1e9)


def test_a_column_trunk_reaches_the_law(frame: pd.DataFrame) -> None:
    """Horizons of one size, batch and rate as branches: the held-out error counts them as one."""
    keys = [frame[name].astype(str) for name in ("params", "batch_tokens", "learning_rate")]
    plain, branched = (
        etalon.fit(frame),
        etalon.fit(frame.assign(trunk=keys[0] + "/" + keys[1] + "/" + keys[2])),
    )
    heldout, counted = plain.document.law.heldout, branched.document.law.heldout
    assert heldout is not None
    assert counted is not None
    assert heldout.groups == len(heldout.cells)
    assert counted.groups == len({cell.batch_tokens for cell in counted.cells}) < len(counted.cells)
    assert {bowl.law_sd for bowl in branched.bowls} != {bowl.law_sd for bowl in plain.bowls}
