"""The dashboard in a real Chromium: it draws, fits the screen, lives, obeys its buttons and runs nothing foreign."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from orchestrator.documents.events import ProgressEvent
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import RunResult
from tests.api.dashboard.conftest import OpenTab, Seeded
from tests.api.dashboard.seeding import Service, lens_points, with_batches, with_many_cells
from tests.orchestrator.heldout.carried import compared_sweep

pytestmark = pytest.mark.browser

WIDTHS = (1440, 390)


@pytest.fixture
def store(seeded: Seeded) -> Iterator[Store]:
    """The store that the server reads."""
    with Store.open(seeded.url) as opened:
        yield opened


@pytest.fixture
def own(store: Store) -> tuple[Service, str]:
    """A running sweep of the test's own, with open runs."""
    service = Service(store)
    sweep_id = service.run(service.submit(name="a test's own").id, batches=1, leave_open=4).id
    return service, sweep_id


def overflow(page: Page) -> int:
    """Pixels that the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def draw_all(page: Page) -> None:
    """Scroll to every figure and wait until it is drawn."""
    for figure in page.locator("[data-figure]").all():
        figure.scroll_into_view_if_needed()
        expect(figure).to_have_attribute("data-drawn", re.compile(r"\d+"))


def unlabelled(page: Page) -> list[str]:
    """Fields without a label, pictures without a text and buttons without a name."""
    return page.evaluate(
        """[...document.querySelectorAll("main input:not([type=hidden]), main select, main textarea")]
             .filter(e => !e.labels.length).map(e => e.outerHTML)
           .concat([...document.querySelectorAll("img:not([alt])")].map(e => e.outerHTML))
           .concat([...document.querySelectorAll("button")].filter(e => !e.textContent.trim() && !e.closest("dialog")
             && !e.closest(".js-plotly-plot")).map(e => e.outerHTML))"""
    )


@pytest.mark.parametrize(
    ("kind", "width"),
    [("completed", 1440), ("completed", 390), ("running", 390), ("refused", 1440), ("queued", 390)],
)
def test_a_sweep_draws_every_figure_and_fits_the_screen(open_tab: OpenTab, seeded: Seeded, kind, width):
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{seeded.ids[kind]}")
    draw_all(page)
    assert page.locator("[data-figure]").count() == 7
    assert overflow(page) == 0
    assert unlabelled(page) == []
    expect(page.get_by_role("heading", level=1)).to_have_count(1)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_batch_is_drawn_with_its_marks_and_fits_the_screen(open_tab: OpenTab, store: Store, width):
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{with_batches(Service(store), name=f'batches {width}')}")
    draw_all(page)
    assert overflow(page) == 0
    marks = page.locator("#batch .scatterlayer .points path")
    frame = page.locator("#batch").bounding_box()
    boxes = [mark.bounding_box() for mark in marks.all()]
    assert len(boxes) == 4 + 2 + 1 + 4 + 1  # tried, largest within, best; tried, target
    assert all(
        frame["x"] < box["x"] and box["x"] + box["width"] < frame["x"] + frame["width"] for box in boxes
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_of_mixtures_fits_the_screen(open_tab: OpenTab, store: Store, width):
    mixture = {"kind": "proxy", "architecture": {"kind": "moe", "experts": 8, "top_k": 2}}
    compared = compared_sweep(store, name=f"mixtures {width}", trainer=mixture, module_rates={"runs": 2})
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{compared.id}")
    draw_all(page)
    assert overflow(page) == 0
    for name in ("sizes", "comparison-body"):
        table = page.locator(f"#{name}")
        assert table.evaluate("element => element.scrollWidth <= element.parentElement.clientWidth"), name


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bowls_of_every_cell_can_be_chosen(open_tab: OpenTab, store: Store, width):
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{with_many_cells(Service(store))}")
    bowls, choice = page.locator("#bowls [data-figure]"), page.get_by_label("Cells")
    bowls.scroll_into_view_if_needed()
    expect(bowls).to_have_attribute("data-drawn", "1")
    assert panels(page) == 24
    choice.select_option(index=3)
    expect(bowls).to_have_attribute("data-drawn", "2")
    assert panels(page) == 4
    chosen = choice.input_value()
    assert overflow(page) == 0
    page.reload()
    bowls.scroll_into_view_if_needed()
    expect(bowls).to_have_attribute("data-drawn", "1")
    assert panels(page) == 4
    expect(choice).to_have_value(chosen)
    choice.select_option(index=0)
    expect(bowls).to_have_attribute("data-drawn", "2")
    assert panels(page) == 24


@pytest.mark.parametrize("width", WIDTHS)
def test_bowls_and_law_switch_to_the_losses_before_the_decay_together(
    open_tab: OpenTab, seeded: Seeded, width
):
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{seeded.ids['completed']}")
    bowls, law = (page.locator(f"#{name} [data-figure]") for name in ("bowls", "law"))
    for figure in (bowls, law):
        figure.scroll_into_view_if_needed()
        expect(figure).to_have_attribute("data-drawn", "1")
    law_choice, bowls_choice = (page.locator(f"#{name}").get_by_label("Losses") for name in ("law", "bowls"))
    law_choice.select_option(label="before the decay")
    for figure in (bowls, law):
        expect(figure).to_have_attribute("data-drawn", "2")
        expect(figure).to_have_attribute("data-figure", re.compile("phase=stable"))
    expect(bowls_choice).to_have_value("stable")
    expect(law).to_contain_text("Before the decay η* is 0.")
    assert overflow(page) == 0
    assert unlabelled(page) == []
    page.reload()
    law.scroll_into_view_if_needed()
    expect(law).to_contain_text("Before the decay η* is 0.")
    expect(bowls_choice).to_have_value("stable")
    bowls_choice.select_option(label="after the decay")
    expect(law).not_to_contain_text("Before the decay")
    expect(law_choice).to_have_value("")


def panels(page: Page) -> int:
    """The number of bowls drawn."""
    return page.locator("#bowls .cartesianlayer .subplot").count()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_named_section_stays_in_its_place_while_figures_arrive(open_tab: OpenTab, seeded: Seeded, width):
    page = open_tab(width=width).page
    page.goto(f"/sweeps/{seeded.ids['completed']}#runs")
    expect(page.locator("#savings [data-figure]")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    wait_until_at_top(page, "runs")
    page.get_by_role("navigation", name="On this page").get_by_role("link", name="Residuals").click()
    expect(page.locator("#residuals [data-figure]")).to_have_attribute("data-drawn", re.compile(r"\d+"))
    wait_until_at_top(page, "residuals")
    for figure in page.locator(
        "[data-figure]"
    ).all():  # without scrolling: as they would arrive on a slow line
        figure.evaluate("element => { element.style.minHeight = `${element.clientHeight + 300}px` }")
    wait_until_at_top(page, "residuals")
    page.keyboard.press("Home")
    expect(page.locator("#head")).to_be_in_viewport()
    page.locator("#bowls [data-figure]").evaluate("element => { element.style.minHeight = '3000px' }")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("#head")).to_be_in_viewport()


def wait_until_at_top(page: Page, section: str) -> None:
    """Wait until a section stands right under the bar of links."""
    expect(page.locator(f"#{section}")).to_be_in_viewport()
    page.evaluate(
        """id => new Promise((done, failed) => {
             let left = 300;
             const look = () => {
               const top = document.getElementById(id).getBoundingClientRect().top;
               if (Math.abs(top - 56) < 4) done();
               else if (left-- > 0) requestAnimationFrame(look);
               else failed(new Error(`${id} is at ${top} pixels`));
             };
             look();
           })""",
        section,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_other_pages_fit_the_screen(open_tab: OpenTab, seeded: Seeded, store: Store, width):
    page = open_tab(width=width).page
    run = next(run for run in store.runs.of_sweep(seeded.ids["completed"]) if run.loss is not None)
    store.lenses.append(lens_points(run.id))
    for path in ("/", "/submit", "/login", f"/runs/{run.id}"):
        page.goto(path)
        draw_all(page)
        assert overflow(page) == 0, path
        assert unlabelled(page) == [], path
        for landmark in ("banner", "main", "contentinfo"):
            expect(page.get_by_role(landmark)).to_have_count(1)


def test_a_change_in_the_store_arrives_without_a_reload(open_tab: OpenTab, own, store: Store):
    service, sweep_id = own
    page = open_tab().page
    page.goto(f"/sweeps/{sweep_id}")
    page.evaluate("window.stayed = true")
    bowls = page.locator("#bowls [data-figure]")
    bowls.scroll_into_view_if_needed()
    expect(bowls).to_have_attribute("data-drawn", "1")
    expect(page.locator("#live")).to_have_text("live")
    driver = store.leases.current(f"driver:{sweep_id}")
    live = [run for run in store.runs.of_sweep(sweep_id) if run.state is RunState.RUNNING]
    before = store.sweeps.progress(sweep_id)[RunState.COMPLETED]
    store.runs.finish(
        [RunResult(run_id=run.id, state=RunState.COMPLETED, loss=2.2, flops=1e9) for run in live],
        fence=driver.fence,
    )
    done = page.locator("#progress .states li", has_text="completed").locator("strong")
    expect(done).to_have_text(str(before + len(live)))
    expect(bowls).not_to_have_attribute("data-drawn", "1")
    law = service.refit(sweep_id)
    assert law is not None
    number = store.sweeps.get(sweep_id).law_number
    expect(page.locator("#answer-body .by")).to_contain_text(f"Law {number}")
    store.sweeps.move(sweep_id, SweepState.COMPLETED, reason="good enough")
    expect(page.locator("#head .badge")).to_have_text("completed")
    expect(page.locator("#head")).to_contain_text("good enough")
    expect(page.locator("[data-verb]")).to_have_count(0)
    assert page.evaluate("window.stayed") is True


def test_curves_that_grow_are_drawn_anew_and_nothing_else(open_tab: OpenTab, own, store: Store):
    _, sweep_id = own
    page = open_tab().page
    page.goto(f"/sweeps/{sweep_id}")
    draw_all(page)
    expect(page.locator("#live")).to_have_text("live")
    curves, coverage = page.locator("#losses [data-figure]"), page.locator("#coverage [data-figure]")
    curves.scroll_into_view_if_needed()
    before = coverage.get_attribute("data-drawn")
    store.events.append(sweep_id, ProgressEvent(points=2))
    expect(curves).to_have_attribute("data-drawn", "2")
    assert coverage.get_attribute("data-drawn") == before


def test_a_new_sweep_appears_in_the_list_without_a_reload(open_tab: OpenTab, store: Store):
    page = open_tab().page
    page.goto("/")
    page.evaluate("window.stayed = true")
    Service(store).submit(name="just now submitted")
    expect(page.get_by_role("link", name="just now submitted")).to_be_visible()
    assert page.evaluate("window.stayed") is True


def test_a_zoom_stays_when_a_figure_is_redrawn(open_tab: OpenTab, own, store: Store):
    service, sweep_id = own
    page = open_tab().page
    page.goto(f"/sweeps/{sweep_id}")
    draw_all(page)  # what is drawn later would move the figure under the mouse
    savings = page.locator("#savings [data-figure]")
    savings.scroll_into_view_if_needed()
    expect(savings).to_have_attribute("data-drawn", "1")
    plane = savings.locator(".nsewdrag").first.bounding_box()
    before = visible_range(page)
    page.mouse.move(plane["x"] + 20, plane["y"] + plane["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(plane["x"] + plane["width"] - 20, plane["y"] + plane["height"] - 10, steps=4)
    page.mouse.up()
    zoomed = visible_range(page)
    assert zoomed[1] < 0.7 * before[1]
    service.refit(sweep_id)
    expect(savings).not_to_have_attribute("data-drawn", "1")
    assert visible_range(page) == zoomed


def visible_range(page: Page) -> list[float]:
    """The shares of the full grid between which the cost figure is drawn."""
    return page.evaluate("""document.querySelector("#savings [data-figure]").layout.yaxis.range""")


def test_buttons_pause_resume_stop_and_ask_before_what_cannot_be_undone(open_tab: OpenTab, own, store: Store):
    _, sweep_id = own
    page = open_tab().page
    page.goto(f"/sweeps/{sweep_id}")
    badge = page.locator("#head .badge")
    page.get_by_role("button", name="Pause").click()
    expect(badge).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(badge).to_have_text("running")
    page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog", name="Stop this sweep?")
    expect(dialog).to_contain_text("cannot be resumed")
    dialog.get_by_role("button", name="Keep it going").click()
    expect(dialog).to_be_hidden()
    assert store.sweeps.get(sweep_id).state is SweepState.RUNNING
    page.get_by_role("button", name="Cancel").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert store.sweeps.get(sweep_id).state is SweepState.RUNNING
    page.get_by_role("button", name="Stop").click()
    dialog.get_by_role("button", name="Stop it").click()
    expect(badge).to_have_text("stopping")
    assert store.sweeps.get(sweep_id).state is SweepState.STOPPING


def test_a_refused_button_shows_the_problem(open_tab: OpenTab, own, store: Store):
    _, sweep_id = own
    tab = open_tab()
    tab.page.route(re.compile(r"/events"), lambda route: route.abort())
    tab.page.goto(f"/sweeps/{sweep_id}")
    store.sweeps.move(sweep_id, SweepState.CANCELLED)
    tab.page.get_by_role("button", name="Pause").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("is cancelled and cannot become paused")
    expect(tab.page.locator("#head .badge")).to_have_text("cancelled")
    # The browser itself notes the aborted stream and the 409 in its console.
    tab.troubles[:] = [text for text in tab.troubles if "Failed to load resource" not in text]


def test_the_form_answers_and_refuses_without_a_reload(open_tab: OpenTab, seeded: Seeded):
    page = open_tab().page
    page.goto(f"/sweeps/{seeded.ids['completed']}")
    page.evaluate("window.stayed = true")
    answer = page.locator("#ask-answer")
    page.get_by_label("Parameters").fill("300 k")
    page.get_by_label("Tokens", exact=True).fill("1e6")
    page.get_by_role("button", name="Predict").click()
    expect(answer.locator(".rate strong")).to_have_text(re.compile(r"^\d(\.\d)?e-\d$"))
    expect(answer).to_contain_text("300 k params")
    page.get_by_label("Parameters").fill("1e15")
    page.keyboard.press("Enter")
    expect(answer.locator(".refusal")).to_contain_text("a prediction needs ×/÷ 3")
    page.get_by_label("Parameters").fill("many")
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("'many' is not a positive number")
    assert "params=many" in page.url
    assert page.evaluate("window.stayed") is True


def test_runs_are_narrowed_and_paged_in_place(open_tab: OpenTab, seeded: Seeded, store: Store):
    page = open_tab().page
    page.goto(f"/sweeps/{seeded.ids['completed']}")
    page.evaluate("window.stayed = true")
    rows = page.locator("#runs-body tbody tr")
    expect(rows).to_have_count(25)
    first = rows.first.get_by_role("link").get_attribute("href")
    page.locator("#runs-body").get_by_role("link", name="Next").click()
    expect(page.locator("#runs-body").get_by_role("link", name="First")).to_be_visible()
    assert rows.first.get_by_role("link").get_attribute("href") != first
    page.get_by_label("State").select_option("diverged")
    expect(rows).to_have_count(store.sweeps.progress(seeded.ids["completed"])[RunState.DIVERGED])
    assert page.evaluate("window.stayed") is True


def test_a_hostile_name_and_reason_do_nothing(open_tab: OpenTab, seeded: Seeded):
    page = open_tab().page
    for path in ("/", f"/sweeps/{seeded.ids['queued']}", f"/sweeps/{seeded.ids['failed']}"):
        page.goto(path)
        draw_all(page)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x]").count() == 0
    expect(page.locator("#head")).to_contain_text("<b>the driver</b> lost the Ray cluster")


def test_figures_follow_the_colour_scheme(open_tab: OpenTab, seeded: Seeded):
    page = open_tab().page
    page.goto(f"/sweeps/{seeded.ids['completed']}")
    law = page.locator("#law [data-figure]")
    law.scroll_into_view_if_needed()
    expect(law).to_have_attribute("data-drawn", "1")
    light = font_colour(page)
    page.emulate_media(color_scheme="dark")
    expect(law).to_have_attribute("data-drawn", "2")
    assert font_colour(page) != light


def font_colour(page: Page) -> str:
    """The colour of the words in the law's figure."""
    return page.evaluate("""document.querySelector("#law [data-figure]").layout.font.color""")


def test_a_sweep_is_checked_and_submitted_on_the_page(open_tab: OpenTab, store: Store):
    tab = open_tab()
    page = tab.page
    page.goto("/submit")
    yaml = page.get_by_role("textbox", name="Specification in YAML")
    example = yaml.input_value()
    yaml.fill(example.replace("min: 1e-3", "min: -1"))
    page.get_by_role("button", name="Check and price").click()
    expect(page.locator("#plan")).to_contain_text("grid.learning_rates")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#plan .trouble", has_text="greater than 0")).to_have_count(1)
    yaml.fill(example)
    page.get_by_role("button", name="Check and price").click()
    expect(page.locator("#plan")).to_contain_text("is expected to spend")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/sweeps/\w{32}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("stdlib-dense")
    assert store.sweeps.get(page.url.rpartition("/")[2]).state is SweepState.QUEUED
    tab.troubles[:] = [
        text for text in tab.troubles if "422" not in text
    ]  # the browser notes refusals itself


def test_the_keyboard_reaches_the_content_first(open_tab: OpenTab, seeded: Seeded):
    page = open_tab().page
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("#main$"))


def test_the_reference_is_drawn_without_a_network(open_tab: OpenTab, site: str):
    page = open_tab().page
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto("/docs")
    page.get_by_text("Submit a sweep").click()
    expect(page.get_by_text("stdlib-dense").first).to_be_visible()
    assert page.locator(".opblock").count() > 20
    assert [url for url in requests if not url.startswith((site, "data:"))] == []


def test_a_form_changes_the_sweep_from_the_revision_that_it_shows(open_tab: OpenTab, own, store: Store):
    _, sweep_id = own
    tab = open_tab()
    page = tab.page
    page.goto(f"/sweeps/{sweep_id}")
    page.get_by_text("Target, budget and horizons").click()
    form = page.locator("form[data-patch]")
    before = store.sweeps.get(sweep_id).spec
    form.get_by_label("Runs at most").fill("400")
    form.get_by_label("Target N").fill("2M")
    form.get_by_label("Further horizons").fill("6.4M")
    form.get_by_role("button", name="Change").click()
    expect(page.locator("#spec-title")).to_have_text("Revision 2")
    after = store.sweeps.get(sweep_id).spec
    assert (after.search.budget.runs, after.target.params) == (400, 2e6)
    assert after.grid.tokens == (*before.grid.tokens, 6_400_000)

    page.get_by_text("Target, budget and horizons").click()
    form.get_by_label("Runs at most").fill("some")
    form.get_by_role("button", name="Change").click()
    expect(page.locator("#change-trouble")).to_contain_text("search.budget.runs")
    assert store.sweeps.get(sweep_id).revision == 2
    assert all("422" in trouble for trouble in tab.troubles)
    tab.troubles.clear()


def test_a_run_is_excluded_with_a_reason_and_included_again(open_tab: OpenTab, own, store: Store):
    _, sweep_id = own
    run = next(run for run in store.runs.of_sweep(sweep_id) if run.state is RunState.COMPLETED)
    page = open_tab().page
    page.goto(f"/runs/{run.id}")
    page.get_by_role("button", name="Exclude").click()
    dialog = page.get_by_role("dialog", name="Exclude this run?")
    dialog.get_by_label("Why").fill("a bad node")
    dialog.get_by_role("button", name="Exclude").click()
    expect(page.locator("#head")).to_contain_text("Excluded from the law: a bad node")
    assert store.runs.get(run.id).excluded == "a bad node"
    page.get_by_role("button", name="Include").click()
    expect(page.get_by_role("button", name="Exclude")).to_be_visible()
    assert store.runs.get(run.id).excluded is None
