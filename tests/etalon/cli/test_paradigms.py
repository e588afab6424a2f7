"""Both paradigms in a terminal: the table, the sentence, and how far a comparison is before there are numbers."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console

from etalon.cli.display import plan_view
from etalon.cli.paradigms import comparison_view
from orchestrator.amounts import SPACE
from orchestrator.heldout.stages import comparison_document
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.store import Store
from orchestrator.submission.preview import preview
from tests.orchestrator.conftest import FIELDS
from tests.orchestrator.heldout.carried import COMPARISON, SEARCH, compared_sweep


def printed(renderable: Any, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get().replace(SPACE, " ")


def test_the_table_has_a_line_for_every_contender_and_fits_eighty_columns(store: Store) -> None:
    document = comparison_document(store, compared_sweep(store, module_rates={"runs": 8}))
    text = printed(comparison_view(document))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "2 seeds" in text
    for item in document.contenders:
        assert sum(re.match(rf"{re.escape(item.name)} +\d", line) is not None for line in lines) == 1
    assert "Trust Fitting here" in text
    assert "rates by module, the best of 8 trials" in text
    assert "not compared: Joint MoE, it is a law of mixtures of experts" in text


def test_who_diverged_has_a_word_for_a_number(store: Store) -> None:
    document = comparison_document(store, compared_sweep(store))
    fitting, transfer, *others = document.contenders
    lost = transfer.model_copy(update={"diverged": True, "excess_loss": None, "difference": None})
    changed = document.model_copy(update={"contenders": [fitting, lost, *others]})
    (line,) = (
        line for line in printed(comparison_view(changed)).splitlines() if line.startswith("Transfer ")
    )
    assert line.split()[2:] == ["diverged", "–", "–", "–"]


def test_a_sentence_from_a_comparison_that_was_cut_short_says_so(store: Store) -> None:
    document = comparison_document(store, compared_sweep(store))
    cut = document.model_copy(update={"state": "cut short", "reason": "the budget of 600 seconds is spent"})
    lines = printed(comparison_view(cut)).splitlines()
    assert "cut short: the budget of 600 seconds is spent" in lines
    assert any("Trust Fitting here" in line for line in lines)


def test_before_there_are_numbers_it_says_how_far_it_is(store: Store) -> None:
    document = comparison_document(store, compared_sweep(store))
    waiting = document.model_copy(
        update={"verdict": None, "state": "not run", "reason": "the budget does not suffice for it"}
    )
    assert printed(comparison_view(waiting)).splitlines()[-1] == "not run: the budget does not suffice for it"


def test_a_plan_says_what_the_comparison_adds(store: Store) -> None:
    plan = preview(parse_spec({**FIELDS, "search": SEARCH, "comparison": COMPARISON}), store, Settings())
    text = "\n".join(printed(part) for part in plan_view(plan.model_dump()))
    assert "up to 26 runs, 1.2e13 FLOPs beside it, 2 seeds of each contender" in text
    assert "at 393 k parameters, 201 k tokens, batch of 2.05 k tokens" in text
