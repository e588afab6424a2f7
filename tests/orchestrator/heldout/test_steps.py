"""The next step of a comparison, as a table of its runs; and the contenders' rates."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from orchestrator.cells import Cells, Point
from orchestrator.documents.comparisons import ComparisonPlan
from orchestrator.errors import BadInput
from orchestrator.heldout.comparison_setup import ComparisonSetup, held_out_cells, setup_of
from orchestrator.heldout.line_up import AS_GOOD, base_optimum, groups_of, line_up
from orchestrator.heldout.module_rates import ModuleTrial
from orchestrator.heldout.run_groups import RunGroup
from orchestrator.heldout.steps import (
    AskForRuns,
    AwaitRuns,
    EndComparison,
    FinishedSearch,
    Step,
    next_step,
)
from orchestrator.law import BowlStatus, Law, fit
from orchestrator.law.published import LAWS
from orchestrator.spec import CellRole, ProxyTrainer, SweepSpec, parse_spec
from orchestrator.states import ComparisonStage, RunState
from orchestrator.store.records import NewRun, Run
from tests.known_law import observations
from tests.orchestrator.conftest import FIELDS, LAW


@cache
def spec_of(modules: int | None = None, experts: int | None = None) -> SweepSpec:
    comparison: dict[str, Any] = {"scale": {"width": 128, "depth": 2}, "seeds": 2}
    trainer: dict[str, Any] = {"kind": "proxy"}
    if modules is not None:
        comparison["module_rates"] = {"runs": modules}
    if experts is not None:
        trainer["architecture"] = {"kind": "moe", "experts": experts, "top_k": 2}
    return parse_spec({**FIELDS, "trainer": trainer, "comparison": comparison})


def setup(modules: int | None = None, experts: int | None = None) -> ComparisonSetup:
    spec = spec_of(modules, experts)
    assert isinstance(spec.trainer, ProxyTrainer)
    cells = spec.trainer.cells(spec.grid)
    found = setup_of(spec, Cells((*cells, *held_out_cells(spec, cells))))
    assert found is not None
    return found


@cache
def law(*, base_tried: int = 7) -> Law:
    """The law of the known world; the base's lattice may have been tried in part."""
    spec = spec_of()
    assert isinstance(spec.trainer, ProxyTrainer)
    base = setup().base
    runs = (
        (cell, rate, LAW.loss(cell, rate))
        for cell in spec.trainer.cells(spec.grid)
        for rate in cell.rates[: base_tried if cell.number == base.number else None]
    )
    return fit(observations(runs))


SEARCH = FinishedSearch(law=law(), law_number=3, stop="It is enough.")


def run_of(new: NewRun, state: RunState = RunState.COMPLETED, loss: float = 2.0) -> Run:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Run(
        id=f"{new.cell}-{new.learning_rate}-{new.seed}-{new.module_rates}",
        sweep_id="sweep",
        cell=new.cell,
        learning_rate=new.learning_rate,
        seed=new.seed,
        state=state,
        trunk_id="trunk",
        batch=1,
        attempt=1,
        loss=loss if state is RunState.COMPLETED else None,
        trunk_loss=None,
        flops=0.0,
        seconds=1.0,
        reason=None,
        created_at=moment,
        started_at=moment,
        ended_at=moment,
        module_rates=new.module_rates,
    )


def asked(step: Step) -> AskForRuns:
    assert isinstance(step, AskForRuns)
    return step


def ended(runs: tuple[NewRun, ...], state: RunState = RunState.COMPLETED) -> list[Run]:
    return [run_of(new, state) for new in runs]


def trials(modules: int = 12, batches: int = 1) -> list[Run]:
    runs: list[Run] = []
    for _ in range(batches):
        runs += ended(asked(next_step(setup(modules), runs, SEARCH, planned=False)).runs)
    return runs


STEPS: list[tuple[str, int | None, list[Run], bool, object]] = [
    ("without a search everything is asked for at once", None, [], False, "everything"),
    ("with a search its first batch comes first", 12, [], False, "trials"),
    ("its next batch follows when all of the last have ended", 12, trials(), False, "trials"),
    ("after its last trial everything is asked for", 12, trials(batches=2), False, "everything"),
    ("an open trial is waited for", 12, [replace(trials()[0], state=RunState.RUNNING)], False, AwaitRuns()),
    ("a pending run is waited for", None, [replace(trials()[0], state=RunState.PENDING)], True, AwaitRuns()),
    (
        "when all have ended it is complete",
        None,
        trials(),
        True,
        EndComparison(stage=ComparisonStage.COMPLETE),
    ),
    (
        "a run that was cancelled cuts it short",
        None,
        [replace(trials()[0], state=RunState.CANCELLED)],
        True,
        EndComparison(stage=ComparisonStage.CUT_SHORT),
    ),
]


@pytest.mark.parametrize(
    ("modules", "runs", "planned", "wanted"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS]
)
def test_the_next_step(modules: int | None, runs: list[Run], planned: bool, wanted: object) -> None:
    step = next_step(setup(modules), runs, SEARCH, planned=planned)
    if wanted == "trials":
        assert asked(step).plan is None
        assert {new.cell for new in asked(step).runs} == {setup(modules).modules.number}  # type: ignore[union-attr]
    elif wanted == "everything":
        assert asked(step).plan is not None
    else:
        assert step == wanted
    assert next_step(setup(modules), runs[::-1], SEARCH, planned=planned) == step


def test_without_a_law_it_is_not_run() -> None:
    search = FinishedSearch(law=None, law_number=0, stop="It is enough.", refusal="all is flat")
    assert next_step(setup(12), [], search, planned=False) == EndComparison(
        stage=ComparisonStage.NOT_RUN, reason="there is no law: all is flat"
    )


def test_a_sampler_that_is_not_installed_is_a_reason_and_no_fault_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    step = next_step(setup(12), [], SEARCH, planned=False)
    assert isinstance(step, EndComparison)
    assert step.stage is ComparisonStage.NOT_RUN
    assert "optuna is not installed here" in str(step.reason)


def test_all_trials_have_the_rate_of_the_first_whatever_law_came_since() -> None:
    before = [replace(run, learning_rate=0.123) for run in trials()]
    assert {new.learning_rate for new in asked(next_step(setup(12), before, SEARCH, planned=False)).runs} == {
        0.123
    }


def test_every_place_is_run_once_with_every_seed() -> None:
    runs = asked(next_step(setup(), [], SEARCH, planned=False)).runs
    keys = [(new.cell, new.learning_rate, new.seed, new.module_rates) for new in runs]
    assert len(keys) == len(set(keys))
    assert {new.seed for new in runs} == {0, 1}
    assert sum(new.seed == 0 for new in runs) == sum(new.seed == 1 for new in runs)
    assert all(new.reason.endswith(" at the held-out scale.") for new in runs)


def test_a_search_that_found_nothing_better_shares_fittings_runs() -> None:
    found = line_up(
        setup(12),
        law(),
        base_optimum(law(), setup().base),
        ModuleTrial(module_rates="", loss=2.0),
        law_number=1,
    )
    fitting, module_wise = found.contenders[0], found.contenders[-1]
    assert RunGroup.of(module_wise) == RunGroup.of(fitting)
    assert groups_of(found)[RunGroup.of(fitting)] == ("Fitting", "module-wise")
    assert "none was better than no multipliers" in module_wise.origin


def test_a_plan_is_read_back_as_it_was_written() -> None:
    plan = asked(next_step(setup(), [], SEARCH, planned=False)).plan
    assert plan is not None
    assert ComparisonPlan.model_validate_json(plan.model_dump_json()) == plan


def test_fitting_has_the_laws_rate_and_transfer_the_bases() -> None:
    found = line_up(setup(), law(), base_optimum(law(), setup().base), None, law_number=7)
    fitting, transfer, same, *_ = found.contenders
    held_out = setup().standard
    wanted = law().predict(
        Point(params=held_out.params, tokens=held_out.tokens, batch_tokens=held_out.batch_tokens)
    )
    assert fitting.learning_rate == pytest.approx(wanted.learning_rate, rel=1e-5)
    assert fitting.origin.startswith("law 7, 95 % interval")
    assert transfer.learning_rate == same.learning_rate
    assert (transfer.arm, same.arm) == (CellRole.TRANSFER, CellRole.STANDARD)


def test_the_base_is_tuned_by_its_own_runs_alone_where_they_show_a_minimum() -> None:
    base = setup().base
    own = base_optimum(law(), base)
    bowl = next(b for b in law().bowls if (b.params, b.tokens) == (base.params, base.tokens))
    assert bowl.status is BowlStatus.INTERIOR
    assert own.learning_rate == pytest.approx(bowl.learning_rate, rel=1e-5)
    assert own.origin.startswith("the minimum of the base's own 7 runs, known within ×/÷ 1.")


def test_a_base_without_a_minimum_is_helped_by_the_law_and_says_so() -> None:
    found = base_optimum(law(base_tried=2), setup().base)
    assert found.origin.startswith("the law's optimum of the base, whose own runs show no minimum")
    assert found.learning_rate == pytest.approx(base_optimum(law(), setup().base).learning_rate, rel=0.3)


def test_published_ratios_start_at_the_bases_optimum() -> None:
    base, held_out = setup().base, setup().standard
    optimum = base_optimum(law(), base)
    found = {item.name: item for item in line_up(setup(), law(), optimum, None, law_number=1).contenders}
    grown, longer = held_out.params / base.params, held_out.tokens / base.tokens
    assert found["Bjorck"].learning_rate == pytest.approx(
        optimum.learning_rate * grown**-0.23 * longer**-0.32, rel=1e-5
    )
    assert found["Step Law"].learning_rate == pytest.approx(
        1.79 * held_out.params**-0.713 * held_out.tokens**0.307, rel=1e-5
    )


def test_laws_that_do_not_apply_are_left_out_with_the_reason() -> None:
    optimum = base_optimum(law(), setup().base)
    dense = line_up(setup(), law(), optimum, None, law_number=1)
    of_mup, of_experts = (
        {law.name for law in LAWS if getattr(law, kind)} for kind in ("of_mup", "of_experts")
    )
    assert {item.name for item in dense.left_out} == of_mup | of_experts
    mixture = line_up(replace(setup(), is_dense=False), law(), optimum, None, law_number=1)
    assert {item.name for item in mixture.left_out} == of_mup
    assert of_experts < {item.name for item in mixture.contenders}


def test_the_reference_bowl_has_rates_over_a_decade_and_none_twice() -> None:
    found = line_up(setup(), law(), base_optimum(law(), setup().base), None, law_number=1)
    middle = found.contenders[0].learning_rate
    standard = [item.learning_rate for item in found.contenders if item.arm is CellRole.STANDARD]
    for factor in (10**-0.5, 10**-0.25, 1.0, 10**0.25, 10**0.5):
        near = min(abs(math.log(rate / (factor * middle))) for rate in (*standard, *found.reference))
        assert near <= math.log(AS_GOOD) + 1e-6
    assert all(min(abs(math.log(rate / other)) for other in standard) > 0.1 for rate in found.reference)


def test_a_mixture_searches_its_router_as_well() -> None:
    dense, mixture = setup(12).search, setup(12, experts=4).search
    assert dense is not None
    assert mixture is not None
    assert dense.modules == ("attention", "embedding", "feedforward", "head")
    assert mixture.modules == ("attention", "embedding", "feedforward", "head", "router")


def test_a_scale_with_as_many_parameters_as_one_of_the_grid_is_not_held_out() -> None:
    fields = {**FIELDS, "comparison": {"scale": {"width": 32, "depth": 8}}}  # 64 wide and 2 deep is as large
    spec = parse_spec(fields)
    assert isinstance(spec.trainer, ProxyTrainer)
    with pytest.raises(
        BadInput, match=r"comparison\.scale: has 98304 parameters, as many as a scale of the grid"
    ):
        held_out_cells(spec, spec.trainer.cells(spec.grid))


def test_a_sweep_without_a_comparison_has_no_further_cells() -> None:
    spec = parse_spec(FIELDS)
    assert isinstance(spec.trainer, ProxyTrainer)
    cells = spec.trainer.cells(spec.grid)
    assert held_out_cells(spec, cells) == ()
    assert setup_of(spec, cells) is None


def test_the_further_cells_are_numbered_after_the_searchs_and_share_no_trunk() -> None:
    spec = spec_of(12)
    assert isinstance(spec.trainer, ProxyTrainer)
    cells = spec.trainer.cells(spec.grid)
    further = held_out_cells(spec, cells)
    assert [cell.number for cell in further] == [6, 7, 8]
    assert [cell.role for cell in further] == ["standard", "transfer", "base"]
    assert all(cell.rates == () for cell in further)
    assert not {cell.trunk for cell in further} & {cell.trunk for cell in cells}
