"""``etalon compare`` from a file, without a server: tables, JSON, pictures, refusals and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.strategies.compared_strategies import STRATEGIES
from tests.etalon.cli.running import answer_of, etalon, refusal_of
from tests.orchestrator.strategies.tables import HORIZONS, rows, text

FAST = ("--strategy", "law", "--strategy", "four", "--replicates", "2", "--share", "5", "--share", "20")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small run table, in the folder that the command is run in."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs.csv"
    path.write_text(text(rows()))
    return path


def test_it_shows_the_targets_and_a_row_per_strategy_and_writes_nothing(runs: Path) -> None:
    code, shown = etalon("compare", runs, *FAST)

    assert code == 0, shown
    words = " ".join(shown.replace("\u00a0", " ").split())
    assert "Targets, never run: 3 cells: 8 M parameters" in words
    assert "2 replays of each strategy, 1 of them without a tenth" in words
    for row in ("law", "four", "no run", "all runs"):
        assert any(line.startswith(row) for line in shown.splitlines()), row
    assert "±" in shown
    assert "Picture" not in words
    assert list(runs.parent.iterdir()) == [runs]


def test_help_names_every_strategy() -> None:
    code, shown = etalon("compare", "--help")

    assert code == 0
    assert all(name in shown for name in STRATEGIES)


def test_json_holds_fractions_per_strategy_and_share(runs: Path) -> None:
    answer = answer_of("compare", runs, *FAST)

    assert [target["params"] for target in answer["targets"]] == [8e6] * 3
    assert answer["full_grid"]["cells"] == 9
    assert answer["replicates"] == 2
    assert [found["strategy"] for found in answer["strategies"]] == ["law", "four"]
    scores = answer["strategies"][0]["scores"]
    assert [score["share"] for score in scores] == [0.05, 0.2]
    assert scores[1]["excess_loss"] < answer["excess_loss_without_runs"]
    assert scores[1]["standard_error"] is not None
    assert 0 < scores[1]["spent_share"] <= 0.2
    assert answer["picture"] is None


def test_a_page_with_the_picture_is_written_where_it_is_asked_for(runs: Path, tmp_path: Path) -> None:
    code, shown = etalon("compare", runs, *FAST, "--json", "--page", tmp_path / "mine.html")

    assert code == 0, shown
    assert json.loads(shown)["picture"] == str(tmp_path / "mine.html")
    assert "Plotly.newPlot" in (tmp_path / "mine.html").read_text(encoding="utf-8")


def test_every_strategy_is_compared_by_default_and_one_replicate_has_no_error(runs: Path) -> None:
    answer = answer_of("compare", runs, "--replicates", "1")

    names = [found["strategy"] for found in answer["strategies"]]
    assert names == ["law", "four", "grid", "random", "tpe", "gp"]
    assert all(score["standard_error"] is None for found in answer["strategies"] for score in found["scores"])


def test_a_batch_is_written_as_people_write_it(runs: Path) -> None:
    runs.write_text(text([*rows(batch_tokens=65_000), *rows(horizons=HORIZONS[:2], batch_tokens=131_072)]))

    answer = answer_of("compare", runs, *FAST, "--batch-tokens", "65k")

    assert {target["batch_tokens"] for target in answer["targets"]} == {65_000}


def test_a_setting_that_the_table_pools_is_named_with_the_option(runs: Path) -> None:
    header, *lines = text(rows()).split()
    pooled = [f"{header},weight_decay", *(f"{line},{decay}" for line in lines for decay in ("0", "0.1"))]
    runs.write_text("\n".join(pooled))

    warnings = answer_of("compare", runs, *FAST)["warnings"]

    assert any("weight_decay takes 2 values" in w and "pick one with --where" in w for w in warnings)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strategy", "best"], "no strategy 'best'"),
        (["--share", "0"], "--share 0"),
        (["--share", "101"], "at most 100"),
        (["--replicates", "0"], "replicates"),
        (["--batch-tokens", "many"], "--batch-tokens:"),
        (["--batch-tokens", "7"], "The column takes: 65536"),
        (["--where", "optimizer=adamw"], "no column 'optimizer'"),
        (["--where", "optimizer"], "write it as name=value"),
        (["--page", "no/such/folder.html"], "there is no folder no/such"),
        (["--page", "."], "is a folder"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_replayed(
    runs: Path, arguments: list[str], says: str
) -> None:
    assert says in refusal_of("compare", runs, *arguments)
    assert list(runs.parent.iterdir()) == [runs]


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    assert "cannot be read" in refusal_of("compare", tmp_path / "none.csv")


def test_a_table_of_several_recipes_asks_for_one(runs: Path) -> None:
    first, *more = text(rows()).splitlines()
    named = [f"{line},{'adamw' if place % 2 else 'muon'}" for place, line in enumerate(more)]
    runs.write_text("\n".join([f"{first},optimizer", *named]))

    assert "2 values of optimizer: adamw, muon" in refusal_of("compare", runs, *FAST)


@pytest.mark.parametrize(
    ("lines", "says"),
    [(rows((1e6,), (1e8,)), "has one cell"), (rows(rates=[0.1, 0.2, 0.4]), "interior minimum")],
)
def test_a_table_that_cannot_support_it_is_refused(runs: Path, lines: list[str], says: str) -> None:
    runs.write_text(text(lines))

    code, shown = etalon("compare", runs, *FAST, "--json")

    assert code == 3
    assert says in json.loads(shown)["detail"]


def test_a_setting_that_the_table_pools_is_named(runs: Path) -> None:
    header, *lines = runs.read_text().split()
    pooled = [f"{header},weight_decay", *(f"{line},{decay}" for line in lines for decay in ("0", "0.1"))]
    runs.write_text("\n".join(pooled))

    answer = answer_of("compare", runs, "--strategy", "four", "--replicates", "1", "--share", "20")

    assert [warning.split(" within")[0] for warning in answer["warnings"]] == [
        "weight_decay takes 2 values (0, 0.1)"
    ]
