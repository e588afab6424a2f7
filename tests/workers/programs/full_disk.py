"""Not a program: keeps ``fills_disk.py`` in a folder whose disk is small, and prints how that ended."""

import sys
from pathlib import Path

from tests.workers.programs.keeping import keep, losses, notices, order_for

order = order_for(Path(sys.argv[1]), "fills_disk.py", *sys.argv[1:], io_seconds=float(sys.argv[2]))
ended, entries = keep(order)
print(ended.cause, ended.code, len(losses(entries)), *notices(entries))
