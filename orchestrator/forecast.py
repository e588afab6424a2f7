"""What a sweep is expected to spend: its strategy rehearsed on a synthetic law before anything is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.law import Law, Observations, Refused, Target, fit
from orchestrator.planner import planner_of
from orchestrator.planner.values import Cell, KnownRun, Outcome, Proposal, Question, Record, trunk_reach
from orchestrator.spec import SweepSpec

PARAMS_EXPONENT, TOKENS_EXPONENT = -0.3, -0.3
"""Middle of the published exponents of η* in N and in D at a fixed batch (arXiv 2601.05049, 2409.19913)."""

CURVATURE, NOISE = 0.02, 0.001
"""Relative loss of a rate a factor e off the optimum, and relative noise of a loss: the middle of what small
proxies and the public Step Law runs (arXiv 2503.04715) show."""

MOST_BATCHES = 60
"""A rehearsal that has not ended by then reports what it has spent so far and says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a rehearsed sweep spent and why it ended."""

    runs: int
    batches: int
    flops: float
    reason: str


def question_of(spec: SweepSpec, target: Target, *, runs: int = 0, flops: float = 0.0) -> Question:
    """What the planner is asked, after ``runs`` and ``flops`` have been spent or promised.

    Args:
        spec: the sweep; its budget limits what is left.
        target: where the rate is wanted.
        runs: runs asked for so far.
        flops: FLOPs spent, and promised to open runs.
    """
    budget = spec.search.budget
    return Question(
        target=target,
        seeds=spec.grid.seeds,
        runs_left=None if budget.runs is None else max(0, budget.runs - runs),
        flops_left=None if budget.flops is None else max(0.0, budget.flops - flops),
        interval_factor=spec.search.stop.interval_factor,
        runs_per_batch=spec.search.runs_per_batch,
        rates_per_cell=spec.search.rates_per_cell,
        max_parallel=spec.resources.max_parallel,
    )


def forecast(spec: SweepSpec, cells: tuple[Cell, ...], target: Target) -> Forecast:
    """Rehearse a sweep's strategy on a synthetic law whose optimum lies amid the lattice.

    Returns:
        The runs, batches and FLOPs that the strategy asked for until it stopped.
    """
    planner = planner_of(spec.search.strategy)
    record, flops = Record(cells=cells), 0.0
    random = np.random.default_rng(0)
    for batches in range(MOST_BATCHES):
        question = question_of(spec, target, runs=len(record.runs), flops=flops)
        plan = planner.plan(record, _law(record), question)
        if plan.stop is not None or not plan.batch:
            reason = plan.stop or "nothing is left to run"
            return Forecast(runs=len(record.runs), batches=batches, flops=flops, reason=reason)
        flops += batch_flops(record, plan.batch)
        rehearsed = tuple(_rehearsed(cells, proposal, random) for proposal in plan.batch)
        record = replace(record, runs=record.runs + rehearsed)
    reason = f"the rehearsal was cut off after {MOST_BATCHES} batches; the sweep may spend more"
    return Forecast(runs=len(record.runs), batches=MOST_BATCHES, flops=flops, reason=reason)


def batch_flops(record: Record, batch: tuple[Proposal, ...]) -> float:
    """FLOPs that a batch adds: trunks continue from where they are, and horizons of one trunk share it."""
    reach = dict(trunk_reach(record))
    total = 0.0
    for proposal in sorted(batch, key=lambda item: record.cells[item.cell].tokens):
        cell = record.cells[proposal.cell]
        if cell.trunk is None:
            total += cell.flops
            continue
        key = (cell.trunk, proposal.learning_rate, proposal.seed)
        total += cell.marginal_flops(reach.get(key, 0.0))
        reach[key] = max(reach.get(key, 0.0), cell.fork_tokens)
    return total


def _law(record: Record) -> Law | None:
    if not record.runs:
        return None
    rows = [(record.cells[run.cell], run) for run in record.runs]
    observations = Observations(
        params=np.array([cell.params for cell, _ in rows]),
        tokens=np.array([cell.tokens for cell, _ in rows]),
        batch_tokens=np.array([cell.batch_tokens for cell, _ in rows]),
        learning_rate=np.array([run.learning_rate for _, run in rows]),
        loss=np.array([math.nan if run.loss is None else run.loss for _, run in rows]),
    )
    try:
        return fit(observations)
    except Refused:
        return None


def _rehearsed(cells: tuple[Cell, ...], proposal: Proposal, random: np.random.Generator) -> KnownRun:
    cell = cells[proposal.cell]
    middle = sum(math.log(other.rates[0] * other.rates[-1]) / 2 for other in cells) / len(cells)
    params = sum(math.log(other.params) for other in cells) / len(cells)
    tokens = sum(math.log(other.tokens) for other in cells) / len(cells)
    optimum = (
        middle
        + PARAMS_EXPONENT * (math.log(cell.params) - params)
        + TOKENS_EXPONENT * (math.log(cell.tokens) - tokens)
    )
    distance = math.log(proposal.learning_rate) - optimum
    loss = 2.0 + math.exp(-0.05 * math.log(cell.flops))
    return KnownRun(
        cell=proposal.cell,
        learning_rate=proposal.learning_rate,
        seed=proposal.seed,
        outcome=Outcome.COMPLETED,
        loss=loss * (1.0 + CURVATURE * distance**2 + NOISE * float(random.standard_normal())),
    )
