"""Closes its output and goes on reporting; the argument is the report file."""

import os
import sys
import time
from pathlib import Path

print("step 1 loss 3.5", flush=True)
os.close(1)
os.close(2)
for step in range(2, 6):
    time.sleep(0.1)
    with Path(sys.argv[1]).open("a") as report:
        report.write(f'{{"step": {step}, "loss": {3.5 - step / 10}}}\n')
os._exit(0)
