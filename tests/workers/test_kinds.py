"""The workers' part of each kind of trainer, and what a driver gives its workers."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from orchestrator import extras
from orchestrator.corpora import PreparedSource
from orchestrator.errors import BadInput
from orchestrator.spec import TrainerKind
from orchestrator.spec.kinds import TRAINERS
from tests.workers.training import prepare_own
from workers.kinds import job_factory
from workers.proxy import ProxySetup


def setup_of(stage, corpus: str, **resources: float) -> ProxySetup:
    sweep_id = stage.proxy(corpus=corpus, **resources)
    setup = job_factory(stage.store.sweeps.get(sweep_id), stage.store, stage.settings).setup
    assert isinstance(setup, ProxySetup)
    return setup


def test_a_prepared_corpus_goes_to_the_workers_with_what_was_measured(stage, tmp_path: Path) -> None:
    text = "".join(f"Line {number} of an own text.\n" for number in range(1_000))
    prepared = prepare_own(text, tmp_path, stage.settings)

    corpus = setup_of(stage, "own").corpus

    assert isinstance(corpus, PreparedSource)
    assert corpus.document == prepared.document
    assert corpus.path == prepared.folder / "tokens.bin"


@pytest.mark.parametrize(
    ("asked", "device", "share"), [(0.0, "cpu", 1.0), (0.25, "cuda", 0.25), (2.0, "cuda", 1.0)]
)
def test_a_worker_knows_its_part_of_a_gpu(stage, asked: float, device: str, share: float) -> None:
    setup = setup_of(stage, "stdlib", gpus_per_run=asked)
    assert (setup.device, setup.gpu_share) == (device, share)


def test_the_built_in_corpus_lies_nowhere(stage) -> None:
    assert setup_of(stage, "stdlib").corpus is None


def test_a_corpus_that_the_driver_does_not_see_is_refused_with_where_it_looked(stage) -> None:
    with pytest.raises(BadInput, match=r"'gone' is neither registered .* nor prepared .*corpora"):
        setup_of(stage, "gone")


def test_beside_a_local_ray_a_missing_extra_is_named_before_a_worker_starts(
    stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)

    with pytest.raises(extras.ExtraMissing, match=r"etalon\[train\]"):
        setup_of(stage, "stdlib")


@pytest.mark.parametrize("trainer", [trainer for trainer in TRAINERS if trainer.carried_out_by is not None])
def test_the_module_that_a_kind_names_forms_its_jobs(trainer: type[TrainerKind]) -> None:
    assert callable(importlib.import_module(f"workers.{trainer.carried_out_by}").job_factory)
