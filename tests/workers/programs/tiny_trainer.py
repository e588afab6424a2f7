"""A training program without PyTorch: its loss depends on the rates of all steps alone, so that runs are exact."""

from __future__ import annotations

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
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--decay_steps", type=int, default=0)
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--save_at", default="")
parser.add_argument("--save_to", type=Path)
parser.add_argument("--init_from", type=Path)
parser.add_argument("--every", type=int, default=5)
parser.add_argument("--keep_every", type=int, default=0)
parser.add_argument("--keep_in", type=Path)
parser.add_argument("--step_seconds", type=float, default=0.0)
parser.add_argument("--break_at", type=int, default=0)
args = parser.parse_args()

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
state = {"step": 0, "way": 0.0, "noise": 0.0}
own = args.keep_in or args.out / "own.json"
if args.keep_every and own.exists():
    state = json.loads(own.read_text())
elif args.init_from:
    state = json.loads(args.init_from.read_text())


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(state))
    beside.replace(path)


def loss() -> float:
    return 2.0 + 3.0 * math.exp(-20.0 * state["way"] / args.width) + 50.0 * state["noise"] ** 2


forks = {int(step) for step in args.save_at.split(",") if step}
while state["step"] < args.steps:
    step = state["step"]
    left = args.steps - step
    rate = args.lr * (min(1.0, left / args.decay_steps) if args.decay_steps else 1.0)
    draw = random.Random(f"{args.seed} {step}").uniform(-1.0, 1.0)
    state = {"step": step + 1, "way": state["way"] + rate, "noise": 0.9 * state["noise"] + rate * draw}
    if args.lr > 10:
        state["noise"] = math.nan
    if state["step"] % args.every == 0 or state["step"] == args.steps:
        print(f"step {state['step']} loss {loss():.6f}", flush=True)
    if state["step"] in forks:
        save(args.save_to / f"step-{state['step']}")
    if args.keep_every and state["step"] % args.keep_every == 0:
        save(own)
    if args.break_at == state["step"] and not (args.out / "broken").exists():
        (args.out / "broken").write_text("")
        sys.exit(3)
    if asked or os.path.exists(os.environ.get("ETALON_STOP", "/nowhere")):  # noqa: PTH110
        if args.keep_every:
            save(own)
        sys.exit(0)
    time.sleep(args.step_seconds)
