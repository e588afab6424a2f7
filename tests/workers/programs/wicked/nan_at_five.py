"""Its loss is NaN from step 5 on; it goes on and exits 0."""

import time

for step in range(1, 100):
    loss = 3.0 if step < 5 else float("nan")
    print(f"step {step} loss {loss:.3f}", flush=True)
    time.sleep(0.02)
