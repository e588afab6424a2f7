"""Notices have a code for programs beside the sentence for people, and a law keeps both."""

import re

from orchestrator.cells import Point
from orchestrator.law import Law, fit
from orchestrator.law.notices import messages
from tests.known_law import FAST, runs_of


def test_a_law_keeps_its_notices_in_its_document():
    law = fit(runs_of(sizes=(1e8,), horizons=(1e10,), batches=(262144.0,)), options=FAST)
    document = law.to_document()
    assert document["warnings"] == [notice["message"] for notice in document["notices"]]
    assert {notice.code for notice in law.notices} == {"single_value", "few_minima"}
    assert Law.from_document(document).notices == law.notices


def test_a_prediction_adds_the_notices_of_its_target():
    law = fit(runs_of(batches=(262144.0,)), options=FAST)
    answer = law.predict(Point(params=8e8, tokens=1e10, batch_tokens=524288))
    added = answer.notices[len(law.notices) :]
    assert [notice.code for notice in added] == ["prior_exponent", "no_valley"]
    assert answer.warnings == messages(answer.notices)


def test_codes_are_words_joined_by_underscores():
    law = fit(runs_of(sizes=(1e8,)), options=FAST)
    twice = law.predict(Point(params=2e8, tokens=1e10, batch_tokens=262144))
    assert len(twice.notices) > len(law.notices) > 0
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", notice.code) for notice in twice.notices)
