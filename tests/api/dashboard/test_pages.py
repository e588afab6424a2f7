"""Pages as they are sent: what each state shows, what is escaped, what is refused, what may be kept."""

from __future__ import annotations

import gzip
import html
import re

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.dashboard.assets import PLOTLY, address
from api.dashboard.rendering import unbroken
from api.dashboard.ruler import beside, extrapolations, ruler
from orchestrator.amounts import count, rate
from orchestrator.settings import Settings
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LensPoint
from orchestrator.store.runs import Runs
from tests.api.dashboard.conftest import HOSTILE, Seeded
from tests.api.dashboard.seeding import Service, with_batches, with_many_cells
from tests.api.figures.building import make_answer


def text_of(page: str) -> str:
    """The text of a page: without tags, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def read(client: TestClient, path: str, status: int = 200) -> str:
    response = client.get(path)
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"].startswith("text/html")
    return response.text


def test_without_sweeps_the_list_explains_how_to_submit_the_first(store: Store, tmp_path):
    app = create_app(settings=Settings(home=tmp_path), store=store)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        page = read(client, "/")
    assert "etalon sweep submit examples/stdlib-dense.yaml --watch" in page
    assert 'data-copy="first-command"' in page


def test_the_list_shows_state_progress_and_prediction_of_every_sweep(client: TestClient, seeded: Seeded):
    page = read(client, "/")
    for sweep_id in seeded.ids.values():
        assert f'href="/sweeps/{sweep_id}"' in page
    text = text_of(page)
    assert "refused" in text
    assert re.search(r"\d+ of \d+ runs · \d+ batches · \d+ % of the grid saved", text)
    assert "no law yet" in text


@pytest.mark.parametrize(
    ("state", "names"), [("completed", 1), ("queued", 1), ("paused", 0), ("nonsense", 5)]
)
def test_the_list_can_be_narrowed_to_a_state(client: TestClient, state: str, names: int):
    page = read(client, f"/?state={state}")
    assert page.count('class="card sweep-row"') == names
    assert ("No sweep is paused now" in page) == (state == "paused")


def test_a_completed_sweep_shows_rate_interval_warnings_law_and_cost(client: TestClient, seeded: Seeded):
    text = text_of(read(client, f"/sweeps/{seeded.ids['completed']}"))
    for words in (
        "Learning rate at the target",
        "95 %:",
        "within ×/÷",
        "the largest N tried",
        "Expected excess loss at this rate and at wrong rates",
        "×½",
        "Confirmation at the target",
        "Published laws",
        "Step Law",
        "η* ",
        "ln η* ≈",
        "the geometric mean of the cells",
        "come from a prior",
        "of the full grid saved",
        "rates never run",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ("2M", r"To narrow the interval A fifth size near \S+ k parameters would narrow the interval from"),
        ("6M", r"No prediction .* A fifth size near \S+ [kM] parameters would narrow the interval from"),
    ],
)
def test_a_far_target_shows_the_size_to_add(client: TestClient, seeded: Seeded, params: str, shown: str):
    page = read(client, f"/sweeps/{seeded.ids['completed']}?params={params}&tokens=2M")
    assert re.search(shown, text_of(page[page.index('id="ask-answer"') : page.index('id="bowls"')]))


def test_the_batch_of_a_prediction_has_its_interval_and_the_largest_that_cost_little(
    client: TestClient, copy: Store
):
    sweep_id = with_batches(Service(copy))
    batch = client.get(f"/v1/sweeps/{sweep_id}").json()["prediction"]["batch"]
    page = read(client, f"/sweeps/{sweep_id}")
    answer = text_of(page[page.index('id="answer"') : page.index('id="ask"')])
    ends = f"{count(batch['interval']['low'])} – {count(batch['interval']['high'])}"
    rows = [f"least {count(batch['best'])} 95 %: {ends} {rate(batch['learning_rate'])}"]
    for item, level in zip(batch["largest_within"], ("0.5 %", "1 %"), strict=True):
        rows.append(f"at most {level} up to {count(item['batch_tokens'])} {rate(item['learning_rate'])}")
    assert " ".join(" ".join(rows).split()) in answer


def test_a_prediction_from_one_batch_says_why_there_is_no_best_one(client: TestClient, seeded: Seeded):
    page = read(client, f"/sweeps/{seeded.ids['completed']}")
    answer = text_of(page[page.index('id="answer"') : page.index('id="ask"')])
    assert "Batch All runs have one batch of 256 tokens" in answer


def test_a_sweep_with_sizes_that_have_no_results_has_those_to_run_first(client: TestClient, seeded: Seeded):
    url = f"/v1/sweeps/{seeded.ids['failed']}/prediction?params=12e3&tokens=524288"
    offer = client.get(url).json()["further_size"]
    assert offer["params"] is None
    assert offer["reason"].endswith("k parameters have no results yet.")


def test_a_near_target_shows_no_size_to_add(client: TestClient, seeded: Seeded):
    page = read(client, f"/sweeps/{seeded.ids['completed']}?params=50k&tokens=262144")
    answer = text_of(page[page.index('id="ask-answer"') : page.index('id="bowls"')])
    assert "Confirmation at the target" in answer
    assert "To narrow the interval" not in answer


def test_a_final_sweep_has_no_buttons_and_a_running_one_has_three(client: TestClient, seeded: Seeded):
    assert "data-verb" not in read(client, f"/sweeps/{seeded.ids['completed']}")
    page = read(client, f"/sweeps/{seeded.ids['running']}")
    assert re.findall(r'data-verb="(\w+)"', page) == ["pause", "stop", "cancel"]


def test_a_paused_sweep_can_be_resumed(client: TestClient, seeded: Seeded, copy: Store):
    copy.sweeps.move(seeded.ids["running"], SweepState.PAUSED, actor="somebody")
    page = read(client, f"/sweeps/{seeded.ids['running']}")
    assert re.findall(r'data-verb="(\w+)"', page) == ["resume", "stop", "cancel"]
    assert "paused by somebody" in text_of(page)


def test_a_refusal_stands_in_words_where_the_number_would(client: TestClient, seeded: Seeded):
    text = text_of(read(client, f"/sweeps/{seeded.ids['refused']}"))
    assert "No prediction" in text
    assert "a prediction needs ×/÷ 3" in text


def test_a_queued_sweep_says_what_will_appear(client: TestClient, seeded: Seeded):
    text = text_of(read(client, f"/sweeps/{seeded.ids['queued']}"))
    assert "The prediction appears here after the first batch of runs" in text
    assert "Runs appear here when the first batch is requested" in text


def test_what_users_wrote_is_escaped_everywhere(client: TestClient, seeded: Seeded):
    for path in ("/", f"/sweeps/{seeded.ids['queued']}", f"/sweeps/{seeded.ids['failed']}"):
        page = read(client, path)
        assert "<img src=x" not in page
        assert "<script>window" not in page
        assert "<b>the driver</b>" not in page
    assert "&lt;img src=x" in read(client, "/")
    assert HOSTILE.split("&")[0] not in read(client, "/")


def test_no_page_has_an_inline_script_or_handler(client: TestClient, seeded: Seeded):
    for path in ("/", "/submit", "/login", *(f"/sweeps/{i}" for i in seeded.ids.values())):
        page = read(client, path)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
        assert not re.search(r"<[^>]+\son\w+=", page)
        assert "http://" not in re.sub(r'href="https?://[^"]*"', "", page)


def test_a_target_without_a_valley_says_so_in_words(client: TestClient, seeded: Seeded):
    page = text_of(read(client, f"/sweeps/{seeded.ids['completed']}?params=6M&tokens=2M"))
    assert "Valley none The optimum is too uncertain: no rate loses at most 0.1" in page
    assert "The optimum is too uncertain to name a range of rates" in page


def test_the_form_says_that_a_rate_of_mup_is_in_units_of_its_base(client: TestClient, copy: Store):
    service = Service(copy)
    trainer = {"kind": "proxy", "parametrization": "mup"}
    sweep = service.run(service.submit(name="one rate for all widths", trainer=trainer).id)
    page = read(client, f"/sweeps/{sweep.id}?params=300k&tokens=1M")
    answer = text_of(page[page.index('id="ask-answer"') : page.index('id="bowls"')])
    assert "The rate is the global one of muP, in units of the base of width" in answer
    assert "Step Law" not in answer


def test_bowls_can_be_chosen_where_there_are_too_many_to_draw(
    client: TestClient, seeded: Seeded, copy: Store
):
    many = f"/sweeps/{with_many_cells(Service(copy))}"
    page = read(client, many)
    assert "some of 32" in page
    options = re.findall(r'<option value="(params=[^"]+)"', page)
    assert len(options) == 8
    chosen = html.unescape(options[2])
    narrowed = client.get(many, params={"bowls": chosen}).text
    assert f'/figures/bowls?{options[2]}"' in narrowed
    assert f'<option value="{options[2]}" selected>' in narrowed
    assert '/figures/bowls"' in client.get(many, params={"bowls": "params=7&page=9"}).text
    assert "bowls-cells" not in read(client, f"/sweeps/{seeded.ids['completed']}")


def test_runs_are_paged_and_narrowed_to_a_state(client: TestClient, seeded: Seeded, copy: Store):
    sweep_id = seeded.ids["completed"]
    page = read(client, f"/sweeps/{sweep_id}")
    assert page.count('<th scope="row"><a href="/runs/') == 25
    following = re.search(r'href="(\?state=&amp;cursor=[^"#]+)#runs"', page)
    assert following is not None
    second = read(client, f"/sweeps/{sweep_id}{following[1].replace('&amp;', '&')}")
    assert set(re.findall(r"/runs/(\w+)", page)).isdisjoint(re.findall(r"/runs/(\w+)", second))
    diverged = read(client, f"/sweeps/{sweep_id}?state=diverged")
    assert (
        diverged.count('<th scope="row"><a href="/runs/') == copy.sweeps.progress(sweep_id)[RunState.DIVERGED]
    )
    assert "No run is failed now" in read(client, f"/sweeps/{sweep_id}?state=failed")


def test_a_page_reads_the_runs_once(client: TestClient, seeded: Seeded, monkeypatch: pytest.MonkeyPatch):
    read_sweeps, of_sweep = [], Runs.of_sweep
    monkeypatch.setattr(Runs, "of_sweep", lambda runs, id_: read_sweeps.append(id_) or of_sweep(runs, id_))
    read(client, f"/sweeps/{seeded.ids['completed']}")
    assert read_sweeps == [seeded.ids["completed"]]


def test_rates_that_were_ruled_out_do_not_bury_the_runs(client: TestClient, seeded: Seeded, copy: Store):
    sweep_id = seeded.ids["completed"]
    ruled_out = [run.id for run in copy.runs.of_sweep(sweep_id) if run.state is RunState.PRUNED]
    assert len(ruled_out) > 1
    page, seen = read(client, f"/sweeps/{sweep_id}"), []
    assert f"{len(ruled_out)} rates of the grid were ruled out and never run. Show them" in text_of(page)
    while True:
        seen += re.findall(r"/runs/(\w+)", page)
        following = re.search(r'href="(\?state=&amp;cursor=[^"#]+)#runs"', page)
        if following is None:
            break
        page = read(client, f"/sweeps/{sweep_id}{following[1].replace('&amp;', '&')}")
    runs = {run.id: run for run in copy.runs.of_sweep(sweep_id) if run.state is not RunState.PRUNED}
    assert sorted(seen) == sorted(runs)
    batches = [runs[run_id].batch or 0 for run_id in seen]
    assert batches == sorted(batches)
    shown = re.findall(r"/runs/(\w+)", read(client, f"/sweeps/{sweep_id}?state=pruned"))
    assert shown == ruled_out[:25]


def test_no_sentence_has_numbers_for_machines(client: TestClient, seeded: Seeded):
    for sweep_id in seeded.ids.values():
        text = text_of(read(client, f"/sweeps/{sweep_id}?params=300k&tokens=1M"))
        assert re.findall(r"\b(?:params|tokens)\s?=\s?[0-9]\S*|[0-9]e[+-][0-9]{2}", text) == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("params=300k&tokens=1M&batch_tokens=256", "for 300 k params · 1 M tokens · 256 tokens a batch"),
        ("params=3e5&tokens=1e6", "for 300 k params · 1 M tokens · 256 tokens a batch"),
        ("params=1e15&tokens=1e17", "No prediction"),
        ("params=lots&tokens=1e6", "Parameters: 'lots' is not a positive number; write it like 1e9"),
        ("params=1e6&tokens=0.5", "Tokens: 0.5 is out of range"),
    ],
)
def test_the_form_answers_refuses_or_says_what_is_wrong(client: TestClient, seeded: Seeded, query, words):
    page = read(client, f"/sweeps/{seeded.ids['completed']}?{query}")
    answer = page[page.index('id="ask-answer"') : page.index('id="bowls"')]
    assert words in text_of(answer)


def test_without_a_law_the_form_says_so(client: TestClient, seeded: Seeded):
    page = read(client, f"/sweeps/{seeded.ids['queued']}?params=1e6&tokens=1e6")
    assert "has no law yet" in page


def test_a_run_has_a_page_and_a_curve(client: TestClient, seeded: Seeded, copy: Store):
    run = next(run for run in copy.runs.of_sweep(seeded.ids["completed"]) if run.loss is not None)
    text = text_of(read(client, f"/runs/{run.id}"))
    assert "Run at η" in text
    assert f"{run.loss:.3f}" in text
    assert client.get(f"/runs/{run.id}/figure.json").json()["data"]


def test_a_run_has_two_lenses_or_says_why_not(client: TestClient, seeded: Seeded, copy: Store):
    run = next(run for run in copy.runs.of_sweep(seeded.ids["completed"]) if run.loss is not None)
    page = read(client, f"/runs/{run.id}")
    for lens in ("stability", "features"):
        address = f"/runs/{run.id}/lenses/{lens}.json"
        assert f'data-figure="{address}"' in page
        assert "Nothing was recorded" in str(client.get(address).json()["layout"]["annotations"])
    values = {"gradient_norm": 1.0, "attention.update": 0.01}
    copy.lenses.append(
        [LensPoint(curve=run.id, step=step, tokens=256 * step, values=values) for step in (1, 4)]
    )
    for lens in ("stability", "features"):
        for columns in ("", "?columns=2"):
            assert client.get(f"/runs/{run.id}/lenses/{lens}.json{columns}").json()["data"]
    assert client.get(f"/runs/{run.id}/lenses/magnifier.json").status_code == 404


@pytest.mark.parametrize("path", ["/sweeps/nope", "/runs/nope"])
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, path: str):
    assert "Not found" in text_of(read(client, path, 404))


def test_with_tokens_in_use_a_browser_is_led_to_sign_in_and_back(
    client: TestClient, seeded: Seeded, copy: Store
):
    _, secret = copy.tokens.create("me", ["read"])
    wanted = f"/sweeps/{seeded.ids['completed']}?state=diverged"
    refused = client.get(wanted, follow_redirects=False)
    assert refused.status_code == 303
    assert refused.headers["location"].startswith("/login?next=%2Fsweeps%2F")
    form = read(client, refused.headers["location"])
    after = re.search(r'name="next" value="([^"]+)"', form)
    assert after is not None
    fields = {"token": "wrong", "next": after[1].replace("&amp;", "&")}
    origin = {"Origin": "http://127.0.0.1"}
    again = client.post("/login", data=fields, headers=origin)
    assert again.status_code == 401
    assert "unknown or revoked" in again.text
    entered = client.post("/login", data={**fields, "token": secret}, headers=origin)
    assert entered.url.path == wanted.partition("?")[0]
    assert "Sign out" in entered.text


def test_plotly_comes_from_the_wheel_compressed_and_is_kept(client: TestClient):
    response = client.get(address(PLOTLY), headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert "immutable" in response.headers["cache-control"]
    assert response.text.startswith("/**\n* plotly.js")
    plain = client.get("/static/plotly.min.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["cache-control"] == "no-cache"
    assert len(gzip.compress(plain.content, 1)) < len(plain.content) / 2


def test_a_file_that_did_not_change_is_not_sent_again(client: TestClient):
    first = client.get("/static/etalon.css")
    again = client.get("/static/etalon.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nope.js", "..%2Fpages.py", "etalon", "..%2Ftemplates%2Fbase.html"])
def test_only_static_files_are_sent(client: TestClient, name: str):
    assert client.get(f"/static/{name}").status_code == 404


YAML = {"Content-Type": "application/yaml"}


def test_a_sweep_is_priced_before_it_is_submitted(client: TestClient, copy: Store):
    example = re.search(r"<textarea[^>]*>(.*?)</textarea>", read(client, "/submit"), re.DOTALL)
    assert example is not None
    before = copy.sweeps.page(state=None, limit=1, cursor=None)[2]
    plan = client.post("/submit/plan", content=example[1].encode(), headers=YAML)
    assert plan.status_code == 200
    text = text_of(plan.text)
    assert "Full grid of independent runs" in text
    assert "is expected to spend" in text
    assert copy.sweeps.page(state=None, limit=1, cursor=None)[2] == before


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        (b"name: [", "not valid YAML"),
        (b"name: x\ntrainer: {kind: proxy}\ngrid: {tokens: [-1], seeds: 0}", "<code>grid.tokens.0</code>"),
        (b"- a list", "A sweep is a mapping"),
        (b"name: '<b>x</b>'\nprior_runs: {table: '<i>'}", "no table &#39;&lt;i&gt;&#39;"),
    ],
)
def test_problems_of_an_invalid_sweep_are_shown_field_by_field(client: TestClient, yaml: bytes, words: str):
    answer = client.post("/submit/plan", content=yaml, headers=YAML)
    assert answer.status_code == 422
    assert words in answer.text


def test_the_ruler_places_rates_by_their_logarithm():
    scale = ruler(make_answer())
    left, width = scale.interval
    assert scale.rate == pytest.approx(left + width / 2, abs=0.1)
    assert scale.valley[0] > left
    assert scale.valley[1] < width
    assert [law for _, law in scale.published] == ["near"]
    assert all(0 <= place <= 100 for place, _ in (*scale.published, *scale.ticks))


def test_a_valley_too_uncertain_to_name_is_not_on_the_ruler():
    assert ruler(make_answer(valley=(1e-3, 1e-3))).valley is None


@pytest.mark.parametrize(
    ("other", "words"), [(1.7e-3, "1.7× higher"), (5e-4, "2× lower"), (1.01e-3, "the same")]
)
def test_another_law_is_compared_in_words(other: float, words: str):
    assert beside(1e-3, other) == words


def test_an_extrapolation_is_given_for_each_axis():
    found = extrapolations({"params": 4.07, "tokens": 0.5, "batch_tokens": 1.0})
    assert [axis.text for axis in found] == [
        "4.1× the largest N tried",
        "D within what was tried",
        "B within what was tried",
    ]
    assert [axis.beyond for axis in found] == [True, False, False]


def test_a_factor_does_not_break_and_the_rest_of_a_sentence_is_escaped():
    assert unbroken("<b> within ×/÷ 1.36, or ×/÷ 3.") == (
        '&lt;b&gt; within <span class="factor">×/÷ 1.36</span>, or <span class="factor">×/÷ 3</span>.'
    )
