"""Golden losses: the trainer must reproduce the losses of earlier versions.

After a change that intends other losses, `python tests/trainer/test_golden.py`, from the repository's root, writes
`golden.json` again; the commit message gives the reason.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import (
    BaseScale,
    CurveEvent,
    Experts,
    FinishedEvent,
    Member,
    Parametrization,
    Recipe,
    Schedule,
    Shape,
    Training,
    TrainingJob,
    load_corpus,
)

GOLDEN = Path(__file__).with_name("golden.json")
RATES = (1e-3, 4e-3)
BATCH, HORIZONS = 128, (40 * 128, 60 * 128)
DENSE = Recipe(
    shape=Shape(width=16, depth=2), schedule=Schedule(warmup_tokens=16 * BATCH), batch_tokens=BATCH
)
MIXTURE = Experts(count=4, top_k=2, width=32, shared=1)
CASES = {
    "dense": DENSE,
    "dense without qk_norm": replace(DENSE, shape=Shape(width=16, depth=2, qk_norm=False)),
    "mixture balanced by bias": replace(DENSE, shape=Shape(width=16, depth=2, experts=MIXTURE)),
    "mixture balanced by loss": replace(
        DENSE, shape=Shape(width=16, depth=2, experts=replace(MIXTURE, balance="loss", balance_rate=None))
    ),
    "mup": replace(
        DENSE,
        shape=Shape(width=32, depth=4),
        parametrization=Parametrization(
            base=BaseScale(width=16, depth=2), rules=frozenset({"depth", "weight_decay"})
        ),
    ),
}
CASES["muon"] = replace(CASES["mixture balanced by bias"], optimizer="muon")
TOLERANCE = 1e-5
"""Nats. Without AVX, or with AVX2 for AVX-512, no loss moved by more than 4e-7."""


def text() -> bytes:
    """60,000 bytes of words that follow each other by rule and by chance; the same wherever it is made.

    From NumPy's `RandomState`, whose numbers are frozen for all time.
    """
    chance = np.random.RandomState(7)
    words = [
        "".join(chr(97 + c) for c in chance.randint(0, 26, size=chance.randint(2, 8))) for _ in range(97)
    ]
    likely = 1.0 / np.arange(1, 98)
    drawn = chance.choice(97, size=12_000, p=likely / likely.sum())
    followed = np.where(chance.random_sample(12_000) < 0.5, (np.roll(drawn, 1) * 31 + 7) % 97, drawn)
    return " ".join(words[word] for word in followed).encode()[:60_000]


def losses_of(recipe: Recipe, folder: Path) -> dict[str, list[float]]:
    """By rate: the learning curve of the trunk and of each branch, and both held-out losses of each run."""
    path = folder / "text.txt"
    path.write_bytes(text())
    members = tuple(Member(learning_rate=rate, horizons=HORIZONS) for rate in RATES)
    found: dict[str, list[float]] = {str(rate): [] for rate in RATES}
    for event in Training(
        TrainingJob(recipe=recipe, members=members), load_corpus(path), log_every=8
    ).advance():
        losses = found[str(RATES[event.member])]
        if isinstance(event, CurveEvent):
            losses += event.losses
        elif isinstance(event, FinishedEvent):
            losses += [event.loss, event.trunk_loss]
    return found


def furthest(found: dict[str, list[float]], golden: dict[str, list[float]]) -> float:
    return max(abs(a - b) for rate in golden for a, b in zip(found[rate], golden[rate], strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_training_has_the_losses_that_it_had_before(tmp_path, case):
    assert furthest(losses_of(CASES[case], tmp_path), json.loads(GOLDEN.read_text())[case]) < TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"beta2": 0.94},
        {"weight_decay": 0.12},
        {"clip": 0.95},
        {"seed": 1},
        {"qk_scale": 2.02},
        {"embedding_std": 1.01},
        {"epsilon": 1e-7},
    ],
)
def test_a_small_change_exceeds_the_tolerance(tmp_path, change):
    found = losses_of(replace(CASES["dense"], **change), tmp_path)
    assert furthest(found, json.loads(GOLDEN.read_text())["dense"]) > 2.0 * TOLERANCE


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        golden = {name: losses_of(recipe, Path(folder)) for name, recipe in CASES.items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
