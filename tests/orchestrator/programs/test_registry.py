"""Registrations: files that only their owner may write, read field by field."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.errors import BadInput
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.registry import Registration, read_trainers

SMALLEST = """\
mine:
  command: [python, train.py, "--lr={learning_rate}", "--steps={steps}", "--width={width}", "--seed={seed}"]
  folder: .
  parameters: {width: {type: int, min: 8, max: 4096}}
  losses: {training: {output: 'step {step} loss {value}'}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "trainers"
    folder.mkdir(mode=0o700)
    return folder


def write(place: Path, text: str, name: str = "mine.yaml") -> Path:
    file = place / name
    file.write_text(text)
    file.chmod(0o600)
    return file


def mine(place: Path) -> Registration:
    return read_trainers(place).get("mine")


def fault(place: Path, text: str) -> str:
    write(place, text)
    with pytest.raises(BadInput) as refused:
        mine(place)
    assert refused.value.fields[0].path == "trainer.name"
    return refused.value.detail


def test_the_smallest_registration_works_from_a_file_and_from_a_folder(place: Path) -> None:
    file = write(place, SMALLEST)
    for where in (place, file):
        found = read_trainers(where).get("mine")
        assert found.folder == place
        assert found.checked({"width": "1k"}) == {"width": 1000}
    assert not read_trainers(place / "nothing").registered


def test_the_digest_changes_with_the_definition_and_its_config_files(place: Path) -> None:
    write(place, SMALLEST)
    first = mine(place).digest
    write(place, "# a comment\n" + SMALLEST)
    assert mine(place).digest == first
    write(place, SMALLEST.replace("4096", "4097"))
    second = mine(place).digest
    (place / "base.yaml.txt").write_text("a: 1")
    write(
        place, SMALLEST + "  files: [{from: base.yaml.txt, to: '{run_folder}/c.yaml', set: {a: '{steps}'}}]\n"
    )
    third = mine(place).digest
    (place / "base.yaml.txt").write_text("a: 2")
    assert len({first, second, third, mine(place).digest}) == 4


@pytest.mark.parametrize(
    "change",
    [
        ("folder: .", "folder: .\n  description: other words"),
        ("folder: .", "folder: .\n  seeds: true\n  limits: {tries: 3}"),
        ("max: 4096", "max: 4096, description: of the stream"),
    ],
)
def test_the_digest_is_not_of_words_and_of_defaults(place: Path, change: tuple[str, str]) -> None:
    write(place, SMALLEST)
    first = mine(place).digest
    write(place, SMALLEST.replace(*change))
    assert mine(place).digest == first


def test_a_field_that_a_later_version_adds_leaves_the_digest_as_it_is() -> None:
    given = {"command": ["a"], "schedule": {"decay_fraction": 0.1}}
    assert ProgramDefinition.model_validate(given).to_digest() == given


@pytest.mark.parametrize("config", ["a: 1\nwidth: {min: 2}\n", "mine: {a: 1}\na: 2\n", "- a\n"])
def test_a_config_file_beside_its_registration_is_no_trainer(place: Path, config: str) -> None:
    write(place, config, "base.yaml")
    write(place, SMALLEST + "  files: [{from: base.yaml, to: '{run_folder}/c.yaml', set: {a: '{steps}'}}]\n")
    write(place, "other: {command: [a], files: {}}\nthird: [files]\n", "other.yaml")
    trainers = read_trainers(place)
    assert list(trainers.registered) == ["mine"]
    assert sorted(trainers.faults) == ["other", "third"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(place: Path, mode: int) -> None:
    write(place, SMALLEST).chmod(mode)
    trainers = read_trainers(place)
    assert not trainers.registered
    ((path, error),) = trainers.faults.items()
    assert path == str(place / "mine.yaml")
    assert "chmod go-w" in error.detail


def test_a_folder_that_others_may_write_is_refused(place: Path) -> None:
    write(place, SMALLEST)
    place.chmod(0o777)
    assert not read_trainers(place).registered
    assert "may be written by others" in next(iter(read_trainers(place).faults.values())).detail


@pytest.mark.parametrize("links", [1, 2])
def test_a_link_to_where_others_may_write_is_refused(place: Path, tmp_path: Path, links: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (place / "mine.yaml").symlink_to(folder / "mine.yaml")
    if links == 1:
        write(folder, SMALLEST)
    else:
        (folder / "mine.yaml").symlink_to(write(place, SMALLEST, "text"))
    assert mine(place).folder == place
    folder.chmod(0o777)
    trainers = read_trainers(place)
    assert not trainers.registered
    assert f"{folder} may be written by others" in next(iter(trainers.faults.values())).detail


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [(0o666, 1, "base.yaml may be written by others"), (0o600, 2**20 + 1, "is larger than 1 MiB")],
)
def test_a_config_file_is_read_with_the_same_care(place: Path, mode: int, size: int, message: str) -> None:
    write(place, "#" * size, "base.yaml").chmod(mode)
    text = SMALLEST + "  files: [{from: base.yaml, to: '{run_folder}/c.yaml'}]\n"
    assert message in fault(place, text)
    error = read_trainers(place).faults["mine"]
    assert error.fields[0].path == "mine.files.0.from"


def test_a_place_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 300)
    trainers = read_trainers(place)
    assert (trainers.registered, list(trainers.faults)) == ({}, [str(place)])


def test_a_folder_that_cannot_be_listed_is_a_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)  # permissions do not hold for root, who may run this
    assert "Permission denied" in read_trainers(place).faults[str(place)].detail


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("folder: .", "foldr: ."), "foldr (line 3): unknown field; the nearest is folder"),
        (
            ("{learning_rate}", "{learning_rat}"),
            "{learning_rat} is not known here; the nearest is {learning_rate}",
        ),
        (("type: int", "type: integer"), "must be int, float, choice or text, not 'integer'"),
        (("type: int, ", ""), "parameters.width.type (line 4): is missing"),
        (("{value}", "it"), "losses.training (line 5): has no {value}"),
        (("step {step} ", ""), "has neither {step} nor {tokens}"),
        (
            ("loss {value}", "loss ({value}"),
            r"missing ), unterminated subpattern at character 18 of step {step} loss ({value}; in a regular expression [ and ( "
            r"themselves are written \[ and \(",
        ),
        (
            ("step {step}", "[step {step}]"),
            "the [ at character 1 of [step {step}] loss {value} begins a set of characters, which cannot hold {step}",
        ),
        (("loss {value}", "[^a]loss [{value}]"), "the [ at character 22 of step"),
        (("{value}", "{value} {value}"), "no regular expression: redefinition of group name 'value'"),
        (("{step}", "{steps}"), "{steps} stands for nothing here; the nearest is {step}"),
        (("{value}", "{value} {lr}"), "{lr} stands for nothing here; known are {step}, {tokens}"),
        (("min: 8", "min: 8192"), "is above max"),
        (("folder: .", "limits: {start: 10 weeks}"), "must be written like 90s, 10m or 24h"),
        (("folder: .", "limits: {log: 64 MB, run: 0}"), "limits.run"),
        (
            ("folder: .", "fork: {save: [a], checkpoint: c, arguments: [b]}"),
            "schedule (line 1): is missing: forks",
        ),
        (("{width}", "{decay_steps}"), "{decay_steps} is not known here"),
        (("folder: .", "environment: {ETALON_TOKEN: x}"), "is the service's own"),
        (("folder: .", "environment: {RAY_AUTH_TOKEN: x}"), "is the service's own"),
        (("folder: .", "environment: {A=B: x}"), "environment"),
        (("folder: .", "environment: {1 x: y}"), "environment"),
        (("folder: .", 'environment: {"x\\0": y}'), "environment"),
        (("folder: .", 'pass_environment: ["HOME\\n"]'), "pass_environment"),
        (("{width: ", "{steps: "), "parameters.steps (line 4): is the name of a value of every run"),
        (("{width: ", "{Seed: "), "parameters.Seed (line 4): is the name of a value of every run"),
        (("{width: ", "{stop: {type: int}, width: "), "parameters.stop (line 4): is the name of a value"),
        (("{width: ", "{run: {type: int}, width: "), "parameters.run (line 4): is the name of a value"),
        (("{width: ", "{Width: {type: int}, width: "), "differs from Width in its capitals alone"),
        (
            (
                "folder: .",
                "schedule: {}\n  fork: {save: ['{fork_steps}'], checkpoint: c, arguments: [b]}",
            ),
            "fork.checkpoint (line 4): must name {fork_step}",
        ),
        (
            (
                "folder: .",
                "schedule: {}\n  fork: {save: [a], checkpoint: 'fork_step-{fork_steps}', arguments: [b]}",
            ),
            "fork.checkpoint (line 4): must name {fork_step}",
        ),
        (("folder: .", "entry: 'a:b'"), "give either command"),
        (("folder: .", "processes: 2"), "belongs to launch: torchrun"),
        (("folder: .", "diverged: {output: ['(']}"), "is no regular expression"),
        (("folder: .", "losses: {}\n  folder: ."), "given twice"),
        (("folder: .", "resume: {when: out/ckpt.pt}"), "'out/ckpt.pt' is the same path for every run"),
        (
            (
                "folder: .",
                "schedule: {}\n  fork: {save: [a], checkpoint: 'out/{fork_step}', arguments: [b]}",
            ),
            "fork.checkpoint (line 4): 'out/{fork_step}' is the same path",
        ),
        (
            ("output: 'step {step} loss {value}'", "jsonl: metrics.jsonl, loss: loss, step: step"),
            "'metrics.jsonl' is the same path",
        ),
        (
            ('"--width={width}"', '"{width}"], parameters: {width: {type: int}} #'),
            "",
        ),
    ],
)
def test_every_wrong_field_is_named(place: Path, change: tuple[str, str], message: str) -> None:
    text = SMALLEST.replace(*change)
    assert text != SMALLEST
    if "given twice" in message:
        write(place, text)
        assert message in next(iter(read_trainers(place).faults.values())).detail
        return
    found = fault(place, text) if message else None
    assert found is None or message in found


def test_a_number_that_may_read_like_an_option_never_stands_alone(place: Path) -> None:
    text = SMALLEST.replace('"--width={width}"', '"{width}"').replace("min: 8", "min: -8")
    assert "write --width={width}" in fault(place, text)


def test_one_faulty_registration_leaves_the_others_alone(place: Path) -> None:
    write(place, SMALLEST + "other: {command: []}\n")
    trainers = read_trainers(place)
    assert list(trainers.registered) == ["mine"]
    assert list(trainers.faults) == ["other"]
    with pytest.raises(BadInput, match="the nearest is mine"):
        trainers.get("min")


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("first", [SMALLEST, "mine: {command: []}"])
def test_a_name_registered_more_than_once_is_nobodys(place: Path, times: int, first: str) -> None:
    write(place, first)
    for number in range(1, times):
        write(place, SMALLEST, f"n{number}.yaml")
    trainers = read_trainers(place)
    assert not trainers.registered
    assert "registered twice: in" in trainers.faults["mine"].detail


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("{type: int, min: 8, max: 64, multiple_of: 8}", 16, 12),
        ("{type: int}", "2k", 1.5),
        ("{type: float, min: 0}", 0.5, -0.1),
        ("{type: float}", 1, "a"),
        ("{type: choice, values: [adamw, 1]}", "adamw", True),
        ("{type: text, pattern: '[a-z]+'}", "abc", "abc "),
        ("{type: text, pattern: '[a-z]+'}", "abc", "--abc"),
    ],
)
def test_a_sweep_sets_a_parameter_within_its_bounds(
    place: Path, parameter: str, good: object, bad: object
) -> None:
    write(place, SMALLEST.replace("{type: int, min: 8, max: 4096}", parameter))
    found = mine(place)
    found.checked({"width": good})
    for given in ({"width": bad}, {}, {"width": good, "depth": 1}):
        with pytest.raises(ValueError, match=r"must be|no parameter"):
            found.checked(given)
