"""Ignores SIGTERM, and so does its child."""

import os
import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    print("step 1 loss 3.1234", flush=True)
time.sleep(600)
