"""Registered trainers in a real Chromium: the sweep that is written for one, and a run's output while it grows."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from orchestrator.store import Store
from tests.api.dashboard.conftest import OpenTab, Seeded
from tests.api.dashboard.registered import ProgramRun
from tests.api.dashboard.test_browser import WIDTHS, overflow, unlabelled
from tests.api.dashboard.test_trainer_pages import filled_in

pytestmark = pytest.mark.browser


@pytest.fixture
def own(seeded: Seeded):
    """A running run of a program in the store that the server reads."""
    with Store.open(seeded.url) as store:
        yield ProgramRun(store)


@pytest.mark.parametrize("width", WIDTHS)
def test_choosing_a_trainer_writes_its_sweep_and_keeps_what_was_edited(open_tab: OpenTab, width: int):
    page = open_tab(width=width).page
    page.goto("/submit")
    yaml, trainer = page.get_by_role("textbox", name="Specification in YAML"), page.get_by_label("Trainer")
    yaml.fill("name: edited")
    trainer.select_option("nanogpt")
    expect(page.get_by_role("heading", name="nanogpt")).to_contain_text("unchecked")
    assert "trainer: {kind: command, name: nanogpt}" in yaml.input_value()
    yaml.fill(filled_in(yaml.input_value()))
    page.get_by_role("button", name="Check and price").click()
    expect(page.locator("#plan")).to_contain_text("nanogpt was never checked")
    assert overflow(page) == 0
    assert unlabelled(page) == []
    trainer.select_option(label="Etalon’s proxies")
    expect(yaml).to_have_value("name: edited")
    expect(page.get_by_role("heading", name="nanogpt")).to_have_count(0)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_output_of_a_run_grows_and_follows_its_end_until_it_is_scrolled(
    open_tab: OpenTab, own: ProgramRun, width: int
):
    own.print(lines(300))
    page = open_tab(width=width).page
    page.goto(f"/runs/{own.run.id}")
    log = page.get_by_role("log", name="Output")
    log.scroll_into_view_if_needed()
    assert distance_to_end(log) < 2
    own.print(lines(310))
    expect(log).to_contain_text("iter 309:")
    assert distance_to_end(log) < 2
    assert overflow(page) == 0
    assert unlabelled(page) == []
    log.evaluate("element => { element.scrollTop = 100; }")
    own.print(lines(320))
    expect(log).to_contain_text("iter 319:")
    assert log.evaluate("element => element.scrollTop") == 100
    page.get_by_label("Last lines").select_option("1,000")
    expect(log).to_contain_text("iter 0:")
    own.print(lines(330))
    own.end()
    expect(page.locator("#head .badge")).to_have_text("completed")
    expect(log).to_contain_text("iter 329:")
    expect(log).to_contain_text("iter 0:")


def lines(number: int) -> str:
    return "".join(f"iter {step}: loss 3.1234\n" for step in range(number))


def distance_to_end(log: Locator) -> float:
    """Pixels below what is shown."""
    found: float = log.evaluate("element => element.scrollHeight - element.scrollTop - element.clientHeight")
    return found
