"""Not a program: keeps ``fills_disk.py`` in a folder whose disk is small, and prints how that ended."""

import sys
from pathlib import Path

from tests.workers.programs.keeping import keep, notices, order_for

ended, entries = keep(order_for(Path(sys.argv[1]), "fills_disk.py", sys.argv[1]))
print(ended.cause, *notices(entries))
