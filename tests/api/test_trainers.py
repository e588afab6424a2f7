"""Registered trainers as readers and operators see them, and the output of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.documents.events import TrainerEvent
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.settings import Settings
from orchestrator.states import SweepState
from orchestrator.store import Store
from orchestrator.store.outputs import TAIL_BYTES, OutputTail
from tests.api.conftest import Recorded

Register = Callable[..., None]

MINE = """\
mine:
  description: Our script
  command: [python, secret_script.py, "--lr={learning_rate}", "--width={width}", "--optimizer={optimizer}"]
  environment: {API_SECRET: hunter2}
  parameters:
    width: {type: int, min: 8, max: 4k, multiple_of: 8, description: of the residual stream}
    optimizer: {type: choice, values: [adamw, muon], default: adamw}
  losses: {training: {output: 'step {step} loss {value}'}}
  resume: {when: "{run_folder}/secret.pt"}
  seeds: false
"""

SWEEP: dict[str, Any] = {
    "name": "own",
    "trainer": {"kind": "command", "name": "mine"},
    "grid": {
        "scales": [{"params": 1e6, "with": {"width": 64}}, {"params": 4e6, "with": {"width": 128}}],
        "tokens": [400_000],
        "batch_tokens": [2048],
        "learning_rates": [1e-3, 2e-3, 4e-3],
    },
    "target": {"params": 1e8, "tokens": 8e5, "batch_tokens": 2048},
}


@pytest.fixture
def register(settings: Settings) -> Register:
    """Write a file of registrations."""
    settings.trainers.mkdir(mode=0o700)

    def write(text: str = MINE, file: str = "mine.yaml") -> None:
        path = settings.trainers / file
        path.write_text(text)
        path.chmod(0o600)

    return write


@pytest.fixture
def reader(store: Store, reach: Callable[..., TestClient]) -> TestClient:
    """A client with a token that may read and no more."""
    _, secret = store.tokens.create("a reader", {"read"})
    return reach(Authorization=f"Bearer {secret}")


def test_without_registrations_the_list_is_empty(client: TestClient) -> None:
    assert client.get("/v1/trainers").json() == {"items": [], "next_cursor": None, "total": 0}
    answer = client.get("/v1/trainers/mine")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "No trainer 'mine' is registered; known are none.",
    )


def test_a_trainer_shows_what_a_sweep_may_set(client: TestClient, register: Register) -> None:
    register()
    (shown,) = client.get("/v1/trainers").json()["items"]
    assert shown == client.get("/v1/trainers/mine").json()
    assert (shown["kind"], shown["description"], shown["fault"], shown["check"]) == (
        "command",
        "Our script",
        None,
        None,
    )
    assert (shown["takes_seeds"], shown["resumes"], shown["forks"]) == (False, True, False)
    width, optimizer = shown["parameters"]
    assert width == {
        "name": "width",
        "type": "int",
        "allowed": "a whole number from 8 to 4000, a multiple of 8",
        "default": None,
        "description": "of the residual stream",
        "min": 8,
        "max": 4000,
        "multiple_of": 8,
        "values": None,
    }
    assert (optimizer["default"], optimizer["values"]) == ("adamw", ["adamw", "muon"])


def test_a_reader_sees_nothing_of_command_environment_and_paths(
    reader: TestClient, register: Register, settings: Settings
) -> None:
    register()
    register("broken: {command: [a, '{hunter2}'], environment: {A: x}}", "b.yaml")
    register("odd: {command: [a], hunter2: x, environment: {A: {hunter2: x}}}", "o.yaml")
    register("hunter2: [", "unreadable.yaml")
    for path in ("/v1/trainers", *(f"/v1/trainers/{name}" for name in ("mine", "broken", "odd"))):
        text = reader.get(path).text.lower()
        for secret in ("hunter2", "secret", str(settings.home).lower()):
            assert secret not in text, path
    assert "is faulty at command;" in reader.get("/v1/trainers/broken").json()["fault"]
    assert "is faulty at environment;" in reader.get("/v1/trainers/odd").json()["fault"]


def test_an_admin_sees_why_a_registration_is_faulty(
    store: Store, reach: Callable[..., TestClient], register: Register, settings: Settings
) -> None:
    register(MINE.replace("{learning_rate}", "{learning_rat}"))
    _, secret = store.tokens.create("an operator", {"admin"})
    fault = reach(Authorization=f"Bearer {secret}").get("/v1/trainers/mine").json()["fault"]
    assert str(settings.trainers / "mine.yaml") in fault
    assert "the nearest is {learning_rate}" in fault


def test_a_sweep_of_a_faulty_registration_is_refused_without_its_content(
    client: TestClient, register: Register
) -> None:
    register(MINE.replace("{learning_rate}", "{learning_rat}"))
    answer = client.post("/v1/sweeps?validate_only=true", json=SWEEP)
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "trainer.name: The registration is faulty at command; "
        "`etalon trainer show mine` tells an operator why."
    )


@pytest.mark.parametrize("text", ["hunter2: [", MINE])
def test_a_sweep_of_an_unreadable_file_is_told_so_without_its_folder(
    client: TestClient, register: Register, settings: Settings, text: str
) -> None:
    register(text)
    register("other: {command: [a]}", "other.yaml")
    (settings.trainers / "mine.yaml").chmod(0o622 if text == MINE else 0o600)
    detail = client.post("/v1/sweeps?validate_only=true", json=SWEEP).json()["detail"]
    assert "no trainer 'mine' is registered" in detail
    assert "What cannot be used: mine.yaml; `etalon trainer list` tells an operator why" in detail
    assert str(settings.home) not in detail
    assert "hunter2" not in detail


def test_without_registrations_a_sweep_is_not_told_where_they_would_be(
    client: TestClient, settings: Settings
) -> None:
    detail = client.post("/v1/sweeps?validate_only=true", json=SWEEP).json()["detail"]
    assert "none is: an operator registers them" in detail
    assert str(settings.home) not in detail


def test_trainers_come_page_by_page_by_name(client: TestClient, register: Register) -> None:
    register("".join(f"t{number}: {{command: [a]}}\n" for number in (3, 1, 2)))
    first = client.get("/v1/trainers?limit=2").json()
    last = client.get(f"/v1/trainers?limit=2&cursor={first['next_cursor']}").json()
    assert [item["name"] for page in (first, last) for item in page["items"]] == ["t1", "t2", "t3"]
    assert (first["total"], last["next_cursor"]) == (3, None)


def test_a_check_belongs_to_the_registration_that_was_checked(
    client: TestClient, store: Store, register: Register
) -> None:
    fork = "  schedule: {decay_fraction: 0.2}\n  fork: {save: [a], checkpoint: '{run_folder}/{fork_step}', arguments: [b]}\n"
    register(MINE + fork)
    shown = client.get("/v1/trainers/mine").json()
    assert shown["forks"]
    steps = [CheckStep(name="fork", finding=Finding.BAD, message="A fork's loss differs.")]
    check = CheckDocument(
        passed=False,
        forks=False,
        tokens_per_second=None,
        params=None,
        steps=steps,
        checked_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    store.trainer_checks.write(shown["digest"], check)
    shown = client.get("/v1/trainers/mine").json()
    assert shown["check"]["steps"][0]["finding"] == "bad"
    assert not shown["forks"]
    register(MINE + fork + "  model: reported\n")
    assert client.get("/v1/trainers/mine").json()["check"] is None


@pytest.mark.parametrize(
    "path", ["/srv/secret/a.pt", "/srv/my secret/a (1).pt", "file:///srv/secret", "../secret/a.pt", "secret"]
)
def test_paths_in_a_check_are_for_operators(
    client: TestClient, store: Store, register: Register, reach: Callable[..., TestClient], path: str
) -> None:
    register()
    message = "No checkpoint was found at {} (resume.when), ×/÷ 1.2 away; 12k tokens/s."
    steps = [CheckStep(name="resume", finding=Finding.BAD, message=message.format(path), paths=[path])]
    check = CheckDocument(
        passed=False,
        forks=None,
        tokens_per_second=None,
        params=None,
        steps=steps,
        checked_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    store.trainer_checks.write(client.get("/v1/trainers/mine").json()["digest"], check)
    assert client.get("/v1/trainers/mine").json()["check"]["steps"][0]["message"] == message.format(path)
    plan = client.post("/v1/sweeps?validate_only=true", json=SWEEP).json()
    assert message.format("…") in str(plan["warnings"])
    _, secret = store.tokens.create("a reader", {"read"})
    shown = reach(Authorization=f"Bearer {secret}").get("/v1/trainers/mine").json()
    assert shown["check"]["steps"][0]["message"] == message.format("…")
    assert path not in str(shown["check"])


def test_the_command_is_for_operators(
    client: TestClient, store: Store, register: Register, reach: Callable[..., TestClient]
) -> None:
    register(MINE + "entered: {entry: 'mine:train'}\n")
    assert client.get("/v1/trainers/mine").json()["command"][:2] == ["python", "secret_script.py"]
    assert client.get("/v1/trainers/entered").json()["command"][-1] == "mine:train"
    _, secret = store.tokens.create("a reader", {"read", "submit"})
    assert [
        item["command"]
        for item in reach(Authorization=f"Bearer {secret}").get("/v1/trainers").json()["items"]
    ] == [None, None]


def test_a_sweep_shows_the_registration_that_carries_it_out(
    client: TestClient, store: Store, register: Register, settings: Settings
) -> None:
    register()
    answer = client.post("/v1/sweeps", json=SWEEP)
    assert answer.status_code == 201, answer.text
    sweep, digest = answer.json(), client.get("/v1/trainers/mine").json()["digest"]
    assert sweep["registration"] == {"name": "mine", "digest": digest, "checked": False}
    store.sweeps.move(sweep["id"], SweepState.PAUSED)
    store.sweeps.resume(sweep["id"], program=TrainerEvent(name="mine", digest="0" * 16, checked=True))
    shown = client.get(f"/v1/sweeps/{sweep['id']}").json()
    assert shown["registration"] == {"name": "mine", "digest": "0" * 16, "checked": True}


def test_a_sweep_resumes_with_what_is_registered_now_if_it_makes_the_same_runs(
    client: TestClient, register: Register
) -> None:
    register()
    path = client.post("/v1/sweeps", json=SWEEP).headers["Location"]
    client.post(f"{path}/pause")
    register(MINE.replace("multiple_of: 8", "multiple_of: 128"))
    answer = client.post(f"{path}/resume")
    assert answer.status_code == 409
    assert "grid.scales.0.with.width: is 64" in answer.json()["detail"]
    assert client.get(path).json()["state"] == "paused"
    register(MINE.replace("secret.pt", "other.pt"))
    resumed = client.post(f"{path}/resume").json()
    assert resumed["state"] == "queued"
    assert any("was never checked as it is registered now" in warning for warning in resumed["warnings"])


def test_a_pause_says_which_runs_begin_again(client: TestClient, store: Store, register: Register) -> None:
    for text, warned in (
        (MINE, False),
        (MINE.replace('  resume: {when: "{run_folder}/secret.pt"}\n', ""), True),
    ):
        register(text)
        sweep = client.post("/v1/sweeps", json=SWEEP).json()
        recorded = Recorded(store, store.sweeps.get(sweep["id"]))
        recorded.move(SweepState.RUNNING)
        recorded.ask(sweep["id"], (0, 0.001), (0, 0.002))
        (run, *_) = store.runs.pending(sweep["id"])
        store.runs.claim(sweep["id"], fence=recorded.drive(sweep["id"]), run_ids=[run.id])
        paused = client.post(f"/v1/sweeps/{sweep['id']}/pause").json()
        assert paused["state"] == "paused"
        assert ("its 1 running run begins again from the first token" in str(paused["warnings"])) == warned


@pytest.mark.parametrize("sign", ["\\ud800", "\\u001b", "\\n"])
@pytest.mark.parametrize("of", ["value", "name"])
def test_text_that_cannot_be_stored_is_refused_and_nothing_is_written(
    client: TestClient, register: Register, sign: str, of: str
) -> None:
    register(
        MINE.replace("{type: int, min: 8, max: 4k, multiple_of: 8, ", "{type: text, pattern: '(?s).*', ")
    )
    body = json.dumps(SWEEP).replace("64" if of == "value" else '"width"', f'"a{sign}"', 1)
    for content_type in ("application/json", "application/yaml"):
        answer = client.post("/v1/sweeps", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 422, answer.text
        assert "control character" in answer.json()["detail"]
    assert client.get("/v1/sweeps").json()["total"] == 0


@pytest.fixture
def log_of(client: TestClient, submitted: Any) -> Callable[..., Any]:
    """The answer for a run with this output."""

    def answer(text: str | None, **query: int) -> Any:
        recorded = submitted()
        recorded.move(SweepState.RUNNING)
        recorded.ask(recorded.sweep.id, (0, 0.001))
        (run,) = recorded.store.runs.of_sweep(recorded.sweep.id)
        if text is not None:
            lease = f"driver:{recorded.sweep.id}"
            kept = OutputTail(text=text, end_byte=len(text.encode()))
            recorded.store.logs.write({run.id: kept}, fence=recorded.drive(recorded.sweep.id), lease=lease)
        return client.get(f"/v1/runs/{run.id}/log", params=query)

    return answer


def test_a_run_without_output_has_an_empty_log(log_of: Callable[..., Any]) -> None:
    answer = log_of(None).json()
    assert (answer["text"], answer["lines"], answer["truncated"]) == ("", 0, False)


def test_the_last_lines_of_a_log_are_shown(log_of: Callable[..., Any]) -> None:
    text = "".join(f"step {step} loss 3.1\n" for step in range(300)) + "half a li"
    answer = log_of(text, tail=2).json()
    assert answer["text"] == "step 299 loss 3.1\nhalf a li"
    assert (answer["lines"], answer["truncated"]) == (2, True)
    answer = log_of(text).json()
    assert (answer["lines"], answer["truncated"]) == (200, True)
    answer = log_of(text, tail=301).json()
    assert (answer["text"], answer["truncated"]) == (text, False)


def test_a_log_that_lost_its_beginning_starts_with_a_whole_line(log_of: Callable[..., Any]) -> None:
    text = "".join(f"{step:07} ä\n" for step in range(TAIL_BYTES // 10))
    answer = log_of(text, tail=10_000).json()
    assert answer["truncated"]
    assert text.endswith("\n" + answer["text"])
    assert log_of("x" * 2 * TAIL_BYTES).json()["lines"] == 1


def test_a_log_goes_on_after_what_was_read_before(log_of: Callable[..., Any]) -> None:
    first = log_of("ä\nä\n\x1b[31mhal").json()
    assert (first["start_byte"], first["end_byte"]) == (0, 6)
    whole = "ä\nä\n\x1b[31mhalf\nä\n"
    more = log_of(whole, after=6).json()
    assert (more["text"], more["start_byte"], more["end_byte"]) == ("half\nä\n", 6, 19)
    assert log_of(whole, after=19).json()["text"] == ""
    assert log_of(whole, after=20).json()["text"] == "ä\nä\nhalf\nä\n"  # the output has begun again


def test_a_log_is_shown_as_a_terminal_would_leave_it(log_of: Callable[..., Any]) -> None:
    text = "\x1b[31mloss\x1b[0m 3\r\n10%\r50%\r100%\n\x1b]0;title\x07a\tb\x08\x00\x9b\u202e\u2028c\n"
    assert log_of(text).json()["text"] == "loss 3\n100%\na\tb c\n"


@pytest.mark.parametrize("tail", [0, 10_001])
def test_a_tail_out_of_range_is_refused(log_of: Callable[..., Any], tail: int) -> None:
    answer = log_of("a\n", tail=tail)
    assert answer.status_code == 422
    assert "must be from 1 to 1e4" in answer.json()["detail"]
