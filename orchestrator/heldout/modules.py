"""Module-wise rates: Optuna searches multipliers of the global rate at the base proxy, one stack of trials at a time.

A study lives in memory and is rebuilt from the runs for every batch, as the baseline strategies rebuild theirs: trials
in the order of their texts, the sampler's seed from their number. The first trial has no multipliers at all. All trials
share a seed, so they differ by their multipliers and not by the order of their data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal

import numpy as np

from orchestrator.errors import Unsupported
from orchestrator.heldout.module_rates import Module, read, rounded, written

STACK: Final = 4
"""Trials that one worker trains at once: more would leave the sampler fewer occasions to learn."""

SAMPLERS: Final = {"tpe": "TPESampler", "gp": "GPSampler"}

NONE: Final = ""
"""The text of no multipliers."""

MOST_REPEATS: Final = 50
"""Draws in a row that may repeat earlier trials before the next are drawn evenly, and before no more are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A run of the search that has ended.

    Attributes:
        module_rates: its multipliers, as text.
        loss: None where it diverged, which is worse than any loss, and where it failed.
        failed: whether the machine lost it: that says nothing of its multipliers.
    """

    module_rates: str
    loss: float | None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSearch:
    """What is searched, and how.

    Attributes:
        modules: those that get a multiplier of their own, in one order.
        runs: trials in all, the one without multipliers included.
        span: multipliers lie within [1/span, span], above 1.
        sampler: Optuna's.
        at_once: trials of one batch.
    """

    modules: tuple[Module, ...]
    runs: int
    span: float
    sampler: Literal["tpe", "gp"]
    at_once: int

    def next_trials(self, ended: Sequence[Trial]) -> tuple[str, ...]:
        """The texts of the next batch; none when all trials are there, or no others can be told apart.

        Args:
            ended: the trials so far, none of them open, in any order.

        Raises:
            Unsupported: Optuna, or what its sampler needs, is not installed.
        """
        count = min(self.at_once, self.runs - len(ended))
        if count <= 0:
            return ()
        known = {trial.module_rates for trial in ended}
        first = () if NONE in known else (NONE,)
        return first + self._drawn(ended, known | set(first), count - len(first))

    def best(self, ended: Sequence[Trial]) -> Trial | None:
        """The trial of the lowest loss, of equal ones the first by text; None where none completed."""
        completed = [trial for trial in ended if trial.loss is not None]
        return min(completed, key=lambda trial: (trial.loss, trial.module_rates), default=None)

    def _drawn(self, ended: Sequence[Trial], known: set[str], count: int) -> tuple[str, ...]:
        """New texts from the sampler, and from an even draw where it repeats itself again and again."""
        random = np.random.default_rng([len(ended), self.runs])
        study, space = self._study(ended, int(random.integers(2**31)))
        drawn: list[str] = []
        repeats = 0
        while len(drawn) < count and repeats < 2 * MOST_REPEATS:
            values = study.ask(space).params if repeats < MOST_REPEATS else self._even(random)
            text = written(values)
            repeats = repeats + 1 if text in known else 0
            if text not in known:
                drawn.append(text)
                known = known | {text}
        return tuple(drawn)

    def _even(self, random: np.random.Generator) -> dict[str, float]:
        """A point drawn evenly in the logarithms."""
        values = self.span ** random.uniform(-1, 1, len(self.modules))
        return dict(zip(self.modules, values.tolist(), strict=True))

    def _study(self, ended: Sequence[Trial], seed: int) -> tuple[Any, dict[str, Any]]:
        optuna = self._library()
        reach = optuna.distributions.FloatDistribution(
            rounded(1 / self.span), max(rounded(self.span), self.span), log=True
        )
        space = dict.fromkeys(self.modules, reach)
        study = optuna.create_study(sampler=self._sampler(optuna, seed))
        losses = [trial.loss for trial in ended if trial.loss is not None]
        worst = 2 * max(losses) - min(losses) if losses else 1.0
        told = [trial for trial in ended if not trial.failed]
        for trial in sorted(told, key=lambda trial: trial.module_rates):
            study.add_trial(
                optuna.trial.create_trial(
                    params=self._point(read(trial.module_rates)),
                    distributions=space,
                    value=worst if trial.loss is None else trial.loss,
                )
            )
        return study, space

    def _sampler(self, optuna: Any, seed: int) -> Any:
        """The sampler, which draws the whole first batch at random."""
        return getattr(optuna.samplers, SAMPLERS[self.sampler])(seed=seed, n_startup_trials=self.at_once)

    def _point(self, multipliers: Mapping[Module, float]) -> dict[str, float]:
        return {module: multipliers.get(module, 1.0) for module in self.modules}

    def _library(self) -> Any:
        needed = ("optuna", "torch") if self.sampler == "gp" else ("optuna",)
        try:
            optuna, *_ = [import_module(name) for name in needed]
        except ImportError as error:
            raise Unsupported(
                f"The search for module-wise rates by {self.sampler} needs {' and '.join(needed)}; "
                f"{error.name} is not installed here."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna
