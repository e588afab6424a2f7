"""A worker's process: starts a keeper for the order in a file, and polls."""

import sys
import time
from pathlib import Path

from workers.programs.kept import KeptProgram
from workers.programs.order import KeeperOrder

kept = KeptProgram.start(KeeperOrder.read(Path(sys.argv[1])))
while True:
    kept.poll()
    time.sleep(0.05)
