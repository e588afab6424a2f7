"""Run tables: what is kept, what is refused, and where."""

from __future__ import annotations

import gzip
import math

import numpy as np
import pytest

from orchestrator.errors import BadInput
from orchestrator.tables.formats import read_table
from orchestrator.tables.table_notices import table_notices

HEADER = "params,tokens,batch_tokens,learning_rate,loss"


def table(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows]).encode()


def test_unfinished_runs_are_kept_as_data_without_a_loss() -> None:
    runs = read_table(
        table(
            "1e6,1e8,1024,1e-3,3.5,completed",
            "1e6,1e8,1024,2e-3,,completed",
            "1e6,1e8,1024,4e-3,nan,",
            "1e6,1e8,1024,8e-3,inf,completed",
            "1e6,1e8,1024,9e-3,3.1,diverged",
            header=HEADER + ",state",
        )
    )

    assert len(runs) == 5
    assert np.isnan(runs.loss[1:]).all()
    assert runs.loss[0] == 3.5


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "The file is empty"),
        (b" \n\n", "The file is empty"),
        (
            b"PK\x03\x04\x14\x00[Content_Types].xml xl/workbook.xml",
            "an Excel workbook: save its sheet as CSV",
        ),
        (b"PK\x03\x04\x14\x00runs.csv", "a ZIP archive"),
        (
            gzip.compress(b"params,tokens", mtime=0),
            "compressed with gzip, not a table of separated values (CSV): decompress",
        ),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b'\xef\xbb\xbf\n [{"params": 1}]', "The file is JSON"),
        (b"<!doctype html>", "HTML or XML"),
        (b"# Etalon\n\nText, and more.\n", "one column only, '# Etalon'"),
        (
            b"params|tokens|loss\n1|2|3\n",
            "one column only, 'params|tokens|loss': its columns stand between commas",
        ),
        (table("1,2,3,4", header="params,tokens,batch_tokens,loss"), "lacks the column learning_rate"),
        (table(), "no rows"),
        (
            table("1e6,1e8,1024,-1e-3,3.5"),
            "row 2, column learning_rate: must be a positive number, not '-1e-3'",
        ),
        (table("1e6,1e8,1024,1e-3,3.5", "x,1e8,1024,1e-3,3.5"), "row 3, column params"),
        (table("1e6,nan,1024,1e-3,3.5"), "row 2, column tokens"),
        (table("1e6,1e8,1024,1e-3,good"), "row 2, column loss: 'good' is neither"),
        (table("1e6,1e8,1024,1e-3,-2"), "row 2, column loss: must be a positive number"),
        (table("1e6,1e8,1024"), "Row 2 has 3 values"),
        (table("1,1,1,1,1,1", header=HEADER + ",loss"), "names a column twice: loss"),
        (b"\xff\xfe\x00p", "not UTF-8"),
        (table(header=HEADER + ",x" * 196), "has 201 columns; at most 200"),
        (b"," * 100_000 + b"x", "has 100001 columns"),
        (table("1e6,1e8,1024,1e-3," + "x" * 10_000), "xx'… is neither"),
    ],
)
def test_a_broken_table_is_refused_with_row_and_column(data: bytes, says: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_table(data)

    assert says in refused.value.detail


def test_a_table_of_several_recipes_asks_for_one() -> None:
    runs = read_table(
        table(
            "1e6,1e8,1024,1e-3,3.5,adamw,a,True",
            "1e6,1e8,1024,2e-3,3.4,muon,b,False",
            "1e6,1e8,1024,4e-3,3.4,muon,c,False",
            header=HEADER + ",optimizer,run,diverged",
        )
    )

    with pytest.raises(BadInput, match="2 values of optimizer: adamw, muon.*where={") as refused:
        runs.one_recipe({})
    assert 'where={"optimizer": …}, or' in refused.value.detail
    assert 'ignore=["optimizer"]' in refused.value.detail
    assert len(runs.one_recipe({"optimizer": "muon"})) == 2
    assert len(runs.one_recipe({}, ["optimizer"])) == 3
    with pytest.raises(
        BadInput, match=r"No row has optimizer = AdamW \(did you mean adamw\?\)\. The column takes"
    ):
        runs.where({"optimizer": "AdamW"})


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            "--where",
            "pick one with --where 'job type'=…, or if job type does not matter ignore it with --ignore 'job type'.",
        ),
        (
            "trainer.where",
            'pick one with trainer.where: {"job type": …}, or if job type does not matter ignore it with trainer.ignore: ["job type"]',
        ),
    ],
)
def test_a_mixture_is_refused_in_the_words_of_its_door(option: str, says: str) -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,a", "1e6,1e8,1024,2e-3,3.4,b", "1e6,1e8,1024,4e-3,3.4,b"]
    runs = read_table(table(*rows, header=HEADER + ",job type"))

    with pytest.raises(BadInput) as refused:
        runs.one_recipe({}, option=option)

    assert says in refused.value.detail


def test_columns_to_ignore_are_of_the_table_and_not_needed() -> None:
    runs = read_table(table("1e6,1e8,1024,1e-3,3.5"))

    with pytest.raises(BadInput, match="no column 'host'"):
        runs.one_recipe({}, ["host"])
    with pytest.raises(BadInput, match="loss cannot be ignored"):
        runs.one_recipe({}, ["loss"])


def named(*, repeats: int, sizes: tuple[str, ...] = ("1e6", "2e6"), name: str = "{size}-{rate}") -> bytes:
    """A table of ten rates of each size, with names of runs, dates and two hosts."""
    rows = [
        f"{size},1e8,1024,{rate}e-3,3.{rate},{name.format(size=size, rate=rate)},2025-11-0{seed + 1}T10:00:0{rate % 3}.000Z,h{rate % 2}"
        for size in sizes
        for rate in range(1, 11)
        for seed in range(repeats)
    ]
    return table(*rows, header=HEADER + ",Name,Created,host")


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("name", ["{size}-{rate}", "lr{rate}"])
def test_names_of_runs_and_dates_are_ignored_with_a_notice(repeats: int, name: str) -> None:
    runs = read_table(named(repeats=repeats, name=name))

    assert runs.recipe_columns().recipes == {"host": ("h0", "h1")}
    assert runs.recipe_columns().ignored == ("Name", "Created")
    (notice,) = (n for n in table_notices(runs.one_recipe({}, ["host"])) if n.code == "ignored_column")
    assert "Name, Created" in notice.message


@pytest.mark.parametrize(
    ("first", "second", "is_recipe"),
    [
        ("1.0.2", "1.0.3", True),
        ("24.1.31", "24.2.1", True),
        ("2025.13.40", "2025.13.41", True),
        ("2025-1/3", "2025-1/4", True),
        ("31.1.2025", "1.2.2025 10:30", False),
        ("1/31/2025", "2/1/2025", False),
        ("2025-01-31 10:00:00 UTC", "2025-02-01 10:00:00 UTC", False),
    ],
)
def test_a_version_is_part_of_a_recipe_and_a_date_is_not(first: str, second: str, is_recipe: bool) -> None:
    rows = [f"1e6,1e8,1024,{rate}e-3,3.{rate},{text}" for rate in range(1, 5) for text in (first, second)]
    found = read_table(table(*rows, header=HEADER + ",torch")).recipe_columns()

    assert ("torch" in found.recipes, "torch" in found.ignored) == (is_recipe, not is_recipe)


def test_a_few_names_that_are_repeated_at_other_rates_are_names_still() -> None:
    rows = [f"1e6,1e8,1024,{rate}e-3,3.{rate},run {min(rate, 54)}" for rate in range(1, 61)]

    assert read_table(table(*rows, header=HEADER + ",Name")).recipe_columns().ignored == ("Name",)


def test_many_recipes_at_several_rates_are_recipes() -> None:
    rows = [f"1e6,1e8,1024,{rate}e-3,3.{rate},{k}x" for rate in range(1, 6) for k in range(12)]

    assert (
        len(read_table(table(*rows, header=HEADER + ",optimizer")).recipe_columns().recipes["optimizer"])
        == 12
    )


def test_the_rows_of_a_table_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tables.checked_table.MOST_ROWS", 2)
    rows = ["1e6,1e8,1024,1e-3,3.5"] * 3

    assert len(read_table(table(*rows[:2]))) == 2
    with pytest.raises(BadInput, match="more than 2 rows"):
        read_table(table(*rows))


def test_very_many_recipes_are_listed_in_part() -> None:
    rows = [f"1e6,1e8,1024,{rate}e-3,3.5,recipe {number:04d}" for number in range(1000) for rate in (1, 2)]
    runs = read_table(table(*rows, header=HEADER + ",recipe"))

    with pytest.raises(
        BadInput, match=r"1000 values of recipe: .* recipe 0049, … and 950 more\. A law"
    ) as refused:
        runs.one_recipe({})
    assert len(refused.value.detail) < 1_000
    with pytest.raises(BadInput, match="and 950 more") as refused:
        runs.where({"recipe": "x" * 10_000})
    assert len(refused.value.detail) < 1_000


def test_a_blank_is_a_recipe_of_its_own() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,adamw,", "1e6,1e8,1024,2e-3,3.5,,0.5", "1e6,1e8,1024,4e-3,3.5,adamw,0.6"]
    runs = read_table(table(*rows, header=HEADER + ",optimizer,accuracy"))

    assert runs.recipe_columns().recipes == {"optimizer": ("", "adamw")}
    with pytest.raises(BadInput, match=r"2 values of optimizer: \(blank: an empty value\), adamw"):
        runs.one_recipe({})
    assert len(runs.one_recipe({"optimizer": "adamw"})) == 2
    assert len(runs.one_recipe({"optimizer": ""})) == 1


def test_a_text_that_names_the_run_may_be_left_out() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,first", "1e6,1e8,1024,2e-3,3.5,", "1e6,1e8,1024,4e-3,3.5,third"]

    assert read_table(table(*rows, header=HEADER + ",run")).recipe_columns().recipes == {}


def test_where_compares_numbers_as_numbers_and_lists_what_there_is() -> None:
    runs = read_table(
        table("1e6,1e8,1024,1e-3,3.5,512", "2e6,1e8,1024,1e-3,3.5,768", header=HEADER + ",width")
    )

    assert len(runs.where({"width": "512.0"})) == 1
    assert len(runs.where({"params": "1000000"})) == 1
    done = read_table(table("1e6,1e8,1024,1e-3,3.5,true", header=HEADER + ",done"))
    assert len(done.where({"done": "True"})) == 1
    with pytest.raises(BadInput, match="takes: 512, 768"):
        runs.where({"width": "640"})
    with pytest.raises(BadInput, match="no column 'depth'; it has: params"):
        runs.where({"depth": "2"})


def test_observations_keep_the_order_and_the_unfinished() -> None:
    seen = read_table(table("1e6,1e8,1024,1e-3,3.5", "2e6,1e8,1024,2e-3,")).observations()

    assert seen.params.tolist() == [1e6, 2e6]
    assert seen.loss[0] == 3.5
    assert math.isnan(seen.loss[1])


def test_failures_of_the_machine_are_distinct_from_divergence() -> None:
    rows = ("1e6,1e8,1024,1e-3,3.5,completed", "1e6,1e8,1024,2e-3,,failed", "1e6,1e8,1024,4e-3,,diverged")

    seen = read_table(table(*rows, header=HEADER + ",state")).observations()

    assert seen.failed is not None
    assert seen.failed.tolist() == [False, True, False]


def of_states(*states: str, loss: str = "3.1") -> bytes:
    """A row of each state, at rates a factor 2 apart."""
    rows = [f"1e6,1e8,2048,{1e-3 * 2**k},{loss},{state}" for k, state in enumerate(states)]
    return table(*rows, header=HEADER + ",state")


def test_the_words_of_trackers_are_states() -> None:
    completed = read_table(of_states("", "Completed", "complete", "FINISHED", "success", "succeeded", "N/A"))
    failed = read_table(of_states("failed", "FAIL", "failure", "ERROR", "crashed", "killed", "preempted"))
    diverged = read_table(of_states("diverged", "Diverged"))

    assert np.isfinite(completed.loss).all()
    assert not completed.failed.any()
    assert failed.failed.all()
    assert np.isnan(failed.loss).all()
    assert np.isnan(diverged.loss).all()
    assert not diverged.failed.any()


def test_rows_of_runs_that_have_not_ended_are_left_out_with_a_notice() -> None:
    runs = read_table(
        of_states("running", "completed", "preempting", "WAITING", "pruned", "canceled", "SCHEDULED")
    )

    assert runs.learning_rate.tolist() == [2e-3]
    assert runs.texts["state"].tolist() == ["completed"]
    assert runs.left_out == {"running": 2, "pending": 2, "pruned": 1, "cancelled": 1}
    (notice,) = table_notices(runs.where({"params": "1M"}))
    assert len(read_table(of_states("completed") + b"\n,x,,,,running")) == 1
    assert "are left out: 2 running, 2 pending, 1 pruned, 1 cancelled." in notice.message
    assert (
        len(
            read_table(
                table(
                    "0,,x,,1e-3,completed", header="params,tokens,batch_tokens,loss,learning_rate,state"
                ).replace(b"0,,x,,1e-3,completed", b"0,,x,,,running\n1,1,1,1,1,")
            )
        )
        == 1
    )
    with pytest.raises(BadInput, match="No run of the table has ended: 2 running"):
        read_table(of_states("running", "running"))


def test_failed_rows_are_counted_with_those_left_out() -> None:
    (notice,) = table_notices(read_table(of_states("completed", "crashed", "running")))

    assert notice.message == "Rows of runs without a result are left out: 1 failed, 1 running."


def test_losses_like_perplexities_are_remarked() -> None:
    rows = [f"1e6,1e8,1024,{rate}e-3,{loss}" for rate, loss in ((1, 900), (2, 35.1), (4, 35.3), (8, 3.5))]

    (notice,) = table_notices(read_table(table(*rows)))
    assert notice.message.startswith("Half of the losses are 35.2 or more")
    assert not table_notices(read_table(table(rows[0], *rows[3:], rows[3].replace("8e-3", "9e-3"))))


def test_another_word_is_no_state_and_refused_with_its_row() -> None:
    with pytest.raises(
        BadInput, match="row 3, column state: 'stopped' is no state.*completed, .*scheduled, pruned"
    ) as refused:
        read_table(of_states("completed", "stopped", "nan"))

    assert [problem.path for problem in refused.value.fields] == [
        "row 3, column state",
        "row 4, column state",
    ]


@pytest.mark.parametrize(
    "loss",
    ["", "N/A", "#N/A", "<NA>", "na", "Null", "none", "NaN", "inf", "1e300", "1.7976931348623157e+308"],
)
def test_a_missing_or_infinite_loss_is_a_divergence(loss: str) -> None:
    runs = read_table(of_states("completed", "", loss=loss))

    assert np.isnan(runs.loss).all()
    assert not runs.failed.any()


def test_words_for_a_missing_value_are_no_recipe_and_no_setting() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,N/A", "1e6,1e8,1024,2e-3,3.5,0.1", "1e6,1e8,1024,4e-3,3.5,0.2"]

    assert read_table(table(*rows, header=HEADER + ",weight_decay")).recipe_columns().recipes == {}


def test_seeds_keep_equal_losses_of_repeated_runs_apart() -> None:
    rows = [f"1e6,1e8,1024,1e-3,3.5,{seed}" for seed in (0, 1, "")]
    runs = read_table(table(*rows, header=HEADER + ",seed")).observations()

    assert runs.counting().size == 2


def test_messages_name_the_row_of_the_file_in_a_part_of_a_table() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,a,2M", "1e6,1e8,1024,1e-3,3.5,b,2M", "1e6,1e8,1024,1e-3,3.5,b,"]
    runs = read_table(table(*rows, header=HEADER + ",recipe,params_total"))

    assert runs.where({"recipe": "a"}).sized("params_total").params.tolist() == [2e6]
    with pytest.raises(BadInput, match="row 4, column params_total: must be a positive number, not ''"):
        runs.where({"recipe": "b"}).sized("params_total")


def test_tokens_counted_in_each_run_make_no_cells_of_their_own() -> None:
    rows = [f"1e6,{tokens},2048,{rate},3.1" for tokens, rate in ((100000256, 1e-3), (100000768, 2e-3))]
    assert read_table(table(*rows)).cells == 1


def test_the_recorded_optimizers_are_named_and_one_is_asked_for(recorded_runs) -> None:
    runs = read_table((recorded_runs / "optimizer_sweep.csv").read_bytes())

    assert len(runs) == 435
    assert len(runs.recipe_columns().recipes["optimizer"]) == 12
    assert np.isnan(runs.loss).any()
    with pytest.raises(BadInput, match="mixes 12 values of optimizer: adamw, "):
        runs.one_recipe({})


TRUNKS = HEADER + ",seed,state,trunk"


def test_rows_of_one_trunk_share_a_label_whatever_their_order() -> None:
    rows = [
        "1e6,1e8,1024,1e-3,3.5,0,,a",
        "1e6,2e8,1024,1e-3,3.4,0,,a",
        "1e6,2e8,1024,2e-3,3.4,0,,b",
        "1e6,1e8,1024,2e-3,3.5,0,,",
        "1e6,4e8,1024,2e-3,3.3,0,,N/A",
    ]
    one = read_table(table(*rows, header=TRUNKS)).one_recipe({})
    assert one.recipe_columns().recipes == {}
    assert one.observations().trunks.tolist() == [0, 0, 1, -1, -1]
    other = read_table(table(*rows[::-1], header=TRUNKS)).one_recipe({})
    assert other.observations().trunks.tolist() == [-1, -1, 1, 0, 0]


def test_a_column_trunk_that_is_empty_or_ignored_says_nothing() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,0,,main", "2e6,1e8,1024,1e-3,3.4,0,,main"]
    ignored = read_table(table(*rows, header=TRUNKS)).one_recipe({}, ["trunk"])
    assert ignored.observations().trunk is None
    empty = read_table(table(*(row.replace("main", "") for row in rows), header=TRUNKS)).one_recipe({})
    assert empty.observations().counting().trunk is None


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ("2e6,2e8,1024,1e-3,3.4,0,,a", "'a' has params 2000000 here and 1000000 in row 2"),
        ("1e6,2e8,2048,1e-3,3.4,0,,a", "'a' has batch_tokens 2048 here and 1024 in row 2"),
        ("1e6,2e8,1024,2e-3,3.4,0,,a", "'a' has learning_rate 0.002 here and 0.001 in row 2"),
        ("1e6,2e8,1024,1e-3,3.4,1,,a", "'a' has seed 1 here and 0 in row 2"),
        ("1e6,1e8,1024,1e-3,3.4,0,,a", "'a' has tokens 100000000 here and in row 2, with another loss"),
        ("1e6,1e8,1024,1e-3,,0,diverged,a", "'a' has tokens 100000000 here and in row 2, with another loss"),
    ],
)
def test_a_trunk_that_contradicts_itself_is_refused_with_its_rows(second: str, says: str) -> None:
    whole = read_table(table("1e6,1e8,1024,1e-3,3.5,0,,a", second, header=TRUNKS))
    with pytest.raises(BadInput, match="The column trunk contradicts itself") as refused:
        whole.one_recipe({}, option="--where")
    assert says in refused.value.detail
    assert "ignore it with --ignore trunk" in refused.value.detail
    assert [problem.path for problem in refused.value.fields] == ["row 3, column trunk"]


@pytest.mark.parametrize(
    "second",
    [
        "1e6,1e8,1024,1e-3,3.5,0,,a",
        "1e6,1e8,1024,1e-3,3.4,0,failed,a",
        "1e6,100000100,1024,1.0000001e-3,3.4,0,,",
        "1e6,2e8,1024,1.0000001e-3,3.4,0,,a",
    ],
    ids=["a copy", "a failed run", "a run of its own", "a rate as it is rounded"],
)
def test_a_trunk_may_hold(second: str) -> None:
    whole = read_table(table("1e6,1e8,1024,1e-3,3.5,0,,a", second, header=TRUNKS))
    assert len(whole.one_recipe({})) == 2


def test_trunks_of_one_name_in_two_recipes_are_two() -> None:
    rows = ["1e6,1e8,1024,1e-3,3.5,0,,a,adamw", "2e6,1e8,1024,1e-3,3.4,0,,a,muon"]
    whole = read_table(table(*rows, header=TRUNKS + ",optimizer"))
    assert len(whole.one_recipe({"optimizer": "muon"})) == 1
