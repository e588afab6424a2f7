"""A coloured progress bar with carriage returns."""

import sys

for step in range(1, 21):
    sys.stdout.write(f"\r\x1b[32mstep {step} loss {2 + 1 / step:.4f}\x1b[0m")
sys.stdout.write("\r\nready\r\n")
