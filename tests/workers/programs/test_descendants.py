"""Processes are found by their marker, wherever they went."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.waiting import until
from tests.workers.programs.keeping import WICKED
from workers.programs.descendants import KEEPER_MARKER, end_marked, find_marked
from workers.programs.order import MARKER


def start(program: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, WICKED / program], env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )


def test_all_with_the_marker_are_ended_and_no_others(tmp_path):
    marker = str(tmp_path)
    marked = start("ignores_sigterm.py", **{MARKER: marker})
    orphan = start("forks_and_leaves.py", **{MARKER: marker})
    others = [start("hangs.py", **{MARKER: marker + "0"}), start("hangs.py", **{KEEPER_MARKER: marker})]
    orphan.wait(30)
    until(lambda: len(find_marked(marker)) == 3)
    assert end_marked(marker) == 3
    assert find_marked(marker) == []
    assert marked.wait(10) < 0
    assert [other.poll() for other in others] == [None, None]
    for other in others:
        other.kill()
        other.wait()
