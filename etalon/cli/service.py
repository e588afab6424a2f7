"""Supervises Etalon's processes on one machine: Ray, the API and the orchestrator."""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from etalon.cli.admin import open_store
from orchestrator.errors import BadInput, EtalonError
from orchestrator.private import make_empty_folder, make_folder, restrict_umask
from orchestrator.processes import Child, end_all
from orchestrator.settings import Settings
from workers.ray_folder import RayFolder

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
RAY_PORTS: Final = range(26379, 26479)
STOP_SECONDS: Final = 30.0
"""Longer than the orchestrator gives its drivers to end (``orchestrator.loop.leader``)."""
MOST_RESTARTS: Final = 5
TAIL_LINES: Final = 20
PR_SET_CHILD_SUBREAPER: Final = 36


class ServiceFailed(EtalonError):
    """A process keeps dying, or the service is not ready in time."""

    title = "The service could not run"


def _adopt_orphans() -> None:
    """Become the parent of processes that a killed child leaves behind, to end them later (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _end_orphans() -> None:
    """End the processes that killed children left behind: drivers and Ray's workers."""
    import psutil

    orphans = psutil.Process().children(recursive=True)
    for orphan in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=STOP_SECONDS)
    for orphan in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()


def port_is_free(host: str, port: int) -> bool:
    """Whether nothing listens on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str, wanted: range) -> int:
    """The first free port of a range.

    Raises:
        ServiceFailed: none is free.
    """
    for port in wanted:
        if port_is_free(host, port):
            return port
    raise ServiceFailed(f"No port from {wanted[0]} to {wanted[-1]} is free on {host}.")


@dataclass(slots=True)
class Service:
    """Etalon on this machine. Use it as a context, which ends every process that it started.

    Args:
        settings: name the home; a local Ray is started unless they name a cluster.
        host, port: of the API.

    Raises:
        BadInput: on entering, if the address is beyond loopback without a token, the port is in use, the home cannot be
            written, or another version of Etalon made the database.
    """

    settings: Settings
    host: str
    port: int
    children: list[Child] = field(default_factory=list)
    ray_folder: RayFolder | None = None

    @property
    def url(self) -> str:
        """Base URL of the API and the dashboard."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{'127.0.0.1' if self.host in {'0.0.0.0', '::'} else host}:{self.port}"  # noqa: S104

    def __enter__(self) -> Self:
        restrict_umask()
        self._check_address()
        _adopt_orphans()
        make_folder(self.settings.home / "logs")
        make_empty_folder(self.settings.empty_folder)
        environment = self._environment()
        api = [sys.executable, "-m", "api", "--host", self.host, "--port", str(self.port)]
        try:
            self._start("api", api, environment)
            if self.settings.ray_address is None:
                self._start("ray", self._ray_command(environment), environment)
            self._start("orchestrator", [sys.executable, "-m", "orchestrator"], environment)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, the orchestrator with its drivers first."""
        for name in ("orchestrator", "api", "ray"):
            for child in self.children:
                if child.name == name:
                    end_all([child], STOP_SECONDS)
        self.children.clear()
        _end_orphans()
        if self.ray_folder is not None:
            self.ray_folder.close()
            self.ray_folder = None

    def tend(self) -> None:
        """Restart processes that have died.

        Raises:
            ServiceFailed: a process keeps dying; the message shows the end of its log.
        """
        for child in self.children:
            if child.is_alive() or child.is_resting():
                continue
            if child.deaths > MOST_RESTARTS:
                end = "\n".join(child.tail(TAIL_LINES))
                raise ServiceFailed(f"{child.name} died {child.deaths} times in a row. Its log ends:\n{end}")
            child.start()

    def _check_address(self) -> None:
        with open_store(self.settings) as store:
            protected = store.tokens.any()
        if self.host not in LOOPBACK and not protected:
            raise BadInput(
                f"--host {self.host} is reachable from other machines, and no token protects the service. "
                "Create one first with `etalon token create NAME --scope admin`, or bind to 127.0.0.1."
            )
        if not port_is_free(self.host, self.port):
            raise BadInput(f"Port {self.port} on {self.host} is in use; choose another with --port.")

    def _environment(self) -> dict[str, str]:
        environment = self.settings.child_environment()
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if self.settings.ray_address is None:
            environment |= {
                "ETALON_RAY_ADDRESS": f"127.0.0.1:{free_port('127.0.0.1', RAY_PORTS)}",
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            }
        return environment

    def _ray_command(self, environment: Mapping[str, str]) -> list[str]:
        self.ray_folder = RayFolder()
        host, port = environment["ETALON_RAY_ADDRESS"].split(":")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--node-ip-address={host}", f"--port={port}", f"--temp-dir={self.ray_folder.temp_dir}"]
        return [*command, "--include-dashboard=false", "--include-log-monitor=false", "--disable-usage-stats"]

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        output = self.settings.home / "logs" / f"{name}.log"
        child = Child(
            name,
            command,
            output,
            folder=self.settings.empty_folder,
            environment=environment,
            ends_with_parent=True,
        )
        self.children.append(child)
        child.start()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C within the block."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def wait_until(condition: Callable[[], bool], service: Service, seconds: float) -> None:
    """Wait for a condition while tending the service.

    Raises:
        ServiceFailed: it was not true in time, or a process keeps dying.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceFailed(f"The service was not ready after {seconds:.0f} seconds.")
        service.tend()
        time.sleep(0.1)
