"""What the keeper of a user's program costs: memory, seconds until the program starts, and lines of output a second.

Run from the repository's root: `python -m benchmarks.keeper_cost`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from workers.programs.journal import JOURNAL, Measured, read_journal
from workers.programs.kept import KeptProgram
from workers.programs.order import MARKER, KeeperOrder

LINES = 1_000_000
LOSSES = f"for i in range(1, {LINES} + 1): print(f'step {{i}} loss {{2 + 1 / i:.6f}}')"
OTHER = f"for i in range(1, {LINES} + 1): print(f'line {{i}} of a program that prints no loss at all')"
WAITS = "import time; print('step 1 loss 3.5', flush=True); time.sleep(600)"
PATTERN = {"output": r"step (?P<step>\d+) loss (?P<value>\S+)"}


def order_in(folder: Path, code: str, **changes: Any) -> KeeperOrder:
    """An order for a program of Python code."""
    marker = str(folder / "run.json")
    values: dict[str, Any] = {
        "argv": (sys.executable, "-c", code),
        "environment": {"PATH": os.environ["PATH"], MARKER: marker},
        "training": PATTERN,
        **dict.fromkeys(("start_seconds", "silence_seconds", "run_seconds"), 600.0),
    }
    return KeeperOrder(
        run_id="run",
        attempt=1,
        cwd=folder,
        folder=folder,
        marker=marker,
        report=folder / "report.jsonl",
        stop_file=folder / "stop",
        tokens=LINES,
        batch_tokens=1,
        stop_seconds=2.0,
        log_bytes=64 << 20,
        **{**values, **changes},
    )


def in_folder(measure: Callable[[Path], float]) -> float:
    """A measurement in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


def start_seconds(folder: Path) -> float:
    """From the worker's call until the program has been started."""
    before = time.perf_counter()
    kept = KeptProgram.start(order_in(folder, "pass"))
    while not read_journal(folder / JOURNAL):
        time.sleep(0.001)
    seconds = time.perf_counter() - before
    kept.wait(60)
    return seconds


def whole_seconds(folder: Path, code: str) -> float:
    """From the worker's call until the program's end is known."""
    before = time.perf_counter()
    KeptProgram.start(order_in(folder, code)).wait(600)
    return time.perf_counter() - before


def python_seconds(code: str) -> float:
    """The same program alone, its output read and thrown away."""
    before = time.perf_counter()
    environment = {"PATH": os.environ["PATH"]}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.read(1 << 18):
            pass
    return time.perf_counter() - before


def child_cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of the processes that have been started and have ended in ``work``, and of theirs."""
    before = os.times()
    work()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def memory(folder: Path, **changes: Any) -> tuple[float, float]:
    """Resident and unshared memory of a keeper whose program has printed a line and reported, in MiB."""
    order = order_in(folder, WAITS, **changes)
    order.report.write_text("")
    kept = KeptProgram.start(order)
    while not any(isinstance(entry, Measured) for entry in read_journal(folder / JOURNAL)):
        time.sleep(0.01)
    found = psutil.Process(kept.keeper_pid).memory_full_info()
    kept.kill()
    kept.wait(60)
    return found.rss / 2**20, found.uss / 2**20


def main() -> None:
    """Measure everything and print it."""
    alone = [python_seconds("pass") for _ in range(20)]
    starts = [in_folder(start_seconds) for _ in range(20)]
    wholes = [in_folder(partial(whole_seconds, code="pass")) for _ in range(20)]
    print("seconds, median (least) of 20")
    for name, seconds in (("python -c pass", alone), ("to its start", starts), ("kept to its end", wholes)):
        print(f"  {name:16} {median(seconds):.3f} ({min(seconds):.3f})")
    with tempfile.TemporaryDirectory() as folder:
        print("resident, unshared MiB: {:.1f}, {:.1f}".format(*memory(Path(folder))))
    with tempfile.TemporaryDirectory() as folder:
        events = {"tensorboard": folder, "tag": "loss"}
        print("with TensorBoard files: {:.1f}, {:.1f}".format(*memory(Path(folder), validation=events)))
    for name, code in (("lines with a loss", LOSSES), ("lines without", OTHER)):
        alone = [child_cpu_seconds(partial(python_seconds, code)) for _ in range(3)]
        kept = [child_cpu_seconds(partial(in_folder, partial(whole_seconds, code=code))) for _ in range(3)]
        added = min(kept) - min(alone)
        print(
            f"{LINES:,} {name}: {min(alone):.2f} s of CPU alone, {added:.2f} s of the keeper: {LINES / added:,.0f}/s"
        )


if __name__ == "__main__":
    main()
