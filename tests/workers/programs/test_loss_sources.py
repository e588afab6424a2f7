"""Losses from output lines and from files that grow while they are read."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from workers.programs.loss_sources import FileSource, OutputPattern, open_source
from workers.programs.readings import Reading, decimals_of, read_count


def opened(source: dict[str, object], folder: Path) -> FileSource:
    found = open_source("training", source, folder, 100)
    assert isinstance(found, FileSource)
    return found


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("pattern", "line", "reading"),
    [
        (r"iter (?P<step>\d+): loss (?P<value>\S+),", "iter 50: loss 3.8116, time", (5000, 3.8116, 4)),
        (
            r"tokens: (?P<tokens>\S+) .*lm_loss: (?P<value>\S+)",
            "tokens: 1.2M | lm_loss: 3.45",
            (1_200_000, 3.45, 2),
        ),
        (
            r"samples: +(?P<samples>\d+) .*loss: (?P<value>\S+)",
            "samples:  10 | loss: 1.05E+01 |",
            (80, 10.5, 1),
        ),
        (r"CE loss=(?P<value>\S+)", "    train/CE loss=3.123", (None, 3.123, 3)),
        (r"at (?P<tokens>[\d,]+): (?P<value>\S+)", "at 1,048,576: 2", (1_048_576, 2.0, 0)),
    ],
)
def test_readings_of_output_lines(pattern, line, reading):
    source = open_source("training", {"output": pattern, "tokens_per_sample": 8}, Path(), 100)
    assert isinstance(source, OutputPattern)
    found = re.search(pattern, line)
    assert found is not None
    assert source.read(found) == Reading("training", *reading)


def test_nan_in_an_output_line_is_read():
    source = open_source("training", {"output": "loss (?P<value>.+)"}, Path(), 100)
    assert isinstance(source, OutputPattern)
    for text in ("nan", "NaN", "-inf", "Infinity"):
        reading = source.read(source.search(f"loss {text}"))
        assert reading is not None
        assert not math.isfinite(reading.loss)
    assert source.read(source.search("loss unknown")) is None


@pytest.mark.parametrize(
    ("text", "decimals"),
    [
        ("3.1234", 4),
        ("3", 0),
        ("3.", 0),
        ("-3.10", 2),
        ("1.05E+01", 1),
        ("3.1e-5", 6),
        ("2e3", 0),
        ("nan", None),
    ],
)
def test_decimals_of_a_loss(text, decimals):
    assert decimals_of(text) == decimals


@pytest.mark.parametrize(
    ("text", "count"),
    [("12", 12), ("1_000", 1000), ("1.5K", 1500), ("2B", 2e9), ("-1", None), ("x", None), ("", None)],
)
def test_counts_in_words(text, count):
    assert read_count(text) == count


def test_json_lines_that_grow(tmp_path):
    path = tmp_path / "losses.jsonl"
    path.write_text('{"step": 9, "loss": 1}\n')
    source = opened({"jsonl": "losses.jsonl", "loss": "metrics.loss", "step": "step"}, tmp_path)
    assert source.poll() == []
    append(path, '{"step": 1, "metrics": {"loss": 3.5}}\n{"step": 2, "metr')
    assert source.poll() == [Reading("training", 100, 3.5)]
    append(path, 'ics.loss": "nan"}\nno JSON\n{"step": 3, "metrics": {"loss": null}}\n')
    (reading,) = source.poll()
    assert reading.tokens == 200
    assert math.isnan(reading.loss)
    append(path, '{"step": 4, "metrics": {"loss": 3}}')
    assert source.finish() == [Reading("training", 400, 3.0)]


def test_sparse_csv_rows_that_grow_and_a_file_written_anew(tmp_path):
    path = tmp_path / "metrics.csv"
    source = opened({"csv": "metrics.csv", "loss": "train_loss", "step": "step"}, tmp_path)
    assert source.poll() == []
    path.write_text("step,train_loss\n1,3.25\n2,\n3,")
    assert source.poll() == [Reading("training", 100, 3.25, 2)]
    append(path, "3.125\n")
    assert source.poll() == [Reading("training", 300, 3.125, 3)]
    path.write_text("epoch,step,train_loss\n0,1,3.25\n0,2,\n0,3,3.125\n0,4,3.0\n")
    assert source.poll() == [
        Reading("training", 100, 3.25, 2),
        Reading("training", 300, 3.125, 3),
        Reading("training", 400, 3.0, 1),
    ]


def test_csv_rows_of_an_earlier_attempt_are_left_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("tokens,loss\n100,nan\n")
    source = opened({"csv": str(path), "loss": "loss", "tokens": "tokens"}, Path("/"))
    append(path, '200,3.5\n"300,\r2\n400,3.25\n')
    assert source.finish() == [Reading("training", 200, 3.5, 1), Reading("training", 400, 3.25, 2)]


def test_tensorboard_scalars_while_they_are_written(tmp_path):
    folder = tmp_path / "runs"
    old = SummaryWriter(str(folder / "old"))
    old.add_scalar("loss", 9.0, 9)
    old.close()
    source = opened({"tensorboard": "runs", "tag": "loss"}, tmp_path)
    writer = SummaryWriter(str(folder / "new"))
    for step in range(1, 4):
        writer.add_scalar("loss", 4 - step / 4, step)
        writer.add_scalar("other", 1.0, step)
    writer.add_scalar("loss", math.nan, 4)
    writer.flush()
    found = source.poll()  # what its thread has written so far
    writer.close()
    found += source.finish()
    assert found[:3] == [Reading("training", 100 * step, 4 - step / 4) for step in range(1, 4)]
    assert math.isnan(found[3].loss)


def test_a_torn_record_of_tensorboard_waits(tmp_path):
    folder = tmp_path / "runs"
    writer = SummaryWriter(str(folder))
    for step in range(1, 3):
        writer.add_scalar("loss", 4 - step / 4, step)
    writer.close()
    (path,) = folder.iterdir()
    data = path.read_bytes()
    path.write_bytes(b"")
    source = opened({"tensorboard": "runs", "tag": "loss"}, tmp_path)
    found = []
    for begin in range(0, len(data), 7):
        with path.open("ab") as file:
            file.write(data[begin : begin + 7])
        found += source.poll()
    assert found == [Reading("training", 100, 3.75), Reading("training", 200, 3.5)]


def test_scalars_that_are_tensors_are_read(tmp_path):
    event = Event(step=5)
    value = event.summary.value.add(tag="loss")
    value.tensor.dtype = 1
    value.tensor.float_val.append(2.5)
    data = event.SerializeToString()
    source = opened({"tensorboard": str(tmp_path), "tag": "loss"}, Path("/"))
    record = len(data).to_bytes(8, "little") + bytes(4) + data + bytes(4)
    (tmp_path / "events.out.tfevents.1").write_bytes(record)
    assert source.finish() == [Reading("training", 500, 2.5)]


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"csv": "x.csv", "step": "step"},
        {"tensorboard": "x"},
        {"output": r"at (?P<samples>\d+): (?P<value>\S+)"},
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path, source):
    with pytest.raises(ValueError, match="source of losses"):
        open_source("training", source, tmp_path, 100)
