"""Fills the disk of the folder that it is told, for good or for these seconds, and reports losses meanwhile."""

import os
import sys
import time
from pathlib import Path

path = Path(sys.argv[1]) / "checkpoint"
leave_at = time.monotonic() + float(sys.argv[3]) if len(sys.argv) > 3 else None
step = 0
with path.open("wb", buffering=0) as file:
    while leave_at is None or time.monotonic() < leave_at:
        try:
            file.write(bytes(1 << 16))
        except OSError:
            print("x" * 1000, flush=True)
            time.sleep(0.01)
        step = min(step + 1, 20)
        print(f"step {step} loss 3.1234", flush=True)
        time.sleep(0.001)
    os.truncate(path, 0)
