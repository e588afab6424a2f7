"""A service of a benchmark's own: an orchestrator whose drivers start a local Ray each, in a folder that is given."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from orchestrator.processes import kill_family
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.states import RUN_FINAL, SweepState
from orchestrator.store import Store
from orchestrator.store.records import Run
from orchestrator.submission.catalogue import ServiceCatalogue
from workers.programs.descendants import KEEPER_MARKER
from workers.programs.journal import JOURNAL, Entry, read_journal
from workers.programs.order import MARKER

MARKERS = ("ETALON_HOME", KEEPER_MARKER, MARKER)
"""Variables of the environment, one of which every process of a service has: of it, of its keepers, of its programs."""

POLL_SECONDS = 0.1


class OwnService(AbstractContextManager["OwnService"]):
    """Runs until its context is left, which ends every process of it.

    Attributes:
        settings: name a home in the given folder.
        store: its database, SQLite.
        orchestrator: the process.
    """

    def __init__(
        self, folder: Path, trainers: Mapping[str, Any], *, code: str | None = None, **environment: str
    ) -> None:
        """Start it.

        Args:
            folder: for all files; it exists.
            trainers: registrations by name.
            code: Python that runs the orchestrator; None for ``python -m orchestrator``.
            **environment: further variables of it.
        """
        home = folder / "home"
        home.mkdir(mode=0o700)
        registrations = home / "trainers.yaml"
        registrations.write_text(json.dumps(trainers))
        registrations.chmod(0o600)
        self.settings = Settings(
            home=home,
            database_url=f"sqlite:///{home / 'etalon.db'}",
            ray_address=None,
            trainers=registrations,
        )
        self.store = Store.open(self.settings.database_url)
        self.store.migrate()
        self._log = (folder / "orchestrator.log").open("wb")
        self.orchestrator = subprocess.Popen(
            [sys.executable, *(("-m", "orchestrator") if code is None else ("-c", code))],
            env={
                **self.settings.child_environment(),
                "ETALON_RAY_ADDRESS": "",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                **environment,
            },
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.store.close()
        self._log.close()

    def end(self) -> None:
        """Ask the orchestrator to end, and kill what is left."""
        if self.orchestrator.poll() is None:
            self.orchestrator.send_signal(signal.SIGTERM)
            try:
                self.orchestrator.wait(timeout=60)
            except subprocess.TimeoutExpired:
                kill_family(self.orchestrator.pid)
                self.orchestrator.wait(timeout=60)
        for process in self.processes():
            process.kill()

    def submit(self, trainer: str, grid: Mapping[str, Any], **resources: Any) -> str:
        """Submit a sweep that runs the whole grid; its id."""
        spec = SweepSpec.model_validate(
            {
                "name": trainer,
                "trainer": {"kind": "command", "name": trainer},
                "grid": grid,
                "search": {"strategy": "grid"},
                "resources": {"max_parallel": 2, "cpus_per_run": 0.5, **resources},
            }
        )
        catalogue = ServiceCatalogue(self.store, self.settings)
        cells = spec.training.cells(spec.grid, catalogue)
        sweep, _ = self.store.sweeps.create(spec, cells=cells, program=catalogue.program(trainer).event)
        return sweep.id

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for what other processes bring about.

        Raises:
            TimeoutError: it is not so in time; names ``what``.
            RuntimeError: the orchestrator has ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self.orchestrator.poll() is not None:
                raise RuntimeError(f"the orchestrator ended with exit code {self.orchestrator.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not after {seconds:g} seconds")
            time.sleep(POLL_SECONDS)

    def complete(self, sweep_id: str, seconds: float) -> None:
        """Wait until a sweep is completed and its driver has ended in order.

        Raises:
            TimeoutError: it is not.
            RuntimeError: the sweep came to another end, or the orchestrator has ended.
        """

        def is_completed() -> bool:
            sweep = self.store.sweeps.get(sweep_id)
            if sweep.state not in {SweepState.QUEUED, SweepState.RUNNING, SweepState.COMPLETED}:
                raise RuntimeError(f"the sweep is {sweep.state}: {sweep.reason}")
            return sweep.state is SweepState.COMPLETED

        self.until(is_completed, seconds, "the sweep is completed")

    def runs(self, sweep_id: str) -> list[Run]:
        """All runs of a sweep."""
        return self.store.runs.of_sweep(sweep_id)

    def ends(self, sweep_id: str) -> list[str]:
        """Ids of runs, one for each event of an end."""
        events = self.store.events.after(0, sweep_id=sweep_id, limit=100_000)
        return [
            event.data["run_id"]
            for event in events
            if event.kind == "run" and event.data["state"] in RUN_FINAL
        ]

    def claims(self, sweep_id: str) -> list[float]:
        """Unix seconds at which drivers have claimed runs, ascending."""
        events = self.store.events.after(0, sweep_id=sweep_id, limit=100_000)
        return [event.at.timestamp() for event in events if event.data.get("claimed")]

    def journals(self, sweep_id: str) -> Iterator[tuple[str, list[Entry]]]:
        """Ids and journals of the runs that have begun."""
        for path in sorted((self.settings.checkpoints / sweep_id / "runs").glob(f"*/{JOURNAL}")):
            yield path.parent.name, read_journal(path)

    def driver(self) -> psutil.Process | None:
        """The only driver's process; None while there is none."""
        children = psutil.Process(self.orchestrator.pid).children()
        return next((child for child in children if child.status() != psutil.STATUS_ZOMBIE), None)

    def processes(self) -> list[psutil.Process]:
        """All living processes of the service."""
        home = str(self.settings.home)
        return [process for process in psutil.process_iter() if _is_of(process, home)]


def _is_of(process: psutil.Process, home: str) -> bool:
    try:
        environment = process.environ()
        return (
            process.pid != os.getpid()
            and any(environment.get(name, "").startswith(home) for name in MARKERS)
            and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
        )
    except psutil.Error:
        return False
