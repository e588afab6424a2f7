"""Real server processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """A server that listens at ``url`` and writes its log to a file."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def stop(self, *, within: float = 20.0) -> tuple[int, str]:
        """End the server; its exit status and its log."""
        self.process.terminate()
        return self.process.wait(within), self.log.read_text()


@contextmanager
def serving(database_url: str, home: Path, port: int = 0, **environment: str) -> Iterator[Server]:
    """A server over a database, by default on a free port; killed at the end."""
    own = {"ETALON_HOME": str(home), "ETALON_DATABASE_URL": database_url}
    environment = os.environ | own | environment
    command = [sys.executable, "-m", "api", "--port", str(port)]
    log = home / "server.log"
    with log.open("w") as written:
        process = subprocess.Popen(command, env=environment, stderr=written)
    try:
        yield Server(process, log, _address(process, log))
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"running on (http://[0-9.:]+)", log.read_text()):
            return found[1]
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
    raise AssertionError("the server did not start:\n" + log.read_text())
