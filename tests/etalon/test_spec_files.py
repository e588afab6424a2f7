"""Files of sweeps as people save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from etalon.spec_files import naming_lines, read_spec_file
from orchestrator.errors import BadInput
from orchestrator.spec import MAX_SWEEP_BYTES, parse_spec


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("sweep.yaml", b"name: a\n"),
        ("sweep.yaml", b"\xef\xbb\xbfname: a\r\n"),
        ("sweep.json", b'{\n\t"name": "a"\n}'),
        ("sweep", b'{"name": "a"}'),
    ],
)
def test_yaml_and_json_are_read(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)

    assert read_spec_file(path) == {"name": "a"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "A sweep is a mapping of fields"),
        (b"name: \xe4", "byte 6 cannot be read. Save it as UTF-8"),
        ("name: a".encode("utf-16"), "not UTF-8"),
        (b"\n" * (MAX_SWEEP_BYTES + 1), "more than 256 KiB"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(data)

    with pytest.raises(BadInput, match=sentence):
        read_spec_file(path)


@pytest.mark.parametrize("name", ["", "none.yaml"])
def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read: (Is a directory|No such file or directory)\.$"):
        read_spec_file(tmp_path / name)


def test_a_refusal_names_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("name: a\ntrainer:\n  kind: proxi\n")

    with pytest.raises(BadInput, match=r"trainer\.kind \(line 3\): must be"), naming_lines(path):
        parse_spec(read_spec_file(path))
