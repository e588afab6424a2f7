"""``etalon serve`` as a person uses it: started, used from the command line, wounded, ended; nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.known_law import RECORDED, grid, run_table
from tests.waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

ETALON = str(Path(sys.executable).with_name("etalon"))

SPEC = """
name: replay
trainer: {kind: replay, table: runs.csv}
search: {strategy: law, stop: {interval_factor: 1.5}}
target: {params: 1.6e7, tokens: 8e8, batch_tokens: 65536}
"""


PROXY = """
name: proxy
trainer: {kind: proxy, schedule: {warmup_tokens: 2048}}
grid:
  scales: [{width: 16, depth: 1}]
  tokens: [16384, 32768]
  batch_tokens: [128]
  learning_rates: [0.002, 0.004, 0.008]
search: {strategy: grid}
"""

OURS = ("api", "cli", "etalon", "migrations", "orchestrator", "trainer", "workers")


@dataclass(frozen=True)
class Served:
    """A service of the test's own."""

    process: psutil.Process
    environment: dict[str, str]
    folder: Path
    said: str

    def etalon(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [ETALON, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.etalon(*arguments, "--json", code=code))

    def child(self, words: str) -> psutil.Process:
        return next(p for p in self.process.children() if words in " ".join(p.cmdline()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """A service of the test's own that would leave every file open, were it for the umask; ended afterwards."""
    port = free_port()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ETALON_")}
    own = {"ETALON_HOME": str(folder / "home"), "ETALON_URL": f"http://127.0.0.1:{port}"}
    environment = inherited | own | environment
    process = psutil.Popen(
        [ETALON, "serve", "--port", str(port)],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        umask=0,
    )
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "Ready" in line:
                break
        assert process.is_running(), "the service ended before it was ready"
        yield Served(process, environment, folder, "".join(said))
    finally:
        family = [process, *process.children(recursive=True)] if process.is_running() else []
        process.terminate()
        process.stderr.close()
        _, alive = psutil.wait_procs(family, timeout=60)
        for left in alive:
            left.kill()
        assert not alive, f"left running: {alive}"


@pytest.fixture
def served(tmp_path: Path, short_tmp: Path) -> Iterator[Served]:
    """A service in a home that was open to all; it leaves no folder of Ray's."""
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "api.log").touch(0o666)
    home.chmod(0o777)
    with serving(tmp_path, TMPDIR=str(short_tmp)) as service:
        yield service
    assert not list(short_tmp.glob("etalon-ray-*"))


def test_a_sweep_from_the_command_line_survives_a_killed_orchestrator(
    served: Served, short_tmp: Path, open_to_others: Callable[[Path], list[Path]]
) -> None:
    assert "open to other users of this machine" in served.said
    assert not open_to_others(served.folder / "home")
    (ray,) = short_tmp.glob("etalon-ray-*")
    assert stat.S_IMODE(ray.stat().st_mode) == 0o700

    cells = grid((1e6, 2e6, 4e6, 8e6), (1e8, 2e8, 4e8), (65_536,))
    runs = RECORDED.runs(cells, [8e-3 * 2**octave for octave in range(-3, 4)])
    (served.folder / "runs.csv").write_text(run_table(runs))
    (served.folder / "sweep.yaml").write_text(SPEC)

    plan = served.json("plan", "sweep.yaml")
    assert plan["full_grid"]["runs"] == 84
    sweep_id = served.json("sweep", "submit", "sweep.yaml")["id"]
    until(lambda: served.json("sweep", "show", sweep_id)["progress"]["batches"])
    served.child("orchestrator").send_signal(signal.SIGKILL)
    swept = served.json("sweep", "watch", sweep_id)

    assert swept["state"] == "completed"
    assert swept["cost"]["spent_flops"] < 0.6 * swept["cost"]["full_grid_flops"]
    answer = served.json("predict", sweep_id, "--params", "16e6", "--tokens", "8e8")
    truth = 1e-2 * 16**-0.3 * 8**-0.3
    assert answer["interval"]["low"] < truth < answer["interval"]["high"]
    own = served.json("predict", sweep_id)
    assert (own["target"]["params"], own["target"]["tokens"]) == (16e6, 8e8)
    assert own["learning_rate"] == answer["learning_rate"]
    assert sweep_id in served.etalon("sweep", "list")

    refused = served.json("predict", sweep_id, "--params", "1e15", "--tokens", "8e8", code=3)
    assert "params" in refused["detail"]
    assert served.json("sweep", "pause", sweep_id, code=1)["detail"]
    assert "no sweep" in served.json("sweep", "show", "0" * 32, code=2)["detail"].lower()


def test_a_proxy_is_trained_in_a_folder_with_packages_named_like_ours(
    tmp_path: Path, short_tmp: Path
) -> None:
    for name in OURS:
        (tmp_path / name).mkdir()
        for module in ("__init__.py", "__main__.py"):
            (tmp_path / name / module).write_text("raise SystemExit('this is the code of the user')")
    (tmp_path / "sweep.yaml").write_text(PROXY)

    relative = {"ETALON_HOME": "home", "ETALON_DATABASE_URL": "sqlite:///runs.db"}
    with serving(tmp_path, TMPDIR=str(short_tmp), **relative) as service:
        sweep_id = service.json("sweep", "submit", "sweep.yaml")["id"]
        swept = service.json("sweep", "watch", sweep_id)

    assert swept["state"] == "completed"
    assert swept["cost"]["spent_flops"] > 0
    assert (tmp_path / "runs.db").is_file()
    assert not list((tmp_path / "home" / "empty").iterdir())


def test_it_refuses_to_be_reachable_without_a_token(tmp_path: Path) -> None:
    done = subprocess.run(
        [ETALON, "serve", "--host", "0.0.0.0"],
        env=dict(os.environ) | {"ETALON_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "etalon token create" in done.stderr
