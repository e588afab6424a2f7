"""A law written down predicts exactly as it did, without the runs."""

import json
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.cells import Point
from orchestrator.law import Law, OutdatedLaw, fit
from orchestrator.law.law import VERSION
from tests.known_law import FAST, runs_of

TARGETS = [
    Point(params=1.6e9, tokens=2.5e10, batch_tokens=524288),
    Point(params=1e8, tokens=4e9, batch_tokens=131072),
    Point(params=3e8, tokens=7e9, batch_tokens=262144),
]


def test_a_law_survives_json():
    law = fit(runs_of())
    again = Law.from_document(json.loads(json.dumps(law.to_document())))
    for target in TARGETS:
        assert again.predict(target) == law.predict(target)
    assert again.coefficients == law.coefficients
    assert again.bowls == law.bowls
    assert again.heldout == law.heldout
    assert again.to_document() == law.to_document()


def test_a_law_of_two_thousand_cells_is_a_small_document():
    runs = runs_of(
        sizes=np.geomspace(1e8, 1e9, 10),
        horizons=np.geomspace(1e9, 3e10, 10),
        batches=np.geomspace(6e4, 4e6, 20),
        rates=3,
    )
    document = fit(runs, options=FAST).to_document()
    assert len(document["bowls"]) == 2000
    assert len(json.dumps({**document, "bowls": []})) < 200_000


def test_the_fingerprint_changes_with_the_runs():
    runs = runs_of()
    loss = runs.loss.copy()
    loss[0] = np.nextafter(loss[0], 10)
    assert fit(runs, options=FAST).fingerprint != fit(replace(runs, loss=loss), options=FAST).fingerprint


def test_a_law_of_another_version_is_refused():
    document = fit(runs_of(), options=FAST).to_document()
    with pytest.raises(OutdatedLaw, match=f"law version {VERSION - 1}, here {VERSION}.*submit a new sweep"):
        Law.from_document(document | {"version": VERSION - 1})


def test_a_law_without_one_of_the_coefficients_is_refused():
    document = fit(runs_of(), options=FAST).to_document()
    with pytest.raises(OutdatedLaw, match="needs a new fit"):
        Law.from_document(document | {"coefficients": document["coefficients"][:-1]})
