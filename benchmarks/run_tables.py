"""Processor time and memory of reading a run table of a million rows, as ratios to `csv.reader` alone in the same run.

    python -m benchmarks.run_tables [--rows 1000000]

Each reader is a process of its own; memory is its peak beyond that after the imports, the file's bytes included. The
ratios count, because machines differ.
"""

import argparse
import csv
import io
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.tables.formats import read_table
from orchestrator.tables.table_notices import table_notices

HEADER = "params,tokens,batch_tokens,learning_rate,loss,seed,state,optimizer"
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def write_table(path: Path, rows: int) -> None:
    """Write a table of 45 cells and two recipes; every hundredth run diverged."""
    chance = random.Random(0)
    with path.open("w") as file:
        print(HEADER, file=file)
        for row in range(rows):
            params, tokens = 10**6 * 2 ** chance.randrange(5), 10**8 * 2 ** chance.randrange(3)
            batch, rate = 65_536 * 2 ** chance.randrange(3), chance.choice(RATES)
            loss = "" if row % 100 == 0 else f"{3 + chance.random():.5f}"
            recipe = chance.choice(("adamw", "muon"))
            print(f"{params},{tokens},{batch},{rate},{loss},{row % 50},completed,{recipe}", file=file)


def measure(reader: str, path: Path) -> None:
    """Print the processor seconds of one reader and the MB of its peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    data = path.read_bytes()
    if reader == "csv":
        for _ in csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")):
            pass
    elif reader == "table":
        read_table(data)
    else:
        table = read_table(data)
        del data
        table_notices(table.one_recipe({"optimizer": "muon"}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(time.process_time() - start, peak / 1024)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        write_table(path, options.rows)
        print("| reader | processor seconds | of csv.reader alone | MB at the peak |\n|---|---|---|---|")
        alone = None
        for reader, name in (
            ("csv", "csv.reader alone"),
            ("table", "read_table"),
            ("fit", "and one recipe, its notices"),
        ):
            command = [sys.executable, "-m", "benchmarks.run_tables", "--measure", reader, str(path)]
            seconds, peak = map(
                float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            )
            alone = alone or seconds
            print(f"| {name} | {seconds:.2f} | {seconds / alone:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
