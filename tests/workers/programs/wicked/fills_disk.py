"""Writes into the folder that it is told until something stops it."""

import sys
import time
from pathlib import Path

print("step 1 loss 3.1234", flush=True)
with (Path(sys.argv[1]) / "checkpoint").open("wb", buffering=0) as file:
    while True:
        try:
            file.write(bytes(1 << 16))
        except OSError:
            print("x" * 1000, flush=True)
            time.sleep(0.01)
        time.sleep(0.001)
