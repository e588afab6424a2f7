"""Prints a line and hangs."""

import time

print("step 1 loss 3.1234", flush=True)
time.sleep(600)
