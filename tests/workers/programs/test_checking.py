"""A check of a program that does everything, and of programs that do one thing wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.answers.trainers import for_readers
from orchestrator.documents.trainers import CheckDocument, CheckStep, Finding
from orchestrator.errors import BadInput
from orchestrator.programs.registry import Registration, read_trainers
from tests.workers.programs.keeping import WICKED
from workers.programs import checking
from workers.programs.check_case import CheckCase, CheckRequest, make_case
from workers.programs.check_found import Found
from workers.programs.check_runs import MadeRun, OutOfTime, visible_gpus
from workers.programs.checking import ExpectedPlan, check
from workers.programs.descendants import find_marked
from workers.programs.disturbed_runs import UndisturbedRun

FIELDS: dict[str, Any] = {
    "command": [
        "python",
        "breakable.py",
        "--breaks={breaks}",
        "--rate={learning_rate}",
        "--steps={steps}",
        "--decay={decay_steps}",
        "--pause={pause}",
        "--folder={run_folder}",
    ],
    "folder": str(WICKED),
    "parameters": {
        "breaks": {"type": "text", "pattern": "[a-z_,]*", "default": ""},
        "pause": {"type": "float", "min": 0, "default": 0.01},
    },
    "schedule": {"decay_fraction": 0.2},
    "losses": {"training": {"output": "step {step} loss {value}"}, "answer": "training.last"},
    "resume": {"when": "{run_folder}/state.json", "arguments": []},
    "fork": {
        "save": ["--save-at={fork_steps}"],
        "checkpoint": "{trunk_folder}/../at-{fork_step}.json",
        "arguments": ["--from={checkpoint}"],
    },
    "limits": {"stop": "1s"},
}


class Watching:
    """Collects what a check tells, and the program's last lines by step."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[str, ...]] = {}
        self.made: MadeRun | None = None

    def begin(self, name: str) -> None: ...

    def advance(self, tokens: int, of: int) -> None: ...

    def show(self, made: MadeRun) -> None:
        self.made = made

    def end(self, step: CheckStep, lines: tuple[str, ...]) -> None:
        self.lines[step.name] = lines


def registered(folder: Path, **changes: Any) -> Registration:
    path = folder / "trainers.yaml"
    path.write_text(yaml.safe_dump({"breakable": {**FIELDS, **changes}}))
    path.chmod(0o600)
    return read_trainers(path).get("breakable")


def case_of(
    folder: Path, breaks: str = "", *, request: dict[str, Any] | None = None, **changes: Any
) -> CheckCase:
    given = {
        "params": 1000.0,
        "tokens": 4000.0,
        "batch_tokens": 100.0,
        "learning_rate": 0.1,
        **(request or {}),
    }
    scale = {"breaks": breaks, **given.pop("scale", {})}
    return make_case(registered(folder, **changes), CheckRequest(scale=scale, **given))


def checked(
    folder: Path, breaks: str = "", **more: Any
) -> tuple[CheckDocument, dict[str, CheckStep], Watching]:
    seconds, plan = more.pop("seconds", 60.0), more.pop("plan", None)
    watching, runs = Watching(), folder / "runs"
    runs.mkdir(mode=0o700)
    document = check(case_of(folder, breaks, **more), runs, seconds=seconds, watcher=watching, plan=plan)
    for run in runs.iterdir():
        assert find_marked(str(run / "run.json")) == []
    return document, {step.name: step for step in document.steps}, watching


def only(step: str) -> dict[str, Any]:
    """Changes of the registration that leave out the parts that a test does not need."""
    return {name: None for name in ("resume", "fork") if name != step}


def test_a_program_that_does_everything_passes(tmp_path: Path) -> None:
    plan = ExpectedPlan(flops=6 * 1000 * 4000 * 50, runs=50, workers=2)
    document, steps, watching = checked(tmp_path, plan=plan)

    assert {step.name: step.finding for step in document.steps} == dict.fromkeys(steps, Finding.GOOD)
    assert list(steps) == [
        *("arguments", "training", "losses", "model size", "speed"),
        *("resume", "fork", "high rate", "stop"),
    ]
    assert (document.passed, document.forks, document.params) == (True, True, 1000)
    assert (document.declared_params, document.values["breaks"]) == (1000, "")
    assert document.tokens_per_second is not None
    assert (
        1_000 < document.tokens_per_second <= 13_000
    )  # a step of 100 tokens takes 10 ms; moments of losses are vague
    assert "expected 50 runs" in steps["speed"].message
    assert "40 training losses" in steps["losses"].message
    assert "step 1, is 1.8" in steps["losses"].message
    assert "exactly that of the undisturbed run" in steps["resume"].message
    assert "from step 32" in steps["fork"].message
    assert "exactly that of the direct run" in steps["fork"].message
    assert "loss is nan" in steps["high rate"].message
    assert "by its stop file" in steps["stop"].message
    assert not any(watching.lines.values())


@pytest.mark.parametrize(
    ("breaks", "step", "finding", "says"),
    [
        ("resumes_apart", "resume", "warning", "% from that of the undisturbed run"),
        ("starts_over", "resume", "warning", "began again at its first token"),
        ("saves_nothing", "resume", "bad", "runs/resume/state.json (resume.when)"),
        ("forks_apart", "fork", "bad", "Forks are off"),
        ("forks_nearly", "fork", "warning", "% from that of the direct run"),
        ("forks_from_nothing", "fork", "bad", "began before its checkpoint"),
        ("saves_no_fork", "fork", "bad", "at-32.json"),
        ("clips", "high rate", "warning", "not called diverged"),
        ("ignores_rate", "high rate", "bad", "the rate does not reach the program"),
        ("crashes_on_nan", "high rate", "warning", "ended with exit code 1"),
        ("ignores_stop", "stop", "good", "by SIGTERM"),
        ("ignores_stop,ignores_sigterm", "stop", "warning", "by SIGKILL"),
        ("rounds", "losses", "warning", "Losses have 3 decimals"),
        ("speaks_once", "losses", "warning", "With one loss, a dead network cannot be told"),
    ],
)
def test_one_thing_that_is_wrong_is_said(
    breaks: str, step: str, finding: str, says: str, tmp_path: Path
) -> None:
    pause = "0.01" if step == "resume" else "0.003"  # it must not end before it is killed
    document, steps, _ = checked(tmp_path, breaks, request={"scale": {"pause": pause}}, **only(step))

    assert steps[step].finding == finding, steps[step]
    assert says in steps[step].message
    others = [one for name, one in steps.items() if name != step]
    assert not [one for one in others if one.finding in {"bad", "warning"}]
    assert document.passed == (finding != "bad")
    assert document.forks == (None if step != "fork" else finding != "bad")


@pytest.mark.parametrize(
    ("breaks", "changes", "says"),
    [
        ("ends_early", {}, "ended at 2 k of 4 k tokens"),
        (
            "",
            {"losses": {"training": {"output": "loss={value} at {step}"}}},
            "no line matched 'loss={value} at {step}'",
        ),
        ("", {"python": "/nowhere/python"}, "exit code 127"),
    ],
)
def test_without_a_completed_run_nothing_else_is_tried(
    breaks: str, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    document, steps, watching = checked(tmp_path, breaks, **changes)

    assert steps["training"].finding == "bad"
    assert says in steps["training"].message.replace("\u00a0", " ")
    assert watching.lines["training"]
    assert {steps[name].finding for name in ("resume", "fork", "high rate", "stop")} == {"skipped"}
    assert (document.passed, document.forks, document.tokens_per_second) == (False, False, None)
    assert "Forks are off until a check compares them" in steps["fork"].message
    assert "Forks are off" not in steps["resume"].message


@pytest.mark.parametrize(
    ("model", "declared", "finding", "says"),
    [
        ("reported", 2000.0, "bad", "it reported 1000 parameters"),
        ("declared", 2000.0, "warning", "1000, and 2000 are declared"),
        ("reported", None, "good", "write params: 1000"),
    ],
)
def test_n_is_compared_with_what_the_program_reports(
    model: str, declared: float | None, finding: str, says: str, tmp_path: Path
) -> None:
    request = {"params": declared, "scale": {"pause": "0.003"}}
    _, steps, _ = checked(tmp_path, request=request, model=model, **only("model size"))

    assert steps["model size"].finding == finding
    assert says in steps["model size"].message.replace("It", "it")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        ("", r"expected 50 runs .* take [0-9.]+ (min [0-9]+ )?s on 2"),
        ("hides_size", "is not priced, because N of"),
    ],
)
def test_a_plan_is_priced_with_a_known_n_only(breaks: str, says: str, tmp_path: Path) -> None:
    plan = ExpectedPlan(flops=6 * 1000 * 4000 * 50, runs=50, workers=2)
    request = {"params": None, "scale": {"pause": "0.003"}}
    _, steps, _ = checked(tmp_path, breaks, request=request, plan=plan, **only("speed"))

    assert re.search(says, steps["speed"].message.replace("\u00a0", " "))


@pytest.mark.parametrize(
    ("breaks", "step", "changes", "private"),
    [
        ("saves_nothing", "resume", only("resume"), "state.json"),
        (
            "",
            "training",
            {"losses": {"training": {"jsonl": "{run_folder}/my metrics.jsonl", "loss": "a", "step": "b"}}},
            "my metrics",
        ),
        (
            "",
            "arguments",
            {"files": [{"from": "LIST", "to": "{run_folder}/c", "set": {"b": 1}}]},
            "list.yaml",
        ),
    ],
)
def test_what_is_for_operators_is_known_apart(
    breaks: str, step: str, changes: dict[str, Any], private: str, tmp_path: Path
) -> None:
    (tmp_path / "list.yaml").write_text("[]")
    for file in changes.get("files", ()):
        file["from"] = str(tmp_path / "list.yaml")
    _, steps, _ = checked(tmp_path, breaks, request={"scale": {"pause": "0.003"}}, **changes)

    assert private in steps[step].message
    assert private not in for_readers(steps[step]).message
    assert str(tmp_path) not in for_readers(steps[step]).message


def test_a_check_ends_in_its_time(tmp_path: Path) -> None:
    document, steps, watching = checked(tmp_path, request={"scale": {"pause": "0.2"}}, seconds=1.5)

    assert (document.passed, document.forks) == (False, False)
    assert "time was over at" in steps["training"].message
    assert watching.lines["training"][0].startswith("step 1 loss")


def test_forks_are_off_where_the_time_is_over_before_one_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(direct: UndisturbedRun) -> Found:
        raise OutOfTime

    monkeypatch.setattr(checking, "fork", too_long)
    document, steps, _ = checked(tmp_path, request={"scale": {"pause": "0.003"}}, **only("fork"))

    assert (document.passed, document.forks) == (True, False)
    assert "more --minutes. Forks are off" in steps["fork"].message


def test_a_run_that_is_over_at_once_is_made_longer(tmp_path: Path) -> None:
    request = {"tokens": None, "scale": {"pause": "0"}}
    _, steps, _ = checked(tmp_path, request=request, **only("training"))

    made, *_ = steps["training"].message.split()
    assert int(made) >= 400
    assert {step.finding for step in steps.values()} == {"good", "skipped"}


def test_a_program_that_completes_its_run_has_not_heeded_the_stop(tmp_path: Path) -> None:
    request = {"scale": {"pause": "0"}}
    _, steps, _ = checked(tmp_path, "ignores_stop", request=request, limits={"stop": "12s"}, **only("stop"))

    assert "so nothing is known" in steps["stop"].message


def test_secrets_are_shown_to_nobody(tmp_path: Path) -> None:
    command = [*FIELDS["command"], "--breaks=sesame_open"]
    environment = {"DATA_TOKEN": "sesame_open", "PLACE": "behind sesame_open"}
    changes = {
        "command": command,
        "environment": environment,
        "losses": {"training": {"output": "{step} {value}"}},
    }
    _, _, watching = checked(tmp_path, "ends_early", **changes)

    assert watching.made is not None
    assert "sesame_open" not in repr(watching.made)
    assert watching.made.environment["PLACE"] == "behind •••"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"params": None}, "--params is missing: command.8"),
        ({"scale": {"breaks": "Ä"}}, "--scale: breaks"),
        ({"scale": {"brakes": "x"}}, "brakes is no parameter"),
        ({"scale": {"pause": "-1"}}, "at least 0"),
        ({"tokens": 300.0}, "at least 400"),
        ({"batch_tokens": 96.0}, "whole number"),
        ({"batch_tokens": None, "tokens": None}, "give one with --batch-tokens.*batch_tokens = 4194304, and"),
    ],
)
def test_what_cannot_be_run_is_refused(request_: dict[str, Any], says: str, tmp_path: Path) -> None:
    command = [*FIELDS["command"], "--start={params}", "--start={batch_tokens/50}"]
    with pytest.raises(BadInput, match=says):
        case_of(tmp_path, request=request_, command=command)


def test_a_batch_is_found_and_a_warmup_is_left_room(tmp_path: Path) -> None:
    schedule = {"warmup_tokens": 3000 * 100, "decay_fraction": 0.5}
    command = [*FIELDS["command"], "--start={batch_tokens/16384}"]
    small = case_of(tmp_path, request={"batch_tokens": None, "tokens": None}, command=command)
    long = case_of(tmp_path, request={"tokens": None}, schedule=schedule)

    assert (small.cell.batch_tokens, small.steps.total) == (16384, 40)
    assert long.steps.fork >= 1.5 * long.steps.warmup == 4500


def test_the_batch_is_not_blamed_for_what_it_cannot_mend(tmp_path: Path) -> None:
    parameters = {**FIELDS["parameters"], "width": {"type": "int", "default": 16}}
    command = [*FIELDS["command"], "--start={batch_tokens/2048}", "--width={width/3}"]
    with pytest.raises(BadInput, match=r"^command.9 .*5.33333 with width = 16, and must be a whole number"):
        case_of(
            tmp_path, request={"batch_tokens": None, "tokens": None}, command=command, parameters=parameters
        )


def test_a_batch_that_the_program_is_not_told_is_assumed(tmp_path: Path) -> None:
    _, assumed, _ = checked(tmp_path, request={"batch_tokens": None, "tokens": 40_960.0}, **only("speed"))

    assert "steps of 1.02 k tokens, which are assumed" in assumed["speed"].message.replace("\u00a0", " ")
    assert not case_of(tmp_path).assumes_batch


def test_a_required_parameter_is_asked_for(tmp_path: Path) -> None:
    parameters = {**FIELDS["parameters"], "width": {"type": "int", "min": 16}}
    with pytest.raises(
        BadInput, match="--scale must give width, which must be a whole number of at least 16"
    ):
        case_of(tmp_path, parameters=parameters)


def test_gpus_are_the_first_that_are_visible() -> None:
    assert visible_gpus(0, "0,1") == ""
    assert visible_gpus(2, None) == "0,1"
    assert visible_gpus(2, "3,5,7") == "3,5"
    with pytest.raises(BadInput, match="shows 1 here"):
        visible_gpus(2, "3")


def test_a_checkpoint_that_is_not_there_is_told_with_the_files_that_are(tmp_path: Path) -> None:
    fork = {**FIELDS["fork"], "checkpoint": "{trunk_folder}/at-{fork_step}.json"}
    resume = {"when": "{run_folder}/elsewhere.json", "arguments": []}
    _, steps, _ = checked(tmp_path, fork=fork, resume=resume)
    assert "What the program wrote: {run_folder}/state.json." in steps["resume"].message
    assert "What the program wrote: {run_folder}/at-32.json, {run_folder}/at-64.json" in steps["fork"].message
    assert "at-32.json" not in for_readers(steps["fork"]).message


def test_a_program_that_is_not_given_its_rate_is_told_at_once(tmp_path: Path) -> None:
    command = [part for part in FIELDS["command"] if "learning_rate" not in part]
    _, steps, _ = checked(tmp_path, command=[*command, "--rate=0.1"], **only("arguments"))
    assert steps["arguments"].finding == "warning"
    assert "has {learning_rate} in no argument" in steps["arguments"].message
