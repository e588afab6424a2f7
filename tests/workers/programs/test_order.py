"""Orders that no keeper could carry out are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.workers.programs.keeping import order_for
from workers.programs.order import KeeperOrder


def test_an_order_survives_its_file(tmp_path):
    order = order_for(
        tmp_path, "learns.py", diverged=("nan",), stop_command=("docker", "kill", "x"), secrets=("é",)
    )
    order.write(tmp_path / "order.json")
    assert KeeperOrder.read(tmp_path / "order.json") == order


def test_a_mapping_of_any_kind_is_written(tmp_path):
    order = order_for(tmp_path, "learns.py")
    other = order_for(tmp_path, "learns.py", environment=MappingProxyType(dict(order.environment)))
    other.write(tmp_path / "order.json")
    assert KeeperOrder.read(tmp_path / "order.json") == order


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"argv": ()}, "argv is empty"),
        ({"environment": {"PATH": "/bin"}}, "ETALON_RUN"),
        ({"marker": ""}, "ETALON_RUN"),
        ({"tokens": 0}, "at least 1"),
        ({"report": Path("report.jsonl")}, "absolute path"),
        ({"diverged": ("(",)}, "no regular expression"),
        ({"training": {"output": "["}}, "no regular expression"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        order_for(tmp_path, "learns.py", **changes)


def test_a_file_that_is_no_order_is_refused(tmp_path):
    (tmp_path / "order.json").write_text(json.dumps({"argv": ["x"], "unknown": 1}))
    with pytest.raises(ValueError, match="no order"):
        KeeperOrder.read(tmp_path / "order.json")
