"""``etalon fit`` from a file, without a server: answers, refusals and exit codes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.etalon.cli.running import answer_of, etalon, plain, refusal_of
from tests.known_law import HEADER, RECORDED, grid, run_table


def synthetic(folder: Path, *, sizes: tuple[float, ...], horizons: tuple[float, ...]) -> Path:
    path = folder / "runs.csv"
    rates = [8e-3 * 2**octave for octave in range(-3, 4)]
    path.write_text(run_table(RECORDED.runs(grid(sizes, horizons, (65_536,)), rates)))
    return path


def test_it_recovers_a_known_law_and_predicts_beyond_the_table(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6, 8e6), horizons=(1e8, 2e8, 4e8))

    answer = answer_of("fit", table, "--target", "params=16e6,tokens=8e8")

    predicted = answer["predictions"][0]
    truth = 1e-2 * 16**-0.3 * 8**-0.3
    assert predicted["interval"]["low"] < truth < predicted["interval"]["high"]
    assert predicted["learning_rate"] == pytest.approx(truth, rel=0.05)
    assert len(answer["bowls"]) == 12
    assert predicted["target"]["batch_tokens"] == 65536
    assert {"law", "bowls", "predictions", "warnings", "notices"} == set(answer)


def test_amounts_are_written_as_people_write_them(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))

    answer = answer_of("fit", table, "--target", "params=8M,tokens=0.2B,batch_tokens=65_536")

    (predicted,) = answer["predictions"]
    assert predicted["target"] == {"params": 8e6, "tokens": 2e8, "batch_tokens": 65536}


def test_the_same_condition_twice_is_one_condition(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6), horizons=(1e8, 2e8))
    with_recipe = [
        line + ("," + "recipe" if line.startswith("params") else ",muon")
        for line in table.read_text().split()
    ]
    table.write_text("\n".join(with_recipe))

    code, _ = etalon("fit", table, "--where", "recipe=muon", "--where", "recipe=muon")

    assert code == 0


def test_a_blank_is_picked_by_an_empty_value(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))
    header, *runs = table.read_text().split()
    table.write_text("\n".join([f"{header},arm", *(f"{run}," for run in runs), f"{runs[0]},transfer"]))

    assert "(blank: an empty value), transfer" in refusal_of("fit", table)
    assert len(answer_of("fit", table, "--where", "arm=")["bowls"]) == 6


def test_a_setting_that_the_table_pools_is_named(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))
    header, *runs = table.read_text().split()
    pooled = [f"{header},weight_decay", *(f"{run},{decay}" for run in runs for decay in ("0", "0.1"))]
    table.write_text("\n".join(pooled))

    said = "weight_decay takes 2 values (0, 0.1) within one size, horizon and batch: pick one with --where "
    said += "weight_decay=… if it is part of the recipe, else ignore it with --ignore weight_decay."

    assert any(said in warning for warning in answer_of("fit", table)["warnings"])
    assert not any(said in w for w in answer_of("fit", table, "--where", "weight_decay=0.1")["warnings"])
    assert not any(said in w for w in answer_of("fit", table, "--ignore", "weight_decay")["warnings"])


def test_a_size_that_the_table_lacks_is_refused_with_its_option(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6), horizons=(1e8,))

    assert "--size: N cannot be 'nonsense'" in refusal_of("fit", table, "--size", "nonsense")


MIXED = (
    "--target",
    "params=8e6,tokens=2e8",
    "--target",
    "params=1e13,tokens=2e8",
    "--target",
    "params=2M,tokens=200M",
)


def test_a_refused_target_stands_in_its_place_and_hides_no_other(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))

    code, text = etalon("fit", table, *MIXED, "--json")

    assert code == 3
    first, refused, last = json.loads(text)["predictions"]
    assert (first["target"]["params"], last["target"]["params"]) == (8e6, 2e6)
    assert first["learning_rate"] > 0
    assert last["learning_rate"] > 0
    assert refused["target"]["params"] == 1e13
    assert "×/÷ 3" in refused["detail"]
    assert refused["type"] == "urn:etalon:problem:unsupported"
    assert "learning_rate" not in refused


def test_in_a_terminal_a_refused_target_has_a_card_among_the_others(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))

    code, text = etalon("fit", table, *MIXED)

    assert code == 3
    places = [plain(text).index(words) for words in ("at 8 M", "at 10 T", "No prediction:", "at 2 M")]
    assert places == sorted(places)


def test_if_all_targets_are_refused_one_problem_names_them_all(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))
    far = ("--target", "params=1e13,tokens=2e8", "--target", "params=2e13,tokens=2e8")

    code, text = etalon("fit", table, *far, "--json")

    assert code == 3
    problem = json.loads(text)
    assert [field["path"] for field in problem["errors"]] == ["target.0", "target.1"]
    assert "10 T parameters" in problem["detail"].replace("\u00a0", " ")
    assert "20 T parameters" in problem["detail"].replace("\u00a0", " ")


def test_the_card_shows_the_law_the_cost_of_a_wrong_rate_and_how_to_confirm(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6, 8e6), horizons=(1e8, 2e8, 4e8))
    target = ("--target", "params=16e6,tokens=8e8")

    offer = answer_of("fit", table, *target)["predictions"][0]["confirmation"]
    code, text = etalon("fit", table, *target)

    assert code == 0
    assert offer["flops_per_run"] == 6 * 16e6 * 8e8
    shown = plain(text)
    for pattern in (
        r"η\* [=≈] \S+ · \(N / 2\.828 M\)\^−0\.\d+ · \(D / 200 M\)\^−0\.\d+ · \(B / 65\.54 k\)",
        r"ln η\* ≈ −",
        r"N₀ = 2\.828 M parameters, D₀ = 200 M tokens, B₀ = 65\.54 k tokens a batch",
        r"expected excess loss at this rate \S+ %; ×½ costs \S+ %, ×2 costs \S+ %",
        r"published law rate applies when source",
        r"compute-optimal runs",
        r"confirm with \d\.\d runs expected at the target(?: \(\d\.\d until sure\))?: \S+ first, 7\.7e16 FLOPs each",
    ):
        assert re.search(pattern, shown), pattern


def test_the_card_and_the_refusal_name_the_size_to_add(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6), horizons=(1e8, 2e8, 4e8))
    near, far = ("--target", "params=6e6,tokens=4e8"), ("--target", "params=3e7,tokens=4e8")

    (offer,) = (answer["further_size"] for answer in answer_of("fit", table, *near)["predictions"])
    code, refused = etalon("fit", table, *far)

    assert offer["interval_factor_after"] < offer["interval_factor_before"]
    assert plain(offer["reason"]) in plain(etalon("fit", table, *near)[1])
    assert code == 3
    sentence = r"A third size near \S+ M parameters would narrow the interval from ×/÷ \S+ to ×/÷ [12]\S* for \S+ FLOPs"
    assert re.search(sentence, plain(refused))


def test_a_warning_of_the_law_is_printed_once(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6,), horizons=(1e8, 2e8))

    code, text = etalon(
        "fit", table, "--target", "params=2e6,tokens=2e8", "--target", "params=1e6,tokens=2e8"
    )

    assert code == 0
    assert plain(text).count("so the exponent of params comes from a prior") == 1
    assert "0 have" not in plain(text)


def test_far_from_the_runs_the_card_names_what_to_run_instead_and_no_valley(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6,), horizons=(1e8, 2e8, 4e8))
    asked = ("fit", table, "--target", "params=2.4e6,tokens=4e8", "--budget-flops", "4e15")

    (answer,) = answer_of(*asked)["predictions"]
    shown = plain(etalon(*asked)[1])

    instead, valley = answer["confirmation"]["affordable"], answer["valley"]
    assert instead["flops"] <= 4e15
    assert instead["interval_factor_after"] < instead["interval_factor_before"]
    assert re.search(r"or \d runs at .* parameters, .*: \S+ FLOPs, interval ×/÷ \S+ to \S+ expected", shown)
    assert valley["low"] == valley["high"]
    assert "no rate loses at most 0.1" in valley["reason"]
    assert "none. The optimum is too uncertain" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "params=1e8"], "lacks tokens"),
        (["--target", "params=1e8,tokens=x"], "--target, tokens: 'x' is not a positive number"),
        (["--target", "params=-1,tokens=1"], "positive number"),
        (["--target", "params=0.5,tokens=1"], "from 1 to 1e18"),
        (["--target", "params=1B,tokens=20B,params=2B"], "gives params two values, '1B' and '2B'"),
        (["--where", "batch_tokens=65536", "--where", "batch_tokens=1024"], "gives batch_tokens two values"),
        (["--target", "size=1,tokens=1"], "no field 'size'"),
        (["--target", "params"], "write it as name=value"),
        (["--where", "optimizer=adamw"], "no column 'optimizer'"),
        (
            ["--where", "learning-rate=1e-3"],
            "no column 'learning-rate' (did you mean learning_rate?); it has",
        ),
        (
            ["--where", "batch_tokens=65536,tokens=1e8"],
            "--where takes one condition; repeat it: --where batch_tokens=65536 --where tokens=1e8.",
        ),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: list[str], says: str) -> None:
    table = synthetic(tmp_path, sizes=(1e6,), horizons=(1e8,))

    assert says in refusal_of("fit", table, *arguments)


def test_a_missing_file_and_an_empty_table_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(HEADER + "\n")

    assert etalon("fit", tmp_path / "none.csv")[0] == 2
    code, text = etalon("fit", empty, "--json")
    assert code == 2
    assert "no rows" in json.loads(text)["detail"]
    assert json.loads(text)["type"] == "urn:etalon:problem:bad-input"


def test_a_target_without_a_batch_is_asked_at_the_best_one_and_told_what_others_cost(tmp_path: Path) -> None:
    known = replace(RECORDED, bottom=lambda at: 3.0 * np.exp(0.01 * np.log(at.batch_tokens / 131_072) ** 2))
    batches = [131_072 * 2.0**octave for octave in (-1, 0, 1, 2)]
    rates = [8e-3 * 2**octave for octave in range(-3, 4)]
    table = tmp_path / "runs.csv"
    table.write_text(run_table(known.runs(grid((1e6, 2e6), (1e8, 2e8), batches), rates)))

    answer = answer_of("fit", table, "--target", "params=4M,tokens=200M")
    _, shown = etalon("fit", table, "--target", "params=4M,tokens=200M")

    (predicted,) = answer["predictions"]
    assert (
        predicted["target"]["batch_tokens"] == predicted["batch"]["best"] == pytest.approx(131_072, rel=0.3)
    )
    assert {"best", "interval", "learning_rate", "reason", "choices", "largest_within"} == set(
        predicted["batch"]
    )
    assert predicted["expected_loss_interval"]["level"] == 0.95
    assert "best batch 1" in plain(shown)
    assert "its learning rate" in shown


def test_why_the_best_batch_is_unknown_is_shown(tmp_path: Path) -> None:
    table = synthetic(tmp_path, sizes=(1e6, 2e6, 4e6), horizons=(1e8, 2e8))

    _, shown = etalon("fit", table, "--target", "params=8M,tokens=200M")

    assert "best batch unknown: All runs have one batch of 65.5 k tokens" in plain(shown)
