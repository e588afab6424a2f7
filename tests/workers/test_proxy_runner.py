"""The proxy runner: the same losses as the trainer alone, whatever is lost on the way."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from orchestrator import lenses
from orchestrator.corpora import find_corpus
from orchestrator.errors import BadInput
from orchestrator.planner.trunk_groups import rate_flops
from orchestrator.settings import CorpusSource, Settings
from orchestrator.spec import Grid, Muon, ProxyTrainer, Scale, Schedule
from orchestrator.states import RunState
from tests.workers.training import alone, carried_out, prepare_own, rest_of, setup_of
from trainer import Schedule as TrainerSchedule
from trainer import Shape, load_corpus, symptoms
from trainer.exceptions import BadCorpus
from trainer.scaling_rules import Module
from workers.checkpoints import Checkpoints
from workers.proxy import ProxySetup
from workers.proxy_jobs import Branch, ProxyJob, ProxyMember
from workers.proxy_runner import ProxyRunner

SCALE = Scale(width=16, depth=1)
BATCH = 128
RATES = (0.002, 0.008)
HORIZONS = (8_192, 16_384)
TRAINER = ProxyTrainer(kind="proxy", schedule=Schedule(warmup_tokens=1_024))
GRID = Grid(scales=(SCALE,), tokens=HORIZONS, batch_tokens=(BATCH,), learning_rates=RATES)
TRUNK = TRAINER.trunk_name(SCALE, BATCH, HORIZONS[0])
CELLS = TRAINER.cells(GRID)
SHAPE = Shape(width=16, depth=1, context=TRAINER.context)


@pytest.fixture
def setup(tmp_path: Path) -> ProxySetup:
    return setup_of(TRAINER, GRID, tmp_path)


def job_of(*horizons: int, start: int = 0, rates: tuple[float, ...] = RATES) -> ProxyJob:
    members = tuple(
        ProxyMember(
            learning_rate=rate,
            trunk_id=f"trunk-{rate}",
            branches=tuple(Branch(run_id=f"run-{rate}-{horizon}", tokens=horizon) for horizon in horizons),
        )
        for rate in rates
    )
    return ProxyJob(trunk=TRUNK, seed=0, start_tokens=start, members=members, flops=1.0)


def test_losses_curves_and_costs_are_the_trainers_own(setup):
    reported = carried_out(ProxyRunner(setup), job_of(*HORIZONS))

    losses = {result.run_id: result.loss for result in reported.results}
    for rate in RATES:
        assert [losses[f"run-{rate}-{horizon}"] for horizon in HORIZONS] == alone(
            SHAPE, *HORIZONS, rates=(rate,)
        )
    assert {result.state for result in reported.results} == {RunState.COMPLETED}
    trained = sum(result.flops for result in reported.results)
    share = (0.8 * HORIZONS[1] + 0.2 * sum(HORIZONS)) / sum(HORIZONS)
    independent = 2 * 6 * CELLS[0].params * sum(HORIZONS)
    assert trained == pytest.approx(share * independent, rel=0.02)
    curves = {point.curve for point in reported.points}
    assert curves == {"trunk-0.002", "trunk-0.008", *losses}
    last = max(point.tokens for point in reported.points if point.curve == f"run-0.002-{HORIZONS[0]}")
    assert last == HORIZONS[0]


def test_a_cosine_is_trained_as_asked_and_costs_what_was_planned(setup):
    fields = {"warmup_tokens": 1_024, "shape": "cosine", "final_fraction": 0.1}
    trainer = ProxyTrainer(kind="proxy", schedule=Schedule(**fields))
    cells = trainer.cells(GRID)
    reported = carried_out(ProxyRunner(replace(setup, trainer=trainer)), job_of(*HORIZONS, rates=(0.002,)))

    losses = {result.run_id: result.loss for result in reported.results}
    assert [losses[f"run-0.002-{horizon}"] for horizon in HORIZONS] == alone(
        SHAPE, *HORIZONS, rates=(0.002,), schedule=TrainerSchedule(**fields)
    )
    assert sum(result.flops for result in reported.results) == pytest.approx(rate_flops(cells))


def test_a_longer_horizon_costs_only_its_extension_and_decay(setup):
    runner = ProxyRunner(setup)
    carried_out(runner, job_of(HORIZONS[0], rates=(0.002,)))
    (saved,) = Checkpoints(setup.checkpoints, "sweep").trunk_positions("trunk-0.002")

    second = carried_out(runner, job_of(HORIZONS[1], start=saved, rates=(0.002,)))

    assert [second.results[0].loss] == alone(SHAPE, HORIZONS[1], rates=(0.002,))
    extension = HORIZONS[1] - saved
    assert second.results[0].flops == pytest.approx(6 * CELLS[0].params * extension, rel=0.01)


def test_what_another_version_saved_is_trained_again(setup, caplog):
    runner, checkpoints = ProxyRunner(setup), Checkpoints(setup.checkpoints, "sweep")
    carried_out(runner, job_of(HORIZONS[0], rates=(0.002,)))
    (saved,) = checkpoints.trunk_positions("trunk-0.002")
    other = io.BytesIO()
    torch.save({"format": 1, "identity": "", "content": {}}, other)
    longer = job_of(HORIZONS[1], start=saved, rates=(0.002,))
    checkpoints.write_trunk("trunk-0.002", saved, other.getvalue())
    from_trunk = carried_out(runner, longer)
    checkpoints.write_job(longer, from_trunk, other.getvalue())
    from_job = carried_out(runner, longer)
    for reported in (from_trunk, from_job):
        (result,) = reported.results
        assert [result.loss] == alone(SHAPE, HORIZONS[1], rates=(0.002,))
        assert result.flops == 6 * CELLS[0].params * HORIZONS[1]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "trained again from the first token"
    ] * 2


def test_a_lost_worker_costs_no_point_and_no_result(setup):
    job = job_of(*HORIZONS)
    whole = carried_out(ProxyRunner(replace(setup, sweep_id="undisturbed")), job)
    lost = ProxyRunner(setup)
    lost.begin(job)
    while not lost.advance(0.05)[0].results:
        pass
    lost.save()
    lost.advance(0.05)  # trained after the checkpoint, and lost with the worker

    resumed = ProxyRunner(setup)
    resumed.begin(job)
    reported = rest_of(resumed)

    assert set(reported.points) == set(whole.points)
    assert {(seen.curve, seen.step, str(seen.values)) for seen in reported.lenses} == {
        (seen.curve, seen.step, str(seen.values)) for seen in whole.lenses
    }
    assert {(r.run_id, r.loss) for r in reported.results} == {(r.run_id, r.loss) for r in whole.results}
    for member in job.members:
        assert Checkpoints(setup.checkpoints, "sweep").trunk_positions(member.trunk_id)
    assert sum(r.flops for r in reported.results) == sum(r.flops for r in whole.results)


def test_a_resumed_job_goes_on_where_it_was_saved(setup):
    job = job_of(*HORIZONS)
    lost = ProxyRunner(setup)
    lost.begin(job)
    while not lost.advance(0.1)[0].points:
        pass
    lost.save()
    (found,) = Checkpoints(setup.checkpoints, "sweep").unfinished_jobs()
    assert found == job

    resumed = ProxyRunner(setup)
    resumed.begin(found)
    report, _ = resumed.advance(0.0)  # one step, and all that was reported before it
    assert max(point.step for point in report.points) > 1


def test_diverged_members_are_reported_with_a_reason_and_no_bad_point(setup):
    reported = carried_out(ProxyRunner(setup), job_of(*HORIZONS, rates=(0.002, 60.0)))
    states = {result.run_id: result.state for result in reported.results}
    assert states == {
        **{f"run-0.002-{horizon}": RunState.COMPLETED for horizon in HORIZONS},
        **{f"run-60.0-{horizon}": RunState.DIVERGED for horizon in HORIZONS},
    }
    for result in reported.results:
        if result.state is RunState.DIVERGED:
            words = rf"Diverged after {result.diverged_tokens} tokens: .+; .+ at step \d+\."
            assert re.fullmatch(words, result.reason or "")
        else:
            assert result.diverged_tokens is None
    assert all(math.isfinite(value) for seen in reported.lenses for value in seen.values.values())
    assert all(math.isfinite(point.loss) for point in reported.points)


def test_figures_and_trainer_go_by_the_same_thresholds_and_modules():
    for name in ("ATTENTION_LOGIT", "OUTPUT_LOGIT", "UPDATE"):
        assert getattr(lenses, name) == getattr(symptoms, name)
    assert get_args(Module) == lenses.MODULES


def test_the_lenses_see_the_trunk_once_and_every_branch_to_its_end(setup):
    reported = carried_out(ProxyRunner(setup), job_of(*HORIZONS, rates=(0.002,)))
    steps = {
        curve: [s.step for s in reported.lenses if s.curve == curve]
        for curve in {s.curve for s in reported.lenses}
    }
    assert steps == {
        "trunk-0.002": [1, 4, 16, 48, 96],
        **{f"run-0.002-{horizon}": [horizon // BATCH] for horizon in HORIZONS},
    }
    assert all(seen.tokens == BATCH * seen.step for seen in reported.lenses)


def test_a_shape_of_other_params_than_planned_is_refused(setup):
    planned = {TRUNK: replace(CELLS[0], params=CELLS[0].params + 1)}
    with pytest.raises(BadInput, match="different versions"):
        ProxyRunner(replace(setup, cells=planned))


def test_a_missing_corpus_is_the_users_to_mend_not_the_machines(setup, tmp_path):
    with pytest.raises(BadCorpus, match="no such file"):
        ProxyRunner(replace(setup, corpus=CorpusSource(path=tmp_path / "nothing.txt")))
    assert not issubclass(BadCorpus, ProxyRunner.machine_faults)


@pytest.fixture
def prepared(tmp_path: Path) -> Settings:
    """A folder with a corpus of 300 kinds of tokens under the name ``own``."""
    lines = (f"Line {n}: wer reitet so spät durch Nacht und Wind? Number {n * 7919}.\n" for n in range(3_000))
    settings = Settings(home=tmp_path / "home")
    prepare_own("".join(lines), tmp_path, settings)
    return settings


def test_a_prepared_corpus_is_trained_on_with_its_own_vocabulary(setup, prepared):
    source = find_corpus("own", prepared)
    trainer = TRAINER.model_copy(update={"corpus": "own"})
    reported = carried_out(ProxyRunner(replace(setup, trainer=trainer, corpus=source)), job_of(*HORIZONS))

    shape = Shape(width=16, depth=1, context=TRAINER.context, vocab_size=300)
    corpus = load_corpus(
        source.path, token_type="uint16", vocab_size=300, heldout_tokens=source.heldout_tokens, name="own"
    )
    losses = {result.run_id: result.loss for result in reported.results}
    found = [losses[f"run-0.008-{horizon}"] for horizon in HORIZONS]
    assert found == alone(shape, *HORIZONS, rates=(0.008,), corpus=corpus)
    assert all(loss < corpus.unigram_entropy < math.log(300) for loss in found)


def test_the_worker_reports_a_prepared_corpus_that_was_changed(setup, prepared):
    source = find_corpus("own", prepared)
    with source.path.open("r+b") as file:
        file.write(b"\xff\xff")
    with pytest.raises(
        BadInput, match=r"'own' cannot be read on the worker: .* not the file that was prepared"
    ):
        ProxyRunner(replace(setup, trainer=TRAINER.model_copy(update={"corpus": "own"}), corpus=source))


def test_a_missing_gpu_is_reported_before_anything_runs(setup):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(BadInput, match="gpus_per_run"):
        ProxyRunner(replace(setup, device="cuda"))


def test_limits_are_reported_for_every_trunk(setup):
    assert ProxyRunner(setup).limits[TRUNK] >= 1


def test_limits_on_a_gpu_are_for_the_workers_part_and_for_the_optimizer(setup, monkeypatch):
    """Of proxies wide enough that parameters, and what an optimizer makes of them, are most of the memory."""
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gib, gib))
    for held in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, held, lambda device: 0)
    wide = Scale(width=256, depth=1)
    (cell, *_) = TRAINER.cells(GRID.model_copy(update={"scales": (wide,)}))
    gpu = replace(setup, device="cuda", scales={TRUNK: wide}, cells={TRUNK: cell})
    muon = TRAINER.model_copy(update={"optimizer": Muon(kind="muon")})
    whole, quarter, by_muon = (
        ProxyRunner(each).limits[TRUNK]
        for each in (gpu, replace(gpu, gpu_share=0.25), replace(gpu, trainer=muon))
    )
    assert quarter == pytest.approx(whole / 4, abs=1)
    assert 1 < by_muon < whole


def test_a_gpu_that_others_have_filled_is_the_machines_doing():
    assert issubclass(torch.OutOfMemoryError, ProxyRunner.machine_faults)
