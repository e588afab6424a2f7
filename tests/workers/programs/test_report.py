"""Reports by offset: all of the protocol, and what is none of it."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.programs.journal import Diverged, Done, ModelSize, Noticed, Saved
from workers.programs.readings import Reading
from workers.programs.report import ReportReader


@pytest.mark.parametrize(
    ("line", "news"),
    [
        ('{"model": {"params": 10, "params_total": 30}}', [ModelSize(params=10.0, params_total=30.0)]),
        ('{"tokens": 500, "loss": 3.412}', [Reading("training", 500, 3.412)]),
        ('{"step": 5, "validation_loss": 3}', [Reading("validation", 500, 3.0)]),
        (
            '{"step": 5, "loss": "2.5", "validation_loss": 3}',
            [Reading("training", 500, 2.5), Reading("validation", 500, 3.0)],
        ),
        ('{"loss": 2}', [Reading("training", None, 2.0)]),
        ('{"step": 7}', [Reading("position", 700)]),
        ('{"saved": "/x/step-5", "tokens": 500}', [Saved(path="/x/step-5", tokens=500)]),
        ('{"saved": "/x/step-5"}', [Saved(path="/x/step-5", tokens=42)]),
        ('{"diverged": "loss is NaN", "tokens": 500}', [Diverged(reason="loss is NaN", tokens=500)]),
        ('{"done": true, "loss": 3.2}', [Done(loss=3.2)]),
        ('{"done": true}', [Done(loss=None)]),
        ('{"done": true, "loss": NaN}', [Diverged(reason="final loss is nan", tokens=42)]),
    ],
)
def test_each_kind_of_line(tmp_path, line, news):
    (tmp_path / "report").write_text(line + "\n")
    assert ReportReader(tmp_path / "report", 100).poll(42) == news


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "null", '"nan"', '"inf"', "1" + "0" * 400])
def test_words_for_losses_that_are_not_finite(tmp_path, word):
    (tmp_path / "report").write_text(f'{{"step": 1, "loss": {word}}}\n')
    (reading,) = ReportReader(tmp_path / "report", 100).poll(0)
    assert isinstance(reading, Reading)
    assert reading.loss is not None
    assert not math.isfinite(reading.loss)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("loss 3", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"train_loss": 3}', "one of the keys"),
        ('{"step": "five", "loss": 3}', "step is no number"),
        ('{"step": -1, "loss": 3}', "step is no number"),
        ('{"step": 1, "loss": [3]}', "loss is no number"),
        ('{"step": 1, "loss": true}', "loss is no number"),
        ('{"model": 5}', "model is no object"),
        ("[" * 5000, "no JSON object"),
        (json.dumps({"loss": "x" * 9000}), "longer than 8192 bytes"),
    ],
)
def test_a_line_that_is_no_report_is_noticed_and_the_next_counts(tmp_path, line, words):
    (tmp_path / "report").write_text(f'{line}\n{{"step": 1, "loss": 3}}\n{line}\n')
    reader = ReportReader(tmp_path / "report", 100)
    news = reader.poll(0)
    assert [one for one in news if isinstance(one, Reading)] == [Reading("training", 100, 3.0)]
    (notice,) = [one for one in news if isinstance(one, Noticed)]
    assert words in notice.text
    assert reader.finish(0) == [Noticed(text="2 lines of the report were left out in all.")]


LINES = st.sampled_from(
    [
        b'{"step": 1, "loss": 3.25}',
        b'{"step": 2, "validation_loss": 3.0}',
        b"",
        b"\xff\xfe",
        b"x" * 9000,
        '{"saved": "/é", "step": 3}'.encode(),
    ]
)


@given(lines=st.lists(LINES, max_size=12), cuts=st.lists(st.integers(0, 60_000), max_size=12))
@settings(deadline=None)
def test_reports_that_are_written_in_pieces_are_read_whole(tmp_path_factory, lines, cuts):
    folder = tmp_path_factory.mktemp("report")
    data = b"".join(line + b"\n" for line in lines)
    (folder / "whole").write_bytes(data)
    whole = ReportReader(folder / "whole", 100).finish(0)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    reader, found = ReportReader(folder / "pieces", 100), []
    for begin, end in pairwise(places):
        with (folder / "pieces").open("ab") as file:
            file.write(data[begin:end])
        found += reader.poll(0)
    found += reader.finish(0)
    assert [one for one in found if not isinstance(one, Noticed)] == [
        one for one in whole if not isinstance(one, Noticed)
    ]
    assert [isinstance(one, Noticed) for one in found].count(True) == [
        isinstance(one, Noticed) for one in whole
    ].count(True)


def test_an_unfinished_last_line_counts_at_the_end_if_it_is_json(tmp_path):
    (tmp_path / "report").write_text('{"step": 1, "loss": 3}\n{"step": 2, "loss": 2.5}')
    reader = ReportReader(tmp_path / "report", 100)
    assert reader.poll(0) == [Reading("training", 100, 3.0)]
    assert reader.finish(0) == [Reading("training", 200, 2.5)]


def test_of_an_earlier_attempt_only_checkpoints_and_model_count(tmp_path):
    lines = [
        '{"model": {"params": 10}}',
        '{"step": 9, "loss": 1}',
        '{"saved": "/x", "step": 9}',
        '{"done": true}',
    ]
    (tmp_path / "report").write_text("\n".join(lines) + "\n")
    reader = ReportReader(tmp_path / "report", 100)
    assert reader.take_facts() == [ModelSize(params=10.0), Saved(path="/x", tokens=900)]
    with (tmp_path / "report").open("a") as file:
        file.write('{"step": 3, "loss": 2}\n')
    assert reader.poll(0) == [Reading("training", 300, 2.0)]
