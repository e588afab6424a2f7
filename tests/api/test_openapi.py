"""Requests drawn from the OpenAPI document, right and wrong ones: every answer is one that the document names."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.states import SweepState

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.mark.parametrize(
    "cases",
    [300, pytest.param(5_000, marks=[pytest.mark.slow, pytest.mark.timeout(3_600)])],
)
def test_every_answer_is_one_that_the_document_names(
    app: Any, trained: Any, submitted: Any, cases: int
) -> None:
    store = trained.store
    store.sweeps.move(trained.sweep.id, SweepState.COMPLETED)
    ended = submitted(name="ended").sweep.id
    store.sweeps.move(ended, SweepState.CANCELLED)  # for good: a live sweep's stream would not end
    _, secret = store.tokens.create("fuzz", ["admin"])
    known = {
        "sweep_id": trained.sweep.id,
        "run_id": store.runs.of_sweep(trained.sweep.id)[3].id,
        "number": 1,
        "name": "law",
    }
    operations = [
        operation.ok()
        for operation in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations()
    ]
    unseen = {operation.label for operation in operations}

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=cases < 1_000,  # the nightly form draws others each time
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def answer(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(operations))
        mode = data.draw(st.sampled_from(MODES))
        names = {parameter.name for parameter in operation.iter_parameters() if parameter.location == "path"}
        drawn = {} if data.draw(st.booleans()) else {name: known[name] for name in names}
        if drawn and operation.label.endswith("/events"):
            drawn["sweep_id"] = ended
        given_path = {"path_parameters": drawn} if drawn else {}
        case = data.draw(operation.as_strategy(mode, **given_path))
        unseen.discard(operation.label)
        answered = case.call_and_validate(
            base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {secret}"}, checks=CHECKS
        )
        assert answered.status_code < 500 or answered.status_code == 501 or operation.label == "GET /readyz"

    answer()
    assert not unseen
