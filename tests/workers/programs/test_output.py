"""Lines wherever chunks are cut, and files of bounded size."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.store.outputs import TAIL_BYTES
from workers.programs.output import MASK, Line, LineSplitter, OutputFiles, head, tail, tail_and_end
from workers.programs.program_runner import LOG_BYTES

PIECES = st.sampled_from(
    [
        b"a",
        b"loss 3.5",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x1b[31m",
        b"\x1b[0m",
        "é•".encode(),
        b"\xff",
        b"\x00\t",
        b"x" * 5000,
    ]
)


def split(chunks: list[bytes]) -> list[Line]:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


@given(pieces=st.lists(PIECES, max_size=12), cuts=st.lists(st.integers(0, 60_000), max_size=10))
@settings(deadline=None)
def test_lines_do_not_depend_on_where_chunks_are_cut(pieces, cuts):
    data = b"".join(pieces)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    lines = split([data[begin:end] for begin, end in pairwise(places)])
    assert lines == split([data])
    assert lines == split([bytes([byte]) for byte in data])
    assert all("\x1b[" not in line.text and len(line.text) <= 8192 for line in lines)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"one\ntwo\r\n\nthree", [Line("one"), Line("two"), Line(""), Line("three")]),
        (b"10%\r20%\rdone\n", [Line("10%", refresh=True), Line("20%", refresh=True), Line("done")]),
        (b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 x\n", [Line("red x")]),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", [Line("link")]),
        (b"a\xff\x00b\tc\n", [Line("a\N{REPLACEMENT CHARACTER}b\tc")]),
        (b"x" * 9000 + b"\ny\n", [Line("x" * 8192, cut=True), Line("y")]),
    ],
)
def test_what_a_line_is(data, lines):
    assert split([data]) == lines


def test_a_reader_of_the_database_sees_that_a_long_output_lost_its_beginning(tmp_path):
    files = OutputFiles(tmp_path, log_bytes=2**22)
    files.write([Line("x" * 8000)] * 20)
    files.close()
    assert len(tail(tmp_path, LOG_BYTES).encode()) > TAIL_BYTES


def test_the_head_and_the_last_lines_are_kept(tmp_path):
    files = OutputFiles(tmp_path, log_bytes=3000)
    for number in range(1000):
        files.write([Line(f"line {number}")])
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000
    files.close()
    assert head(tmp_path).startswith("line 0\nline 1\n")
    assert tail(tmp_path, 20) == "line 998\nline 999\n"
    whole = tail(tmp_path, 10_000).splitlines()
    assert whole.count("…") == 1
    assert whole.index("…") == len(head(tmp_path).splitlines())
    assert len(whole) * 9 > 2000


def test_a_next_attempt_continues_the_output(tmp_path):
    for attempt in range(3):
        files = OutputFiles(tmp_path, log_bytes=100)
        files.write([Line(f"attempt {attempt} {step}") for step in range(5)])
        files.close()
    assert head(tmp_path, 20) == "attempt 0 0\n"
    assert tail(tmp_path, 30) == "attempt 2 3\nattempt 2 4\n"


def test_the_end_counts_what_was_lost_and_what_earlier_attempts_wrote(tmp_path):
    for attempt in range(1, 4):
        files = OutputFiles(tmp_path, log_bytes=300)
        files.write([Line("the same")] * 100)
        files.close()
        assert tail_and_end(tmp_path, 20) == ("the same\n" * 2, 900 * attempt)


def test_short_outputs_have_no_gap(tmp_path):
    files = OutputFiles(tmp_path, log_bytes=100)
    files.write([Line(f"line {number}") for number in range(12)])
    files.close()
    assert tail(tmp_path, 1000) == "".join(f"line {number}\n" for number in range(12))


def test_secrets_are_masked_also_where_a_line_is_cut(tmp_path):
    files = OutputFiles(tmp_path, log_bytes=1 << 20, secrets=("hf_12345678", "first\nsecond line"))
    files.write([Line("key hf_12345678."), Line("second line"), Line("x hf_1234", cut=True)])
    files.close()
    assert head(tmp_path) == f"key {MASK}.\n{MASK}\nx {MASK}…\n"


def test_refreshes_of_a_progress_bar_are_kept_once_a_second(tmp_path):
    now = [100.0]
    files = OutputFiles(tmp_path, log_bytes=1 << 20, clock=lambda: now[0])
    for tenth in range(25):
        now[0] = 100.0 + tenth / 10
        files.write([Line(f"{tenth}", refresh=True)])
    files.write([Line("done")])
    files.close()
    assert head(tmp_path) == "0\n10\n20\ndone\n"


def test_where_nothing_was_written_there_is_nothing(tmp_path):
    assert head(tmp_path) == tail(tmp_path, 100) == ""


def test_links_that_a_program_made_are_neither_read_nor_written(tmp_path):
    secret, run = tmp_path / "secret", tmp_path / "run"
    secret.write_text("of the service\n")
    run.mkdir()
    (run / "output.log").symlink_to(secret)
    (run / "output.000000999999.log").symlink_to(secret)
    assert (head(run), tail(run, 1000).strip("…\n")) == ("", "")
    with pytest.raises(OSError, match="symbolic links"):
        OutputFiles(run, log_bytes=1 << 20)


def test_a_pipe_in_place_of_the_output_makes_nobody_wait(tmp_path):
    os.mkfifo(tmp_path / "output.log")
    assert tail(tmp_path, 1000) == ""
