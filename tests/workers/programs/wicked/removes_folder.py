"""Removes the run's folder and goes on; the argument is the folder."""

import shutil
import sys
import time

print("step 1 loss 3.5", flush=True)
shutil.rmtree(sys.argv[1])
time.sleep(600)
