"""A held-out scale of a known best loss and bowl, and the results of contenders there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from orchestrator.documents.comparisons import ExpectedBowl, PlannedContender
from orchestrator.heldout.run_groups import GroupResult, RunGroup
from orchestrator.spec import CellRole
from tests.known_law import rise

EXPECTED = ExpectedBowl(curvature=0.03, asymmetry=0.7, noise=0.0015)
"""The shape that a law expects: near the truth, not at it."""

CONTENDERS = {"Fitting": 5e-3, "the same rate": 8e-3, "Step Law": 2.8e-2, "Zhou": 3.1e-3}
TRANSFER_LOSS = 0.006
"""Excess loss of Transfer, whose rate is in units of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Bowls of a known bottom, with noise that seeds share and noise of each run."""

    seeds: int = 3
    loss: float = 1.7
    optimum: float = 4e-3
    curvature: float = 0.039
    asymmetry: float = 0.5
    seed_sd: float = 0.004
    noise: float = 0.001
    reference: tuple[float, ...] = (1.6e-3, 2.8e-3, 8.9e-3, 1.6e-2)
    rates: dict[str, float] = field(default_factory=lambda: dict(CONTENDERS))

    @property
    def contenders(self) -> tuple[PlannedContender, ...]:
        own = [
            PlannedContender(name=name, arm=CellRole.STANDARD, learning_rate=rate, origin="a test")
            for name, rate in self.rates.items()
        ]
        return (
            *own,
            PlannedContender(name="Transfer", arm=CellRole.TRANSFER, learning_rate=8e-3, origin="a test"),
        )

    def excess_loss(self, name: str) -> float:
        """The true excess loss of a contender."""
        return TRANSFER_LOSS if name == "Transfer" else math.expm1(self._height(self.rates[name]))

    def _height(self, rate: float) -> float:
        return float(self.curvature * rise(math.log(rate / self.optimum), self.asymmetry))

    def results(self, draw: int) -> dict[RunGroup, GroupResult]:
        """The results of the runs; equal draws give equal results."""
        random = np.random.default_rng(draw)
        shared = random.normal(0, self.seed_sd, self.seeds)
        heights = {
            RunGroup(CellRole.STANDARD, rate): self._height(rate)
            for rate in (*self.rates.values(), *self.reference)
        }
        heights[RunGroup(CellRole.TRANSFER, 8e-3)] = math.log1p(TRANSFER_LOSS)
        return {
            group: GroupResult(
                losses={
                    seed: self.loss * math.exp(height + shared[seed] + random.normal(0, self.noise))
                    for seed in range(self.seeds)
                }
            )
            for group, height in heights.items()
        }
