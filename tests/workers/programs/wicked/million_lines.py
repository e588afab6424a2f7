"""Prints a million lines, every one with a loss."""

for step in range(1, 1_000_001):
    print(f"step {step} loss {2 + 1 / step:.6f}")
