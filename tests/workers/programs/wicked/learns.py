"""Learns: a falling loss; the first argument is the number of steps, the second the seconds between two."""

import sys
import time

steps, pause = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
for step in range(1, steps + 1):
    print(f"step {step} loss {1 + 2 / step:.4f}", flush=True)
    time.sleep(pause)
