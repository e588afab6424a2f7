"""Sweeps of a user's program while workers, keepers, drivers and programs die: what goes on, after how long, and how exactly.

    python -m benchmarks.disturbances [--kills 20] [--seed 1] [--folder FOLDER]

A real service carries out a sweep of a tiny training program, with ``resume`` and ``fork`` declared, twice: undisturbed,
and while processes of it get SIGKILL, or SIGSTOP and are never continued, at random moments; one disturbance does not
wait until the sweep has recovered from the one before. Limits are small: three seconds of silence, leases of a second.
The seconds are those from the signal until the program of the disturbed run was started again, or until another driver
had claimed runs; 0 if there was nothing left to do.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from benchmarks.own_service import OwnService
from workers.programs.journal import Ended, Entry, Started

VICTIMS: Final = ("worker", "keeper", "driver", "program")
SIGNALS: Final = (signal.SIGKILL, signal.SIGSTOP)

MEAN_PAUSE_SECONDS: Final = 3.0
"""Between two disturbances."""

PATIENCE_SECONDS: Final = 120.0

IMPATIENT: Final = """
import sys
from functools import partial
from orchestrator.loop import drivers, leader

DRIVER = '''
import sys
from functools import partial
from workers import command
from workers.__main__ import main
command.CommandJobFactory.silence_seconds = 3.0
command.ProgramSetup = partial(command.ProgramSetup, heartbeat_seconds=2.0)
sys.exit(main())
'''
leader.Drivers = partial(drivers.Drivers, command=lambda sweep_id: [sys.executable, "-c", DRIVER, sweep_id])
from orchestrator.__main__ import main
sys.exit(main())
"""
"""An orchestrator whose drivers give a silent worker up after three seconds, and a silent keeper after two."""

PROGRAM: Final = Path(__file__).parents[1] / "tests" / "workers" / "programs" / "tiny_trainer.py"
TINY: Final[dict[str, Any]] = {
    "command": [
        *("python", str(PROGRAM), "--lr={learning_rate}", "--steps={steps}", "--decay_steps={decay_steps}"),
        *("--seed={seed}", "--out={run_folder}", "--every=1", "--keep_every=5"),
    ],
    "schedule": {"decay_fraction": 0.2},
    "losses": {"training": {"output": "step {step} loss {value}"}, "answer": "training.last"},
    "limits": {"start": "3s", "silence": "3s", "run": "10m", "stop": "2s", "tries": 100},
    "resume": {"when": "{run_folder}/own.json"},
    "fork": {
        "save": ["--save_at={fork_steps}", "--save_to={trunk_folder}"],
        "checkpoint": "{trunk_folder}/step-{fork_step}",
        "arguments": ["--init_from={checkpoint}"],
    },
}
BATCH: Final = 10

Losses = dict[tuple[int, float], float | None]
"""By cell and learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A sweep of the tiny program.

    Attributes:
        rates: learning rates.
        steps: of the horizons.
        step_seconds: of the program's sleep after each step.
    """

    rates: tuple[float, ...]
    steps: tuple[int, ...] = (20, 40, 80)
    step_seconds: float = 0.2

    def serve(self, folder: Path) -> OwnService:
        """A service that is quick to give processes up."""
        limits = {"ETALON_LEASE_SECONDS": "1", "ETALON_TICK_SECONDS": "0.1"}
        return OwnService(folder, self.trainers, code=IMPATIENT, **limits)

    @property
    def trainers(self) -> dict[str, Any]:
        """The program as it is disturbed, and as a reference."""
        slow = [*TINY["command"], f"--step_seconds={self.step_seconds}"]
        return {"slow": TINY | {"command": slow}, "quick": TINY}

    @property
    def grid(self) -> dict[str, Any]:
        """Of the sweep."""
        return {
            "scales": [{"params": 1e6}],
            "tokens": [steps * BATCH for steps in self.steps],
            "batch_tokens": [BATCH],
            "learning_rates": list(self.rates),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """The processes that carry out one run."""

    run_id: str
    worker: int
    keeper: int
    program: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """A signal that was sent.

    Attributes:
        victim: which kind of process.
        number: the signal.
        at: Unix seconds.
        run_ids: the runs that it disturbed; empty for a driver, which carries out all.
    """

    victim: str
    number: signal.Signals
    at: float
    run_ids: tuple[str, ...]

    def seconds(self, journals: dict[str, list[Entry]], claims: Sequence[float]) -> float:
        """From the signal to the next start of the run, or to the next claim by a driver; 0 if nothing was left to do."""
        starts = [
            entry.at
            for run_id in self.run_ids
            for entry in journals.get(run_id, ())
            if isinstance(entry, Started)
        ]
        moments = claims if self.victim == "driver" else starts
        return min((at - self.at for at in moments if at > self.at), default=0.0)


def at_work(service: OwnService, sweep_id: str) -> Iterator[AtWork]:
    """The runs whose programs run now, with their processes."""
    for run_id, journal in service.journals(sweep_id):
        last = next((entry for entry in reversed(journal) if isinstance(entry, Started | Ended)), None)
        if isinstance(last, Started) and last.pid is not None:
            with suppress(psutil.Error):
                keeper, program = psutil.Process(last.keeper), psutil.Process(last.pid)
                worker = keeper.parent()
                if program.ppid() == keeper.pid and worker is not None and worker.pid > 1:
                    yield AtWork(run_id=run_id, worker=worker.pid, keeper=keeper.pid, program=program.pid)


def disturb(
    service: OwnService, sweep_id: str, kills: int, chance: random.Random, pause_seconds: float
) -> list[Disturbance]:
    """Send signals at random moments, each kind to each kind of process about equally often.

    Raises:
        TimeoutError: nothing is at work for too long: the sweep does not go on.
    """
    kinds = [(victim, number) for victim in VICTIMS for number in SIGNALS]
    chosen = [kind for _ in range(-(-kills // len(kinds))) for kind in chance.sample(kinds, len(kinds))][
        :kills
    ]
    sent = []
    for victim, number in chosen:
        time.sleep(chance.uniform(0.0, 2 * pause_seconds))
        sent.append(_send(service, sweep_id, victim, number, chance))
    return sent


def _send(
    service: OwnService, sweep_id: str, victim: str, number: signal.Signals, chance: random.Random
) -> Disturbance:
    sent: list[Disturbance] = []

    def try_to_send() -> bool:
        working = list(at_work(service, sweep_id))
        driver = service.driver()
        if not working or driver is None:
            return False
        one = chance.choice(working)
        pid = driver.pid if victim == "driver" else getattr(one, victim)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            run_ids = () if victim == "driver" else (one.run_id,)
            sent.append(Disturbance(victim=victim, number=number, at=time.time(), run_ids=run_ids))
        return bool(sent)

    service.until(try_to_send, PATIENCE_SECONDS, f"a {victim} is at work")
    return sent[0]


def faults(service: OwnService, sweep_id: str, expected: Losses) -> list[str]:
    """What is not as if nothing had happened, in words; empty if nothing is. The sweep is completed."""
    runs, found = service.runs(sweep_id), []
    ends = Counter(service.ends(sweep_id))
    found += [f"run {run.id} has {ends[run.id]} events of its end" for run in runs if ends[run.id] != 1]
    losses = losses_of(service, sweep_id)
    found += [
        f"loss of {place}: {losses.get(place)}, undisturbed {expected.get(place)}"
        for place in sorted(losses.keys() | expected.keys())
        if losses.get(place) != expected.get(place)
    ]
    left: list[psutil.Process] = []

    def is_alone() -> bool:
        left[:] = [one for one in service.processes() if one.pid != service.orchestrator.pid]
        return not left

    try:
        service.until(is_alone, PATIENCE_SECONDS, "every process but the orchestrator has ended")
    except TimeoutError:
        found += [f"left: {process}" for process in left]
    return found


def losses_of(service: OwnService, sweep_id: str) -> Losses:
    """The recorded losses of a sweep."""
    return {(run.cell, run.learning_rate): run.loss for run in service.runs(sweep_id)}


def disturbed_sweep(
    service: OwnService, workload: Workload, kills: int, seed: int, pause_seconds: float = MEAN_PAUSE_SECONDS
) -> tuple[str, list[Disturbance]]:
    """Carry out a sweep while it is disturbed: its id, and the disturbances.

    Args:
        service: that carries it out.
        workload: the sweep.
        kills: how many disturbances.
        seed: of their moments and kinds.
        pause_seconds: mean time between two of them.

    Raises:
        TimeoutError: it does not go on.
    """
    sweep_id = service.submit("slow", workload.grid)
    sent = disturb(service, sweep_id, kills, random.Random(seed), pause_seconds)
    service.complete(sweep_id, PATIENCE_SECONDS + 4 * _seconds(workload))
    return sweep_id, sent


def _seconds(workload: Workload) -> float:
    return len(workload.rates) * sum(workload.steps) * workload.step_seconds


def main() -> int:
    """Prints a row for each disturbance, and what it did not withstand; exit code 1 if there is anything."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.disturbances",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="an empty folder for the service's files, which are kept")
    options = parser.parse_args()
    rates = tuple(0.002 * 1.2**place for place in range(4 + options.kills // 2))
    workload = Workload(rates=rates)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        with workload.serve(folder) as service:
            quick = service.submit("quick", workload.grid)
            service.complete(quick, PATIENCE_SECONDS)
            began = time.time()
            sweep_id, sent = disturbed_sweep(service, workload, options.kills, options.seed)
            seconds = time.time() - began
            show(sent, dict(service.journals(sweep_id)), service.claims(sweep_id), began)
            found = faults(service, sweep_id, losses_of(service, quick))
            print(f"{len(service.runs(sweep_id))} runs in {seconds:.0f} s; faults: {len(found)}")
        found += [f"left after all: {process}" for process in service.processes()]
        print("\n".join(found))
    return bool(found)


def show(
    sent: Sequence[Disturbance], journals: dict[str, list[Entry]], claims: Sequence[float], began: float
) -> None:
    """Print the table, and the medians by what was disturbed."""
    print("     at  what     signal   seconds until its run went on")
    seconds: dict[tuple[str, str], list[float]] = {}
    for one in sent:
        took = one.seconds(journals, claims)
        seconds.setdefault((one.victim, one.number.name), []).append(took)
        print(f"{one.at - began:7.1f}  {one.victim:8} {one.number.name:8} {took:7.1f}", flush=True)
    for (victim, number), took_each in sorted(seconds.items()):
        print(
            f"{victim:8} {number:8} {len(took_each):3}  median {median(took_each):5.1f}  most {max(took_each):5.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
