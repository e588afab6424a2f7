"""Reports NaN as a word and as null, beside a line that is no JSON; the argument is the report file."""

import sys
import time
from pathlib import Path

with Path(sys.argv[1]).open("a") as report:
    report.write('{"step": 1, "loss": 3.5}\nloss is fine\n{"step": 2, "loss": "nan"}\n')
time.sleep(600)
