"""Prints half a line and waits; then the rest, and a last line without an end."""

import sys
import time

sys.stdout.write("step 1 lo")
sys.stdout.flush()
time.sleep(0.6)
sys.stdout.write("ss 3.25\nstep 2 loss 3.125")
