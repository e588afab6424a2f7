"""Descends a parabola with noise, resumes, forks and stops; ``--breaks`` names the one thing that it does wrong."""

import argparse
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("--breaks", "--save-at", "--from", "--folder"):
    parser.add_argument(name, default="")
for name in ("--rate", "--pause"):
    parser.add_argument(name, type=float)
for name in ("--steps", "--decay", "--start"):
    parser.add_argument(name, type=int, default=0)
args = parser.parse_args()
breaks = args.breaks.split(",")
if "ignores_sigterm" in breaks:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
checkpoint = Path(args.folder, "state.json")
step, weight, best = 0, 3.0, Path(vars(args)["from"])
if checkpoint.exists() and "starts_over" not in breaks:
    step, weight = json.loads(checkpoint.read_text())
    weight += "resumes_apart" in breaks
elif best.is_file() and "forks_from_nothing" not in breaks:
    step, weight = json.loads(best.read_text())
    weight += 0.5 * ("forks_apart" in breaks) + 0.02 * ("forks_nearly" in breaks)
if "hides_size" not in breaks:
    with Path(os.environ["ETALON_REPORT"]).open("a") as report:
        report.write('{"model": {"params": 1000}}\n')


def save(path):
    path.with_suffix(".part").write_text(json.dumps([step, weight]))
    path.with_suffix(".part").rename(path)


while step < args.steps:
    if Path(os.environ["ETALON_STOP"]).exists() and "ignores_stop" not in breaks:
        break
    if "ends_early" in breaks and step == args.steps // 2:
        break
    rate = 0.1 if "ignores_rate" in breaks else args.rate
    rate *= min(1.0, (args.steps - step) / max(1, args.decay))
    update = rate * weight + 0.01 * random.Random(step).gauss(0.0, 1.0)
    weight -= max(-0.1, min(0.1, update)) if "clips" in breaks else update
    loss = 1.0 + min(abs(weight), 1e100) ** 2 / 9.0
    if not math.isfinite(loss) or loss > 1e6:
        loss = math.nan
        if "crashes_on_nan" in breaks:
            sys.exit("loss is no number")
    step += 1
    if step == args.steps or "speaks_once" not in breaks:
        print(f"step {step} loss {loss:.{3 if 'rounds' in breaks else 8}f}", flush=True)
    if step % 5 == 0 and "saves_nothing" not in breaks:
        save(checkpoint)
    if str(step) in args.save_at.split(",") and "saves_no_fork" not in breaks:
        save(Path(args.folder, f"at-{step}.json"))
    time.sleep(args.pause)
