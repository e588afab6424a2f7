"""What the machinery costs a sweep of short programs: seconds between two runs, and the CPU time of a driver.

    python -m benchmarks.program_overhead [--runs 10 1000] [--programs plain torch]

The gap is from one run's end to the next one's start on the same worker, as their keepers' journals tell them (of two
free workers, the one that was free first takes the next run). It is compared with the program's own start-up: the time
of ``python -c`` of the same code, alone on the same machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import psutil

from benchmarks.own_service import OwnService
from orchestrator.states import RUN_FINAL
from workers.programs.journal import Ended, Started

LINES: Final = "; ".join(f"print('step {step} loss {3 - step}.0000')" for step in (1, 2))
PROGRAMS: Final = {"plain": f"import argparse, json, random; {LINES}", "torch": f"import torch; {LINES}"}
WORKERS: Final = 2
BATCH: Final = 10
SEEDS_FROM: Final = 100
"""Runs from which seeds take part, so that no lattice has more rates than this."""


def trainers() -> dict[str, Any]:
    """Both programs."""
    losses = {"training": {"output": "step {step} loss {value}"}, "answer": "training.last"}
    return {
        name: {"command": ["python", "-c", code, "{learning_rate}", "{seed}"], "losses": losses}
        for name, code in PROGRAMS.items()
    }


def startup_seconds(code: str) -> list[float]:
    """Of Python with the same code, alone."""
    found = []
    for _ in range(10):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - before)
    return found


def gaps(service: OwnService, sweep_id: str) -> list[float]:
    """Seconds between an end and the next start, in the order of time."""
    entries = [entry for _, journal in service.journals(sweep_id) for entry in journal]
    moments = sorted((one for one in entries if isinstance(one, Started | Ended)), key=lambda one: one.at)
    free: list[float] = []
    found = []
    for one in moments:
        if isinstance(one, Ended):
            free.append(one.at)
        elif free:
            found.append(one.at - free.pop(0))
    return found


class DriverCpu:
    """CPU seconds of the driver's process while it is watched."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def look(self, driver: psutil.Process | None) -> None:
        """Take a reading, if there is a driver."""
        if driver is not None:
            times = driver.cpu_times()
            self._seen.append((time.monotonic(), times.user + times.system))

    @property
    def share(self) -> list[float]:
        """CPU seconds a second in each third of the time."""
        third = max(1, (len(self._seen) - 1) // 3)
        return [(cpu - before) / (at - since) for (since, before), (at, cpu) in pairwise(self._seen[::third])]


def measure(service: OwnService, program: str, runs: int) -> None:
    """Carry out a sweep and print its row."""
    seeds = max(1, runs // SEEDS_FROM)
    grid = {
        "scales": [{"params": 1e6}],
        "tokens": [2 * BATCH],
        "batch_tokens": [BATCH],
        "learning_rates": [1e-3 * 1.01**place for place in range(runs // seeds)],
        "seeds": seeds,
    }
    began, cpu = time.monotonic(), DriverCpu()
    sweep_id = service.submit(program, grid, max_parallel=WORKERS)
    look_at = 0.0

    def has_begun() -> bool:
        return any(True for _ in service.journals(sweep_id))

    service.until(has_begun, 120, "the first run has begun")
    while sum(service.store.sweeps.progress(sweep_id).get(state, 0) for state in RUN_FINAL) < runs:
        if time.monotonic() > look_at:
            cpu.look(service.driver())
            look_at = time.monotonic() + runs / 100
        time.sleep(0.5)
    service.complete(sweep_id, 120)
    seconds = time.monotonic() - began
    show(program, runs, seconds, gaps(service, sweep_id), cpu.share)


def show(program: str, runs: int, seconds: float, found: Sequence[float], shares: Sequence[float]) -> None:
    """Print a row."""
    alone = median(startup_seconds(PROGRAMS[program]))
    share = min(len(found) // 2, max(2, len(found) // 10))
    print(
        f"{program:6} {runs:5} runs in {seconds:6.1f} s  gap {median(found):.2f} s, 95 % {quantiles(found, n=20)[-1]:.2f}, "
        f"first tenth {median(found[:share]):.2f}, last {median(found[-share:]):.2f}; start-up alone {alone:.2f} s, "
        f"ratio {median(found) / alone:.1f}; CPU of the driver by thirds: "
        + ", ".join(f"{one:.0%}" for one in shares),
        flush=True,
    )


def main() -> None:
    """Prints a row for each program and number of runs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.program_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    options = parser.parse_args()
    for program in options.programs:
        for runs in options.runs:
            with (
                tempfile.TemporaryDirectory() as folder,
                OwnService(Path(folder), trainers()) as service,
            ):
                measure(service, program, runs)


if __name__ == "__main__":
    main()
