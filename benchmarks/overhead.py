"""What the lenses and the checkpoints of a job cost, as shares of the time that training alone takes.

Run from the repository's root: `python -m benchmarks.overhead`. One thread of one CPU core. The same job runs with
lenses and without, and with checkpoints as often as a worker writes them and without any, side by side: in turns of
a few steps, so that a busy machine slows all alike. Times are of the CPU, for the lenses, and of the clock for the
checkpoints, whose writing waits for a disk.
"""

import time

from trainer import Corpus, Experts, Job, Member, Recipe, Schedule, Shape, Training, stack_limit

SHAPES = (
    Shape(width=16, depth=3),
    Shape(width=32, depth=4),
    Shape(width=64, depth=4),
    Shape(width=32, depth=2, experts=Experts(count=8, top_k=2, width=32)),
)
BATCH_TOKENS = 256
TURN = 16


def job_of(shape: Shape, steps: int) -> Job:
    """As many rates as a stack takes, about the best."""
    members = stack_limit(shape, BATCH_TOKENS)
    recipe = Recipe(shape=shape, schedule=Schedule(warmup_tokens=16_384), batch_tokens=BATCH_TOKENS)
    rates = [3e-3 * 2 ** (place / 2) for place in range(members)]
    horizons = (BATCH_TOKENS * steps,)
    return Job(recipe=recipe, members=tuple(Member(learning_rate=rate, horizons=horizons) for rate in rates))


def lens_seconds(job: Job, corpus: Corpus) -> tuple[float, float]:
    """CPU seconds of a whole job without and with lenses."""
    trainings = [Training(job, corpus, lens=lens) for lens in (False, True)]
    spent = [0.0, 0.0]
    while not all(training.done for training in trainings):
        for place, training in enumerate(trainings):
            started = time.thread_time()
            training.advance(steps=TURN)
            spent[place] += time.thread_time() - started
    return spent[0], spent[1]
