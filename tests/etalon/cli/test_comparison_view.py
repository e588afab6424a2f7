"""A comparison at a held-out scale in a terminal: the table, the verdict, and the stage before there are numbers."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from etalon.cli.display import comparison_view, plan_view
from orchestrator.amounts import SPACE
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.states import ComparisonStage
from orchestrator.store import Store
from orchestrator.submission.preview import preview
from tests.orchestrator.conftest import FIELDS
from tests.orchestrator.heldout.carried import COMPARISON, SEARCH


def printed(renderable: Any, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get().replace(SPACE, " ")


def test_the_table_has_a_line_for_every_contender_and_fits_eighty_columns(
    comparison: ComparisonDocument,
) -> None:
    text = printed(comparison_view(comparison))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "2 seeds" in text
    for item in comparison.contenders:
        assert sum(re.match(rf"{re.escape(item.name)} +\d", line) is not None for line in lines) == 1
    assert "Trust Fitting here" in text
    assert "rates by module, the best of 8 trials" in text
    assert "not compared: Joint MoE, it is a law of mixtures of experts" in text


def test_a_diverged_contender_has_a_word_for_a_number(comparison: ComparisonDocument) -> None:
    first, second, *others = comparison.contenders
    lost = second.model_copy(update={"diverged": True, "excess_loss": None, "difference": None})
    document = comparison.model_copy(update={"contenders": [first, lost, *others]})
    (line,) = (
        line for line in printed(comparison_view(document)).splitlines() if line.startswith("Transfer ")
    )
    assert line.split()[2:] == ["diverged", "–", "–", "–"]


def test_a_verdict_of_a_comparison_that_was_cut_short_is_marked(comparison: ComparisonDocument) -> None:
    reason = "the budget of 600 seconds is spent"
    cut = comparison.model_copy(update={"state": ComparisonStage.CUT_SHORT, "reason": reason})
    lines = printed(comparison_view(cut)).splitlines()
    assert f"cut short: {reason}" in lines
    assert any("Trust Fitting here" in line for line in lines)


def test_before_there_are_numbers_the_stage_is_shown(comparison: ComparisonDocument) -> None:
    waiting = comparison.model_copy(
        update={
            "verdict": None,
            "state": ComparisonStage.NOT_RUN,
            "reason": "the budget does not reach for it",
        }
    )
    assert printed(comparison_view(waiting)).splitlines()[-1] == "not run: the budget does not reach for it"


def test_a_plan_shows_what_the_comparison_adds(store: Store) -> None:
    plan = preview(parse_spec({**FIELDS, "search": SEARCH, "comparison": COMPARISON}), store, Settings())
    text = "\n".join(printed(part) for part in plan_view(plan))
    assert "up to 26 runs, 1.2e13 FLOPs beside it, 2 seeds of each contender" in text
    assert "at 393 k parameters, 201 k tokens, batch of 2.05 k tokens" in text
