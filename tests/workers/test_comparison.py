"""Both paradigms at a held-out scale are trained as the trainer alone would train them, from end to end."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.heldout.stages import comparison_document
from orchestrator.loop.loop import Loop
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.store.records import NewRun
from orchestrator.submission.preview import submit
from tests.bench import Bench
from tests.workers.training import alone, carried_out
from trainer import BaseScale, Parametrization, Shape
from workers.kinds import job_factory
from workers.proxy import ProxySetup
from workers.proxy_jobs import Branch, ProxyJob, ProxyMember, proxy_jobs
from workers.proxy_runner import ProxyRunner

RATE, BATCH, HORIZON = 0.008, 128, 8_192
MODULES = "embedding=2,head=0.5"

FIELDS: dict[str, Any] = {
    "name": "compared",
    "trainer": {"kind": "proxy", "schedule": {"warmup_tokens": 1_024}},
    "grid": {
        "scales": [{"width": 8, "depth": 1}, {"width": 12, "depth": 1}],
        "tokens": [HORIZON],
        "batch_tokens": [BATCH],
        "learning_rates": {"min": 2e-3, "max": 6.4e-2, "per_octave": 1},
    },
    "search": {"strategy": "grid"},
    "comparison": {"scale": {"width": 16, "depth": 2}, "seeds": 2, "module_rates": {"runs": 6}},
    "resources": {"max_parallel": 1},
}


@pytest.fixture
def spec() -> SweepSpec:
    return parse_spec(FIELDS)


def losses(store: Store, settings: Settings, spec: SweepSpec, role: str, *modules: str) -> list[float | None]:
    """The losses of one stack of a role: a member for each text of module rates."""
    sweep, *_ = submit(spec, store, settings)
    setup = job_factory(sweep, store, settings).setup
    assert isinstance(setup, ProxySetup)
    (cell,) = (cell for cell in store.sweeps.cells(sweep.id) if cell.role == role)
    members = tuple(
        ProxyMember(
            learning_rate=RATE,
            trunk_id=f"trunk {text}",
            branches=(Branch(run_id=text, tokens=HORIZON),),
            module_rates=text,
        )
        for text in modules
    )
    job = ProxyJob(trunk=str(cell.trunk), seed=1, start_tokens=0, members=members, flops=1.0)
    found = {result.run_id: result.loss for result in carried_out(ProxyRunner(setup), job).results}
    return [found[text] for text in modules]


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    return Settings(home=tmp_path, database_url=sqlite_url, checkpoints=tmp_path / "checkpoints")


def test_a_stack_holds_members_with_rates_by_module_of_their_own(
    store: Store, settings: Settings, spec: SweepSpec
) -> None:
    shape = Shape(width=16, depth=2)
    plain, own = losses(store, settings, spec, "standard", "", MODULES)
    assert [plain] == alone(shape, HORIZON, rates=(RATE,), seed=1)
    assert [own] == alone(shape, HORIZON, rates=(RATE,), seed=1, module_rates=MODULES)
    assert own != plain


def test_transfer_is_trained_in_units_of_its_base_by_its_rules(
    store: Store, settings: Settings, spec: SweepSpec
) -> None:
    base = BaseScale(width=8, depth=1, head_width=8, batch_tokens=BATCH, tokens=HORIZON)
    rules = frozenset({"depth", "weight_decay", "batch", "horizon"})
    parametrization = Parametrization(base=base, rules=rules)
    shape = Shape(width=16, depth=2)
    assert losses(store, settings, spec, "transfer", "") == alone(
        shape, HORIZON, rates=(RATE,), seed=1, parametrization=parametrization, tokens=HORIZON
    )


def test_the_search_for_module_wise_rates_trains_the_base(
    store: Store, settings: Settings, spec: SweepSpec
) -> None:
    assert losses(store, settings, spec, "base", MODULES) == alone(
        Shape(width=8, depth=1), HORIZON, rates=(RATE,), seed=1, module_rates=MODULES
    )


class OnRay:
    """Drivers as processes on the cluster of the tests."""

    def __init__(self, stage: Any, ray_address: str) -> None:
        self.stage, self.ray_address = stage, ray_address
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, sweep_id: str) -> None:
        self.started.append(self.stage.start(sweep_id, ETALON_RAY_ADDRESS=self.ray_address))

    def alive(self, sweep_id: str) -> bool:
        return any(process.poll() is None for process in self.started)

    def rests(self, sweep_id: str) -> bool:
        return False

    def deaths(self, sweep_id: str) -> int:
        return sum(process.poll() not in (None, 0) for process in self.started)

    def forgive(self, sweep_id: str) -> None:
        """None of its drivers may die."""

    def last_message_of(self, sweep_id: str) -> str | None:
        return None

    def reap(self, live: set[str]) -> None:
        """The stage ends them."""


@pytest.mark.ray
def test_a_sweep_compares_both_paradigms_from_end_to_end(
    stage: Any, ray_address: str, spec: SweepSpec
) -> None:
    store = stage.store
    sweep, *_ = submit(spec, store, stage.settings)
    loop = Loop(store, OnRay(stage, ray_address), fence=stage.fence)

    def is_over() -> bool:
        loop.step()
        return store.sweeps.get(sweep.id).state in {SweepState.COMPLETED, SweepState.FAILED}

    stage.until(is_over, seconds=240)
    ended = store.sweeps.get(sweep.id)
    assert ended.state is SweepState.COMPLETED, ended.reason
    document = comparison_document(store, ended)
    assert document.state == "complete"
    assert document.module_search.ended == 6
    assert [item.name for item in document.contenders][:3] == ["Fitting", "Transfer", "the same rate"]
    for item in document.contenders:
        assert {run.state for run in item.runs} <= {RunState.COMPLETED, RunState.DIVERGED}
        assert len(item.runs) == 2
        assert item.diverged or item.excess_loss.standard_error > 0
    assert document.verdict


def test_runs_with_other_rates_by_module_are_other_members_of_one_stack(
    store: Store, settings: Settings, spec: SweepSpec
) -> None:
    sweep, *_ = submit(spec, store, settings)
    store.sweeps.move(sweep.id, SweepState.RUNNING)
    cells = store.sweeps.cells(sweep.id)
    *_, base = cells
    asked = [
        NewRun(
            cell=base.number, learning_rate=RATE, seed=0, trunk=base.trunk, module_rates=text, reason="a test"
        )
        for text in ("", "head=2", MODULES)
    ]
    store.runs.add_batch(sweep.id, asked, fence=Bench(store).fence)
    (job,) = proxy_jobs(
        store.runs.pending(sweep.id), cells, positions={}, limits={str(base.trunk): 8}, workers=1
    )
    assert {member.module_rates for member in job.members} == {"", "head=2", MODULES}
    assert len({member.trunk_id for member in job.members}) == 3
