"""Leaves a grandchild with a session of its own, which outlives it."""

import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("step 20 loss 2.5", flush=True)
