"""Pages of registered trainers: the sweep that is written for one, its parameters and check, and the output of a run."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.documents.events import NodeSize, NoticeEvent, TrainerEvent, WorkersEvent
from orchestrator.states import SweepState
from orchestrator.store import Store
from tests.api.dashboard.registered import ProgramRun, check, register
from tests.api.dashboard.test_pages import read, text_of

TRICKY = {
    "no parameters": "{}",
    "no number without a default": "{width: {type: int, min: 8, max: 64, default: 16}}",
    "one value": "{width: {type: int, min: 8, max: 8}}",
    "no bounds": "{width: {type: int}}",
    "only the largest": "{width: {type: int, max: -3}}",
    "multiples": "{width: {type: int, min: 100, max: 200, multiple_of: 64}}",
    "a float, a choice and a flag": "{beta: {type: float, min: 0.9, max: 0.99}, optimizer: {type: choice, values: ['yes', muon]}, "
    "flag: {type: choice, values: [true, false]}, low: {type: float, max: 0}}",
}


def written(page: str) -> str:
    """The specification in the editor of a page."""
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def filled_in(yaml: str) -> str:
    """The specification with an N for each of its scales that lacks one."""
    params = iter(("5M", "10M", "20M"))
    return re.sub(r"params: TODO", lambda _: f"params: {next(params)}", yaml)


def plan_of(client: TestClient, yaml: str) -> Any:
    return client.post("/submit/plan", content=yaml, headers={"Content-Type": "application/yaml"})


def test_without_registrations_the_page_says_how_to_write_one(client: TestClient) -> None:
    page = read(client, "/submit")
    assert "etalon trainer init plain" in page
    assert 'id="trainer"' not in page


def test_the_submit_page_offers_registered_trainers(client: TestClient, tmp_path: Path) -> None:
    register(tmp_path)
    page = read(client, "/submit")
    assert "<option>nanogpt</option>" in page
    assert "<option>broken</option>" not in page
    assert "kind: proxy" in written(page)
    assert "broken cannot be used" in text_of(page)
    assert "the nearest is {learning_rate}" in text_of(page)


def test_a_chosen_trainer_shows_its_parameters_and_check(
    client: TestClient, copy: Store, tmp_path: Path
) -> None:
    register(tmp_path)
    text = text_of(read(client, "/submit?trainer=nanogpt"))
    assert "nanogpt unchecked Our 4-GPU pre-training script" in text
    assert "n_layer Transformer blocks a whole number from 1 to 96 to be given" in text
    assert "optimizer one of adamw, muon adamw" in text
    assert "It takes no seed" in text
    check(copy, tmp_path, "nanogpt")
    text = text_of(read(client, "/submit?trainer=nanogpt"))
    assert "nanogpt check failed" in text
    assert "stop bad 2 processes were left" in text
    check(copy, tmp_path, "nanogpt", passed=True)
    assert "nanogpt check passed" in text_of(read(client, "/submit?trainer=nanogpt"))


def test_the_written_sweep_is_priced_as_it_is(client: TestClient, tmp_path: Path) -> None:
    register(tmp_path)
    for name in ("nanogpt", "tiny"):
        yaml = written(read(client, f"/submit?trainer={name}"))
        answer = plan_of(client, yaml)
        assert answer.status_code == 422
        assert "is still TODO: put in N of this model" in answer.text
        yaml = filled_in(yaml)
        answer = plan_of(client, yaml)
        assert answer.status_code == 200, (yaml, answer.text)
        assert "Full grid of independent runs" in answer.text


def test_a_checked_scale_is_written_with_its_n_and_prices_the_sweep(
    client: TestClient, copy: Store, tmp_path: Path
) -> None:
    register(tmp_path)
    check(copy, tmp_path, "nanogpt", passed=True, params=29_536.0, values={"n_layer": 2, "n_embd": 128})
    yaml = written(read(client, "/submit?trainer=nanogpt"))
    first, second, third = re.findall(r"- \{params: (\S+), with: (.*)\}", yaml)
    assert first == ("29536", "{n_layer: 2, n_embd: 128}")
    assert second[0] == third[0] == "TODO"
    assert "max_parallel: 2" in yaml
    page = text_of(plan_of(client, filled_in(yaml)).text)
    assert "Expected worker time" in page
    assert "worker time is by its check, 12 k tokens a second at N = 29.5 k" in page


def test_runs_at_once_are_those_that_the_measured_cluster_has_room_for(
    client: TestClient, copy: Store, tmp_path: Path, seeded: Any
) -> None:
    register(tmp_path)
    nodes = (NodeSize(cpus=8.0, gpus=0.0, count=2),)
    event = WorkersEvent(cpus=16.0, gpus=0.0, nodes=nodes, room=16, reason=None)
    copy.events.append(seeded.ids["running"], event)
    assert "max_parallel: 16" in written(read(client, "/submit?trainer=tiny"))


@pytest.mark.parametrize("parameters", TRICKY.values(), ids=TRICKY)
def test_a_sweep_is_written_for_any_parameters(client: TestClient, tmp_path: Path, parameters: str) -> None:
    register(tmp_path, f"'null': {{command: [train], parameters: {parameters}}}\n")
    yaml = filled_in(written(read(client, "/submit?trainer=null")))
    answer = plan_of(client, yaml)
    assert answer.status_code == 200, (yaml, answer.text)


def test_a_text_is_left_to_the_user(client: TestClient, tmp_path: Path) -> None:
    register(tmp_path, "mine: {command: [train], parameters: {data: {type: text, pattern: '[a-z]+'}}}\n")
    answer = plan_of(client, filled_in(written(read(client, "/submit?trainer=mine"))))
    assert answer.status_code == 422
    assert "that &#39;[a-z]+&#39; matches as a whole" in answer.text


def test_a_run_of_a_program_shows_its_output_and_no_lenses(client: TestClient, copy: Store) -> None:
    own = ProgramRun(copy)
    page = read(client, f"/runs/{own.run.id}")
    assert "The program has printed nothing so far." in page
    assert "Stability" not in page
    own.print("".join(f"iter {step}: loss <b>3.1</b>\n" for step in range(300)))
    page = read(client, f"/runs/{own.run.id}")
    assert "iter 299: loss &lt;b&gt;3.1" in page
    assert "iter 99:" not in page
    assert "iter 99:" in read(client, f"/runs/{own.run.id}?tail=1000")
    assert "iter 99:" not in read(client, f"/runs/{own.run.id}?tail=everything")


def test_the_whole_output_is_a_file(client: TestClient, copy: Store) -> None:
    own = ProgramRun(copy)
    own.print("\x1b[31mä\x1b[0m <script>\n")
    answer = client.get(f"/runs/{own.run.id}/log.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{own.run.id}.log"'
    assert answer.text == "ä <script>\n"
    assert client.get(f"/runs/{'0' * 32}/log.txt").status_code == 404


def test_a_run_of_proxies_has_no_output(client: TestClient, copy: Store, seeded: Any) -> None:
    (run, *_) = copy.runs.of_sweep(seeded.ids["completed"])
    page = read(client, f"/runs/{run.id}")
    assert 'id="log"' not in page
    assert "Stability" in page


def test_a_sweep_shows_its_registration_and_what_its_runs_have_told(client: TestClient, copy: Store) -> None:
    own = ProgramRun(copy)
    copy.events.append(own.sweep.id, TrainerEvent(name="nanogpt", digest="0123456789abcdef", checked=False))
    copy.events.append(own.sweep.id, NoticeEvent(message="Losses have 3 decimals."))
    text = text_of(read(client, f"/sweeps/{own.sweep.id}"))
    assert "Trainer nanogpt, registration 0123456789abcdef" in text
    assert "Losses have 3 decimals." in text


def test_what_a_program_printed_is_shown_once_with_its_indents(client: TestClient, copy: Store) -> None:
    own = ProgramRun(copy)
    block = [
        "Traceback (most recent call last):",
        '  File "train.py", line 3',
        "    import nope",
        "no module <nope>",
    ]
    reason = "It ended with exit code 1, 3 times. The last lines of its output:"
    own.fail("\n".join([reason, *block[2:], *block, *block]))
    copy.sweeps.move(own.sweep.id, SweepState.PAUSED, reason="\n".join(["The first 3 runs failed", *block]))
    for path, sentence, title in (
        (f"/runs/{own.run.id}", "It ended with exit code 1, 3 times.", "The last lines of its output"),
        (f"/sweeps/{own.sweep.id}", "The first 3 runs failed", "More"),
    ):
        head = read(client, path).split('id="head"')[1].split("</header>")[0]
        assert f'<p class="reason">{sentence}</p>' in head
        assert f"<summary>{title}</summary>" in head
        (printed,) = re.findall(r"<pre[^>]*>(.*?)</pre>", head, re.DOTALL)
        assert html.unescape(printed) == "\n".join(block)


def test_a_list_of_runs_shows_the_last_line_of_a_reason_and_unfolds_the_whole(
    client: TestClient, copy: Store
) -> None:
    own = ProgramRun(copy)
    lines = ["Traceback (most recent call last):", '  File "train.py", line 3', "MemoryError: <64 GB>", ""]
    own.fail("\n".join(["It ended with exit code 1. The last lines of its output:", *lines]))
    cell = read(client, f"/sweeps/{own.sweep.id}").split('<td class="opt why">')[1].split("</td>")[0]
    shown, unfolded = cell.split("</summary>")
    assert text_of(shown) == "MemoryError: <64 GB>"
    assert f'data-keep="why-{own.run.id}"' in shown
    assert "It ended with exit code 1." in unfolded
    (printed,) = re.findall(r"<pre[^>]*>(.*?)</pre>", unfolded, re.DOTALL)
    assert html.unescape(printed).rstrip() == "\n".join(lines).rstrip()


def test_a_reason_of_one_line_is_shown_whole_in_a_list_of_runs(client: TestClient, copy: Store) -> None:
    own = ProgramRun(copy)
    own.fail("Its worker was lost.")
    cell = read(client, f"/sweeps/{own.sweep.id}").split('<td class="opt why">')[1].split("</td>")[0]
    assert text_of(cell) == "Its worker was lost."
    assert "<details" not in cell


def test_a_sweep_without_trunks_and_prediction_claims_no_savings_by_them(
    client: TestClient, copy: Store
) -> None:
    own = ProgramRun(copy)
    own.end()
    copy.sweeps.move(own.sweep.id, SweepState.COMPLETED)
    text = text_of(read(client, f"/sweeps/{own.sweep.id}"))
    assert "trunks" not in text
    assert "of the full grid spent, and no prediction at the target: no law could be fitted" in text
    assert "saved" not in text_of(read(client, "/")).split("own completed")[1].split("tokens")[0]


def test_a_sweep_with_trunks_says_what_they_saved(client: TestClient, seeded: Any) -> None:
    text = text_of(read(client, f"/sweeps/{seeded.ids['completed']}"))
    assert "saved by shared trunks and early divergence" in text
    assert "Thin lines are trunks" in text
