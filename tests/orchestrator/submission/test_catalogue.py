"""Sweeps of registered programs at their submission: cells, notices, forks that a check has turned off."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.answers.waiting import waits_because
from orchestrator.documents.events import ScheduleDocument, TrainerEvent
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.errors import BadInput, Conflict
from orchestrator.programs.registry import Trainers, read_trainers
from orchestrator.settings import Settings
from orchestrator.spec import FIRST_RUNS, SweepSpec, parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LossPoint, RunResult, Sweep
from orchestrator.submission import catalogue
from orchestrator.submission.preview import preview, submit
from orchestrator.submission.resumption import resume
from tests.bench import Bench

FORK = {
    "save": ["--at={fork_steps}"],
    "checkpoint": "{trunk_folder}/{fork_step}",
    "arguments": ["--from={checkpoint}"],
}
PROGRAM: dict[str, Any] = {
    "command": ["python", "train.py", "--lr={learning_rate}", "--steps={steps}", "--accum={batch_tokens/64}"],
    "parameters": {"width": {"type": "int", "min": 8, "max": 64}},
    "schedule": {"decay_fraction": 0.2},
}


def settings(tmp_path: Path, **fields: Any) -> Settings:
    place = tmp_path / "trainers"
    place.mkdir(mode=0o700, exist_ok=True)
    file = place / "mine.yaml"
    file.write_text(
        json.dumps({"mine": {name: value for name, value in (PROGRAM | fields).items() if value is not None}})
    )
    file.chmod(0o600)
    return Settings(home=tmp_path, trainers=place)


def sweep(**grid: Any) -> SweepSpec:
    return parse_spec(
        {
            "name": "own",
            "trainer": {"kind": "command", "name": "mine"},
            "grid": {
                "scales": [{"params": 1e6, "with": {"width": 16}}, {"params": 2e6, "with": {"width": 32}}],
                "tokens": [100_000, 200_000],
                "batch_tokens": [1_024],
                "learning_rates": [1e-3, 2e-3, 4e-3],
                **grid,
            },
            "resources": {"max_parallel": 8},
        }
    )


def checked(*steps: CheckStep, passed: bool = True, forks: bool | None = None) -> CheckDocument:
    return CheckDocument(
        passed=passed,
        forks=forks,
        tokens_per_second=None,
        params=None,
        steps=list(steps),
        checked_at=datetime(2026, 12, 1, tzinfo=UTC),
    )


def codes(store: Store, configured: Settings, spec: SweepSpec | None = None) -> dict[str, str]:
    found = preview(spec or sweep(), store, configured).notices
    return {notice.code: notice.message for notice in found}


def test_a_plan_says_that_the_trainer_is_unchecked_and_what_forks_would_save(
    store: Store, tmp_path: Path
) -> None:
    found = codes(store, settings(tmp_path))
    assert "etalon trainer check mine" in found["trainer_unchecked"]
    assert "save up to 27%" in found["no_forks"]
    assert "no_forks" not in codes(store, settings(tmp_path), sweep(tokens=[100_000]))
    assert "no_forks" not in codes(store, settings(tmp_path, fork=FORK))


def test_a_folder_or_interpreter_that_is_not_here_is_told_without_its_path(
    store: Store, tmp_path: Path
) -> None:
    assert "trainer_missing" not in codes(store, settings(tmp_path))
    found = codes(store, settings(tmp_path, folder="hunter2"))["trainer_missing"]
    assert found.startswith("folder of mine cannot be found")
    no_program = settings(tmp_path, python="hunter2")
    (tmp_path / "trainers" / "hunter2").write_text("no program")
    told = codes(store, no_program)["trainer_missing"]
    assert told.startswith("python of mine cannot be found")
    assert "hunter2" not in found + told


def test_a_check_is_kept_with_the_definition_that_it_was_made_of(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path, fork=FORK)
    digest = read_trainers(configured.trainers).get("mine").digest
    store.trainer_checks.write(digest, checked())
    assert "trainer_unchecked" not in codes(store, configured)
    assert "trainer_unchecked" in codes(store, settings(tmp_path, fork=FORK, limits={"tries": 5}))


def test_a_program_that_is_not_given_its_rate_is_told_until_a_check_has_passed_it(
    store: Store, tmp_path: Path
) -> None:
    assert "rate_not_given" not in codes(store, settings(tmp_path))
    given = settings(
        tmp_path, command=["train", "{width}"], environment={"END": "{final_learning_rate}"}, schedule={}
    )
    assert "rate_not_given" not in codes(store, given)

    configured = settings(tmp_path, command=["train", "{width}"])
    assert "all runs of a cell train alike" in codes(store, configured)["rate_not_given"]
    store.trainer_checks.write(read_trainers(configured.trainers).get("mine").digest, checked())
    assert "rate_not_given" not in codes(store, configured)


def test_forks_that_differ_from_direct_runs_are_off(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path, fork=FORK)
    trunks = {cell.trunk for cell in store.sweeps.cells(submit(sweep(), store, configured)[0].id)}
    assert len(trunks) == 2
    step = CheckStep(name="fork", finding=Finding.BAD, message="The fork ends at 2.0, the direct run at 3.0.")
    digest = read_trainers(configured.trainers).get("mine").digest
    store.trainer_checks.write(digest, checked(step, passed=False, forks=False))
    found = codes(store, configured)
    assert "The fork ends at 2.0" in found["trainer_check_failed"]
    assert "so they are off" in found["no_forks"]
    apart = store.sweeps.cells(submit(sweep(), store, configured)[0].id)
    assert {cell.trunk for cell in apart} == {None}


def test_forks_that_a_check_has_not_compared_are_off(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path, fork=FORK)
    digest = read_trainers(configured.trainers).get("mine").digest
    for forks in (None, False):
        store.trainer_checks.write(digest, checked(forks=forks))
        assert "did not find equal to direct runs" in codes(store, configured)["no_forks"]
    store.trainer_checks.write(digest, checked(forks=True))
    assert "no_forks" not in codes(store, configured)


def test_a_sweep_records_the_registration_and_a_resumption_the_new_one(store: Store, tmp_path: Path) -> None:
    configured = settings(tmp_path)
    created, *_ = submit(sweep(), store, configured)
    event = store.events.latest(created.id, TrainerEvent)
    assert event == TrainerEvent(
        name="mine",
        digest=read_trainers(configured.trainers).get("mine").digest,
        checked=False,
        schedule=ScheduleDocument(warmup_tokens=0, decay_fraction=0.2, final_fraction=0),
    )


@pytest.fixture
def changes_when_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Registrations that are faulty from their second reading on."""

    def read(place: Path) -> Trainers:
        found = read_trainers(place)
        settings(tmp_path, command=[])
        return found

    monkeypatch.setattr(catalogue, "read_trainers", read)


@pytest.mark.usefixtures("changes_when_read")
def test_a_submission_is_of_one_registration_though_its_file_changes(store: Store, tmp_path: Path) -> None:
    first = read_trainers(settings(tmp_path).trainers).get("mine").digest
    created, is_new, notices = submit(sweep(), store, settings(tmp_path))
    event = store.events.latest(created.id, TrainerEvent)
    assert event is not None
    assert (is_new, event.digest) == (True, first)
    assert "trainer_unchecked" in {notice.code for notice in notices}
    assert "trainer_unchecked" in codes(store, settings(tmp_path))


def test_a_repeated_request_returns_its_sweep_though_the_registration_is_faulty_now(
    store: Store, tmp_path: Path
) -> None:
    first, *_ = submit(sweep(), store, settings(tmp_path), idempotency_key="k", submitted_by="ada")
    faulty = settings(tmp_path, command=[])
    again, is_new, notices = submit(sweep(), store, faulty, idempotency_key="k", submitted_by="ada")
    assert (again.id, is_new, notices) == (first.id, False, [])
    with pytest.raises(Conflict, match="another specification"):
        submit(sweep(tokens=[100_000]), store, faulty, idempotency_key="k", submitted_by="ada")
    with pytest.raises(BadInput, match="is faulty at command"):
        submit(sweep(), store, faulty, idempotency_key="k", submitted_by="grace")


def paused(store: Store, configured: Settings, **grid: Any) -> Sweep:
    created, *_ = submit(sweep(**grid), store, configured)
    return store.sweeps.move(created.id, SweepState.PAUSED)


def test_a_sweep_goes_on_with_another_registration_that_makes_the_same_runs(
    store: Store, tmp_path: Path
) -> None:
    there = paused(store, settings(tmp_path, fork=FORK))
    changed = settings(tmp_path, fork=FORK, limits={"tries": 5}, description="mended")
    resumed, notices = resume(there, store, changed, actor="ada")
    event = store.events.latest(there.id, TrainerEvent)
    assert event is not None
    assert event.digest == read_trainers(changed.trainers).get("mine").digest
    assert resumed.state is SweepState.QUEUED
    assert "trainer_unchecked" in {notice.code for notice in notices}


def test_runs_that_share_nothing_go_on_when_forks_are_declared(store: Store, tmp_path: Path) -> None:
    there = paused(store, settings(tmp_path))
    resumed, _ = resume(there, store, settings(tmp_path, fork=FORK))
    assert resumed.state is SweepState.QUEUED


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": None, "entry": "a:b", "fork": FORK}, "mine is registered as python"),
        ({"fork": None}, r"share trunks with a decay of 0\.2 of the tokens, and no trunk now"),
        ({"fork": FORK, "schedule": {"decay_fraction": 0.1}}, r"a decay of 0\.2 .* a decay of 0\.1 now"),
        (
            {"fork": FORK, "schedule": {"decay_fraction": 0.2, "warmup_tokens": 4096}},
            "its schedule was {warmup_tokens: 0, .*} and is {warmup_tokens: 4096, ",
        ),
        ({"fork": FORK, "parameters": {"width": {"type": "int", "max": 16}}}, "at most 16"),
        ({"fork": FORK, "parameters": {"depth": {"type": "int"}}}, "width is no parameter|is no parameter"),
        ({"fork": FORK, "seeds": False}, "takes no seed"),
        ({"fork": FORK, "command": ["train", "{batch_tokens/1000}"]}, "must be a whole number"),
        ({"fork": FORK, "command": []}, "registration is faulty at command"),
    ],
)
def test_a_sweep_does_not_go_on_with_a_registration_that_makes_other_runs(
    store: Store, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    there = paused(store, settings(tmp_path, fork=FORK), seeds=2)
    before = store.events.latest(there.id, TrainerEvent)
    with pytest.raises(Conflict, match=message):
        resume(there, store, settings(tmp_path, **fields))
    assert store.sweeps.get(there.id).state is SweepState.PAUSED
    assert store.events.latest(there.id, TrainerEvent) == before


def test_a_sweep_with_trunks_does_not_go_on_once_its_check_found_forks_to_differ(
    store: Store, tmp_path: Path
) -> None:
    configured = settings(tmp_path, fork=FORK)
    there = paused(store, configured)
    digest = read_trainers(configured.trainers).get("mine").digest
    store.trainer_checks.write(digest, checked(passed=False, forks=False))
    with pytest.raises(Conflict, match="no trunk now"):
        resume(there, store, configured)
    store.trainer_checks.write(digest, checked(forks=True))
    assert resume(there, store, configured)[0].state is SweepState.QUEUED


@pytest.mark.parametrize(
    ("grid", "fields", "message"),
    [
        ({"batch_tokens": [1_000]}, {}, r"M\sparameters.*command.4 of the trainer mine cannot be made"),
        ({"tokens": [1_024]}, {"fork": FORK}, "decays before the warmup"),
        ({"scales": [{"params": 1e6, "with": {"width": 7}}]}, {}, "from 8 to 64"),
        ({}, {"command": []}, "registration is faulty at command"),
        (
            {},
            {"command": ["train", "{width-100}"]},
            r"command\.1 of the trainer mine .*'-84', which reads like an option",
        ),
        (
            {},
            {"resume": {"when": "{run_folder}/a", "arguments": ["{width-100}"]}},
            r"resume\.arguments\.0 .* reads like an option",
        ),
    ],
)
def test_what_the_program_cannot_run_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, grid: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        submit(sweep(**grid), store, settings(tmp_path, **fields))
    assert store.sweeps.page()[0] == []


@pytest.mark.parametrize(
    "parameter", [{"type": "text", "pattern": ".*"}, {"type": "choice", "values": ["-x", "x"]}]
)
def test_a_value_never_reads_like_an_option(store: Store, tmp_path: Path, parameter: dict[str, Any]) -> None:
    parameters = {"how": parameter, "width": PROGRAM["parameters"]["width"]}
    scales = [{"params": 1e6, "with": {"width": 16, "how": "-x"}}]
    for alone in ("{how}", "{how}{width}"):
        configured = settings(tmp_path, command=["train", alone], parameters=parameters)
        with pytest.raises(BadInput, match=r"grid: at .*reads like an option.*--name="):
            submit(sweep(scales=scales), store, configured)
    for apart in ("--how={how}", "a{how}"):
        configured = settings(tmp_path, command=["train", apart], parameters=parameters)
        assert submit(sweep(scales=scales), store, configured)[1]


def test_a_key_that_its_config_file_lacks_is_refused_without_its_content(
    store: Store, tmp_path: Path
) -> None:
    files = [{"from": "secret.yaml", "to": "{run_folder}/c.yaml", "set": {"optimzer.lr": "{learning_rate}"}}]
    configured = settings(tmp_path)
    (configured.trainers / "secret.yaml").write_text("optimizer: {lr: 0.1, hunter2: 1}")
    with pytest.raises(BadInput, match="etalon trainer check mine") as refused:
        submit(sweep(), store, settings(tmp_path, files=files))
    assert refused.value.detail.startswith("trainer.name: files.0 of the trainer mine cannot be made")
    assert not any(word in refused.value.detail for word in ("secret", "hunter2", "optim"))
    files[0]["set"] = {"optimizer.lr": "{learning_rate}"}
    assert submit(sweep(), store, settings(tmp_path, files=files))[1]


def test_runs_that_wait_for_the_first_ones_say_so(store: Store, tmp_path: Path) -> None:
    bench = Bench(store)
    created, *_ = submit(sweep(), store, settings(tmp_path))
    store.sweeps.move(created.id, "running")  # type: ignore[arg-type]
    bench.ask(created.id, *((0, rate) for rate in (1e-3, 2e-3, 4e-3)), (1, 1e-3))
    fence = bench.drive(created.id)
    assert waits_because(store, store.sweeps.get(created.id)) is None
    first = [run.id for run in store.runs.pending(created.id)][:FIRST_RUNS]
    assert len(store.runs.claim(created.id, fence=fence, run_ids=first)) == FIRST_RUNS
    assert "no more are started" in str(waits_because(store, store.sweeps.get(created.id)))
    assert store.sweeps.progress(created.id)[RunState.PENDING] == 1
    store.losses.append([LossPoint(curve=first[0], step=1, tokens=1_024, loss=9.0)])
    assert waits_because(store, store.sweeps.get(created.id)) is None


def test_runs_of_one_trunk_are_one_of_the_first(store: Store, tmp_path: Path) -> None:
    bench = Bench(store)
    created, *_ = submit(sweep(), store, settings(tmp_path, fork=FORK))
    store.sweeps.move(created.id, SweepState.RUNNING)
    bench.ask(created.id, *((cell, rate) for rate in (1e-3, 2e-3, 4e-3, 8e-3) for cell in (0, 1)))
    fence = bench.drive(created.id)
    jobs: dict[float, list[str]] = {}
    for run in store.runs.pending(created.id):
        jobs.setdefault(run.learning_rate, []).append(run.id)

    def start(rate: float) -> None:
        store.runs.claim(created.id, fence=fence, run_ids=jobs[rate])

    def fail(rate: float) -> None:
        results = [RunResult(run_id=one, state=RunState.FAILED, reason="no module") for one in jobs[rate]]
        store.runs.finish(results, fence=fence)

    start(1e-3)
    start(2e-3)
    assert waits_because(store, store.sweeps.get(created.id)) is None
    fail(1e-3)
    fail(2e-3)
    assert store.runs.failed_since_begun(created.id) == 2
    for rate in (4e-3, 8e-3):
        start(rate)
    assert not store.losses.has_live(created.id)
    (run,) = (one for one in store.runs.of_sweep(created.id) if one.id == jobs[8e-3][0])
    store.losses.append([LossPoint(curve=str(run.trunk_id), step=1, tokens=1_024, loss=9.0)])
    assert store.losses.has_live(created.id)
