"""Registrations: files that only their owner may write, read field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import BadInput
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
        (("loss {value}", "loss ({value}"), "is no regular expression"),
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
        (("{width: ", "{steps: "), "is the name of a placeholder of every run"),
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


def test_a_name_registered_twice_is_nobodys(place: Path) -> None:
    write(place, SMALLEST)
    write(place, SMALLEST, "second.yaml")
    with pytest.raises(BadInput, match="registered twice"):
        mine(place)


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
