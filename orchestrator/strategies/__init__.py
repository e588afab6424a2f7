"""Strategies compared on recorded runs: the excess loss of each in cells that it may not run, by the FLOPs it spent."""
