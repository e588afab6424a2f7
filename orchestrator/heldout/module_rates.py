"""Module-wise rates: multipliers of the learning rate by module, their canonical text, and the search for them.

Runs carry the text, such as ``attention=0.5,embedding=2``: one text for the same multipliers. Optuna searches them at
the base proxy, one stack of trials at a time. A study lives in memory and is rebuilt from the runs for every batch:
trials in the order of their texts, the sampler's seed from their number. The first trial has no multipliers. All trials
share a seed, so they differ by their multipliers and not by the order of their data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Literal, cast, get_args

import numpy as np

from orchestrator.errors import Refused

Module = Literal["attention", "embedding", "feedforward", "head", "router"]

MODULES: Final[tuple[Module, ...]] = get_args(Module)
"""Modules of a proxy that may have a rate of their own, in the order of the canonical text."""

DIGITS: Final = 4
"""Significant digits of a multiplier: every process writes the same text, and no result depends on more."""

NO_MULTIPLIERS: Final = ""
"""The text of no multipliers."""

STACK: Final = 4
"""Trials that one worker trains at once: more would leave the sampler fewer occasions to learn."""

SAMPLERS: Final = {"tpe": "TPESampler", "gp": "GPSampler"}

MOST_REPEATS: Final = 50
"""Draws in a row that may repeat earlier trials: after these the next are drawn evenly, and after as many more none."""


def rounded(multiplier: float) -> float:
    """A multiplier with the digits that its text keeps."""
    return float(f"{multiplier:.{DIGITS}g}")


def format_module_rates(multipliers: Mapping[str, float]) -> str:
    """The canonical text of multipliers; those equal to 1 are left out.

    Raises:
        ValueError: an unknown module, or a multiplier that is not a positive number.
    """
    for module, multiplier in multipliers.items():
        if module not in MODULES:
            raise ValueError(f"unknown module {module!r}; allowed: {', '.join(MODULES)}")
        if not 0 < multiplier < float("inf"):
            raise ValueError(f"the multiplier of {module} is {multiplier!r}; it must be a positive number")
    kept = {module: rounded(multipliers[module]) for module in MODULES if module in multipliers}
    return ",".join(f"{module}={value:.{DIGITS}g}" for module, value in kept.items() if value != 1)


def parse_module_rates(text: str) -> dict[Module, float]:
    """The inverse of ``format_module_rates``; modules that the text does not name have 1.

    Raises:
        ValueError: text that is not canonical.
    """
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    found = {module: float(value) for module, _, value in pairs}
    if format_module_rates(found) != text:
        raise ValueError(f"{text!r} is not canonical; {format_module_rates(found)!r} is")
    return cast("dict[Module, float]", found)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTrial:
    """A run of the search that has ended.

    Attributes:
        module_rates: its multipliers, as text.
        loss: None if it diverged, which is worse than any loss, or failed.
        failed: whether it failed on the machine, which says nothing of its multipliers.
    """

    module_rates: str
    loss: float | None
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSearch:
    """The search for the best multipliers.

    Attributes:
        modules: with a multiplier of their own, in the order of ``MODULES``.
        runs: number of trials, the one without multipliers included.
        span: multipliers lie within [1/span, span]; above 1.
        sampler: of Optuna.
        at_once: trials of one batch.
    """

    modules: tuple[Module, ...]
    runs: int
    span: float
    sampler: Literal["tpe", "gp"]
    at_once: int

    def next_trials(self, ended: Sequence[ModuleTrial]) -> tuple[str, ...]:
        """The texts of the next batch; empty after the last trial, or if all distinct multipliers were tried.

        Args:
            ended: the trials so far, in any order; none is open.

        Raises:
            Refused: Optuna, or a library that its sampler needs, is not installed.
        """
        count = min(self.at_once, self.runs - len(ended))
        if count <= 0:
            return ()
        known = {trial.module_rates for trial in ended}
        first = () if NO_MULTIPLIERS in known else (NO_MULTIPLIERS,)
        return first + self._drawn(ended, known | set(first), count - len(first))

    def best(self, ended: Sequence[ModuleTrial]) -> ModuleTrial | None:
        """The trial of the lowest loss, the first by text among equal ones; None if none completed."""
        completed = [trial for trial in ended if trial.loss is not None]
        return min(completed, key=lambda trial: (trial.loss, trial.module_rates), default=None)

    def _drawn(self, ended: Sequence[ModuleTrial], known: set[str], count: int) -> tuple[str, ...]:
        """New texts from the sampler, and from an even draw after many repeats in a row."""
        random = np.random.default_rng([len(ended), self.runs])
        study, space = self._study(ended, int(random.integers(2**31)))
        drawn: list[str] = []
        repeats = 0
        while len(drawn) < count and repeats < 2 * MOST_REPEATS:
            values = study.ask(space).params if repeats < MOST_REPEATS else self._even(random)
            text = format_module_rates(values)
            repeats = repeats + 1 if text in known else 0
            if text not in known:
                drawn.append(text)
                known = known | {text}
        return tuple(drawn)

    def _even(self, random: np.random.Generator) -> dict[str, float]:
        """A point drawn evenly in the logarithms."""
        values = self.span ** random.uniform(-1, 1, len(self.modules))
        return dict(zip(self.modules, values.tolist(), strict=True))

    def _study(self, ended: Sequence[ModuleTrial], seed: int) -> tuple[Any, dict[str, Any]]:
        optuna = self._library()
        bounds = optuna.distributions.FloatDistribution(
            rounded(1 / self.span), max(rounded(self.span), self.span), log=True
        )
        space = dict.fromkeys(self.modules, bounds)
        study = optuna.create_study(sampler=self._sampler(optuna, seed))
        losses = [trial.loss for trial in ended if trial.loss is not None]
        worst = 2 * max(losses) - min(losses) if losses else 1.0
        informative = [trial for trial in ended if not trial.failed]
        for trial in sorted(informative, key=lambda trial: trial.module_rates):
            study.add_trial(
                optuna.trial.create_trial(
                    params=self._point(parse_module_rates(trial.module_rates)),
                    distributions=space,
                    value=worst if trial.loss is None else trial.loss,
                )
            )
        return study, space

    def _sampler(self, optuna: Any, seed: int) -> Any:
        """The sampler; it draws the whole first batch at random."""
        return getattr(optuna.samplers, SAMPLERS[self.sampler])(seed=seed, n_startup_trials=self.at_once)

    def _point(self, multipliers: Mapping[Module, float]) -> dict[str, float]:
        return {module: multipliers.get(module, 1.0) for module in self.modules}

    def _library(self) -> Any:
        needed = ("optuna", "torch") if self.sampler == "gp" else ("optuna",)
        try:
            optuna, *_ = [import_module(name) for name in needed]
        except ImportError as error:
            raise Refused(
                f"The search for module-wise rates by {self.sampler} needs {' and '.join(needed)}; "
                f"{error.name} is not installed here."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna
