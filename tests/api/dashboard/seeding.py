"""Fills a store with sweeps of synthetic runs, as the service would: planned, run, fitted, ruled out.

python -m tests.api.dashboard.seeding sqlite:////tmp/etalon.db    fills a database to look at
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.answers.prediction import prediction
from orchestrator.cells import Cell, Cells
from orchestrator.documents.laws import RuledOut
from orchestrator.errors import Refused
from orchestrator.knowledge import SweepKnowledge, knowledge_of, target_of
from orchestrator.law import Law, fit
from orchestrator.lenses import MODULES
from orchestrator.loop.refit import answer, fitted, next_batch
from orchestrator.spec import ProxyTrainer, parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import LensPoint, LossPoint, Run, RunResult, Sweep
from tests.bench import Bench
from tests.known_law import RECORDED, grid, observations, rise, run_table

DIVERGES_ABOVE = 0.05

SCALES = [
    {"width": 16, "depth": 3},
    {"width": 32, "depth": 2},
    {"width": 32, "depth": 4},
    {"width": 64, "depth": 2},
]


def spec_fields(**changes: Any) -> dict[str, Any]:
    """A sweep of four sizes, three horizons and eleven rates, with changes."""
    return {
        "name": "stdlib-dense",
        "trainer": {"kind": "proxy", "corpus": "stdlib", "schedule": {"warmup_tokens": 8192}},
        "grid": {
            "scales": SCALES,
            "tokens": [131_072, 262_144, 524_288],
            "batch_tokens": [256],
            "learning_rates": {"min": 1e-3, "max": 0.1, "per_octave": 1.5},
        },
        "search": {"strategy": "law", "stop": {"interval_factor": 1.25}},
        "target": {"params": 400_000, "tokens": 2_000_000, "batch_tokens": 256},
        "resources": {"max_parallel": 4},
        **changes,
    }


class Service(Bench):
    """Does what the loop and a driver do, one step at a time, with losses of a synthetic law."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.random = np.random.default_rng(0)

    def submit(self, **changes: Any) -> Sweep:
        """Write a queued sweep."""
        spec = parse_spec(spec_fields(**changes))
        assert isinstance(spec.trainer, ProxyTrainer)
        return self.create(spec, spec.trainer.cells(spec.grid), SweepState.QUEUED)

    def start(self, sweep_id: str) -> int:
        """Begin a sweep; the fence of its driver."""
        self.store.sweeps.move(sweep_id, SweepState.RUNNING)
        return self.drive(sweep_id, seconds=3600)

    def run(self, sweep_id: str, *, batches: int | None = None, leave_open: int = 0) -> Sweep:
        """Run a sweep to its end, or for some batches; of one more, ``leave_open`` runs stay open."""
        driver = self.start(sweep_id)
        cells = self.store.sweeps.cells(sweep_id)
        done = 0
        law: Law | None = None
        while batches is None or done < batches:
            stop = self.plan(sweep_id, law)
            if stop is not None:
                return self.store.sweeps.move(sweep_id, SweepState.COMPLETED, reason=stop)
            self.work(self.store.runs.claim(sweep_id, fence=driver), cells, driver)
            law = self.refit(sweep_id)
            done += 1
        if leave_open and self.plan(sweep_id, law) is None:
            pending = self.store.runs.pending(sweep_id)
            self.work(self.claimed(sweep_id, pending[:-leave_open], driver), cells, driver)
            half = self.claimed(sweep_id, pending[-leave_open:][: leave_open // 2], driver)
            self.store.losses.append([p for run in half for p in self.curve(cells[run.cell], run, 2.4)[:20]])
        return self.store.sweeps.get(sweep_id)

    def claimed(self, sweep_id: str, runs: Sequence[Run], driver: int) -> list[Run]:
        """Claim just these."""
        return self.store.runs.claim(sweep_id, fence=driver, run_ids=[run.id for run in runs]) if runs else []

    def knowledge(self, sweep_id: str) -> SweepKnowledge:
        """The knowledge of a sweep now."""
        return knowledge_of(self.store, self.store.sweeps.get(sweep_id), prior=None)

    def plan(self, sweep_id: str, law: Law | None) -> str | None:
        """Plan and write the next batch; the reason to stop, if the plan has one."""
        batch = next_batch(self.knowledge(sweep_id), law)
        if batch.runs or batch.pruned:
            self.store.runs.add_batch(sweep_id, batch.runs, fence=self.fence, pruned=batch.pruned)
        return batch.stop

    def work(self, runs: Sequence[Run], cells: Cells, driver: int) -> None:
        """Train: losses of the synthetic law, with their learning curves."""
        results = [self.result(cells[run.cell], run) for run in runs]
        points = [
            point
            for run, result in zip(runs, results, strict=True)
            for point in self.curve(cells[run.cell], run, result.loss or 9.0)
        ]
        self.store.losses.append(points)
        self.store.runs.finish(results, fence=driver)

    def result(self, cell: Cell, run: Run) -> RunResult:
        """The end of a run: the loss of a bowl, or a divergence far above its bottom."""
        cost = cell.marginal_flops(0.6 * cell.fork_tokens)
        if run.learning_rate > DIVERGES_ABOVE * (cell.params / 1e4) ** -0.3:
            return RunResult(
                run_id=run.id,
                state=RunState.DIVERGED,
                flops=0.2 * cost,
                seconds=1.4,
                reason="loss above the corpus's unigram entropy after warmup",
            )
        noise = 1 + 0.0015 * float(self.random.standard_normal())
        return RunResult(
            run_id=run.id,
            state=RunState.COMPLETED,
            loss=bowl_loss(cell, run.learning_rate) * noise,
            trunk_loss=stable_loss(cell, run.learning_rate) * noise,
            flops=cost,
            seconds=4e-7 * cost / 1e4 + 1.0,
        )

    def curve(self, cell: Cell, run: Run, end: float) -> list[LossPoint]:
        """A trunk that falls slowly and a branch that falls to its end."""
        points = []
        for step in range(8, int(cell.tokens // 256) + 1, 16):
            tokens = 256 * step
            decayed = max(0.0, (tokens - cell.fork_tokens) / (cell.tokens - cell.fork_tokens))
            value = (end + 0.1 * (1 - decayed)) * (1 + 0.1 * math.log(cell.tokens / tokens))
            noisy = value * (1 + 0.008 * math.sin(7.1 * step + 900 * run.learning_rate))
            curve = run.id if decayed > 0 or run.trunk_id is None else run.trunk_id
            points.append(LossPoint(curve=curve, step=step, tokens=tokens, loss=noisy))
        return points

    def refit(self, sweep_id: str) -> Law | None:
        """Fit the law to the results and record it with its answer at the target."""
        knowledge = self.knowledge(sweep_id)
        law = fitted(knowledge)
        if isinstance(law, Refused):
            return None
        self.store.laws.add(
            sweep_id,
            document=law.to_document(),
            prediction=answer(law, knowledge),
            ruled_out=[
                RuledOut(cell=run.cell, learning_rate=run.learning_rate, reason=str(run.reason))
                for run in knowledge.runs
                if run.state is RunState.PRUNED
            ],
            runs=knowledge.observations.size,
            spent_flops=knowledge.spent_flops,
            batch=knowledge.sweep.batches,
            fence=self.fence,
        )
        return law


def with_many_cells(service: Service) -> str:
    """A sweep of 32 cells, each with an open run; its id."""
    grid = {
        "scales": [{"width": 16 * w, "depth": d} for w in (1, 2, 3, 4) for d in (2, 4)],
        "tokens": [65_536 * 2**i for i in range(4)],
        "batch_tokens": [256],
        "learning_rates": {"min": 1e-3, "max": 0.1, "per_octave": 1.5},
    }
    sweep_id = service.submit(name="many cells", grid=grid).id
    service.start(sweep_id)
    cells = service.store.sweeps.cells(sweep_id)
    service.ask(sweep_id, *((cell.number, cell.rates[0]) for cell in cells))
    return sweep_id


def with_batches(service: Service, **fields: Any) -> str:
    """A law of four batches in a sweep without a grid, asked at the best batch unless the fields say otherwise; its id."""
    known = replace(RECORDED, bottom=lambda at: 3.0 * math.exp(0.01 * math.log(at.batch_tokens / 2048) ** 2))
    rates = [6e-2 * 2**octave for octave in range(-3, 4)]
    runs = list(known.runs(grid((5e5, 1e6), (4e5, 8e5), (1024, 2048, 4096, 8192)), rates))
    table = service.store.tables.add(run_table(runs).encode(), rows=len(runs), cells=16)
    asked = {"name": "batches", "target": {"params": 2e6, "tokens": 8e5}, **fields}
    spec = parse_spec({**asked, "prior_runs": {"table": table.id}})
    sweep, _ = service.store.sweeps.create(spec, cells=())
    law = fit(observations(runs))
    target = target_of(spec, (), prior=observations(runs), law=law)
    service.store.laws.add(
        sweep.id,
        document=law.to_document(),
        prediction=prediction(law, target),
        ruled_out=[],
        runs=len(runs),
        spent_flops=0.0,
        batch=0,
        fence=service.fence,
    )
    return sweep.id


def bowl_loss(cell: Cell, learning_rate: float) -> float:
    """η* = 0.013·(N/1e4)^-0.4·(D/2e5)^-0.4 under a bowl that is steeper above than below."""
    optimum = 0.013 * (cell.params / 1e4) ** -0.4 * (cell.tokens / 2e5) ** -0.4
    return _bowl(cell, learning_rate / optimum)


def stable_loss(cell: Cell, learning_rate: float) -> float:
    """The same bowl before the decay: 3 % above, with its bottom at 0.6 times the rate and falling more slowly with D."""
    optimum = 0.0078 * (cell.params / 1e4) ** -0.4 * (cell.tokens / 2e5) ** -0.25
    return 1.03 * _bowl(cell, learning_rate / optimum)


def _bowl(cell: Cell, over_optimum: float) -> float:
    u = math.log(over_optimum)
    best = 1.4 + 0.9 * (cell.params / 1e4) ** -0.16 * (cell.tokens / 2e5) ** -0.12
    return float(best * math.exp(0.022 * rise(u, 0.8)))


def lens_points(curve: str) -> list[LensPoint]:
    """Lens values of a run that learns."""
    return [
        LensPoint(
            curve=curve,
            step=step,
            tokens=256 * step,
            values={
                "gradient_norm": 3.0 / step**0.2,
                "gradient_norm_max": 5.0 / step**0.2,
                "loss_spikes": 0.0,
                "attention_logit": 5.0 + step**0.5,
                **{
                    f"{module}.{kind}": size * (place + 1) * step**0.1
                    for place, module in enumerate(MODULES)
                    for kind, size in (("activation", 1.0), ("change", 0.02), ("update", 0.004))
                },
            },
        )
        for step in (1, 4, 16, *range(32, 513, 32))
    ]


def main(url: str) -> None:
    """Fill a database with sweeps in every state."""
    with Store.open(url) as store:
        store.migrate()
        service = Service(store)
        service.run(service.submit(name="completed").id)
        service.run(service.submit(name="refused", target={"params": 1e12, "tokens": 2e15}).id, batches=1)
        stopped = service.run(service.submit(name="stopped").id, batches=2)
        store.sweeps.move(stopped.id, SweepState.STOPPING, actor="a user")
        store.sweeps.move(stopped.id, SweepState.STOPPED, reason="stopped by a user")
        failed = service.run(service.submit(name="failed").id, batches=1)
        store.sweeps.move(failed.id, SweepState.FAILED, reason="the driver could not reach the Ray cluster")
        service.run(
            service.submit(
                name="a hundred cells",
                grid={
                    "scales": [{"width": 16 * w, "depth": d} for w in (1, 2, 3, 4, 5) for d in (2, 4)],
                    "tokens": [65_536 * 2**i for i in range(5)],
                    "batch_tokens": [256, 1024],
                    "learning_rates": {"min": 1e-3, "max": 0.1, "per_octave": 1.5},
                },
            ).id,
            batches=3,
            leave_open=6,
        )
        service.submit(
            name="<img src=x onerror=alert(1)> a very long name that shows whether pages "
            "break-it-in-the-middle-or-let-it-run-out-of-the-window" + "-really" * 8
        )
        service.run(service.submit(name="running").id, batches=3, leave_open=6)
        for sweep in store.sweeps.page(state=None, limit=50, cursor=None)[0]:
            print(sweep.id, sweep.state, sweep.name[:40])


if __name__ == "__main__":
    main(sys.argv[1])
