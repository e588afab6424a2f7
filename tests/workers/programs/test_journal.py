"""Entries arrive whole, in order and once, however the file was written."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.programs.journal import (
    Diverged,
    Done,
    Ended,
    Entry,
    JournalReader,
    JournalWriter,
    Measured,
    ModelSize,
    Noticed,
    Saved,
    Started,
    encode,
    read_journal,
)

ENTRIES: list[Entry] = [
    Started(pid=3, keeper=2, attempt=1, start_tokens=0, at=1.5),
    ModelSize(params=1e6),
    Measured(kind="training", tokens=100, loss=3.5, count=2),
    Saved(path="/é/step-1", tokens=100),
    Noticed(text="one\ntwo"),
    Diverged(reason="loss is nan", tokens=200),
    Done(loss=None),
    Ended(code=0, signal=None, cause="exit", seconds=1.0, decimals=4, matched=2, left=0, at=2.5),
]


@given(cuts=st.lists(st.integers(0, 2000), max_size=20))
@settings(deadline=None)
def test_entries_that_are_written_in_pieces_are_read_whole(tmp_path_factory, cuts):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    data = b"".join(map(encode, ENTRIES))
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    reader, found = JournalReader(path), []
    for begin, end in pairwise(places):
        with path.open("ab") as file:
            file.write(data[begin:end])
        found += reader.poll()
    assert found == ENTRIES
    assert read_journal(path) == ENTRIES


def test_what_a_killed_keeper_left_unfinished_is_left_out(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(ENTRIES[0]) + encode(ENTRIES[1])[:10])
    writer = JournalWriter(path)
    writer.append(ENTRIES[2], ENTRIES[3])
    writer.close()
    assert read_journal(path) == [ENTRIES[0], ENTRIES[2], ENTRIES[3]]


def test_entries_that_found_the_disk_full_come_first_next_time(tmp_path):
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    full = os.open("/dev/full", os.O_WRONLY)
    good = os.dup(writer.fileno())
    os.dup2(full, writer.fileno())
    with pytest.raises(OSError, match="No space"):
        writer.append(ENTRIES[0])
    with pytest.raises(OSError, match="No space"):
        writer.append(ENTRIES[1])
    os.dup2(good, writer.fileno())
    writer.append(ENTRIES[2])
    assert read_journal(path) == ENTRIES[:3]
    for descriptor in (full, good):
        os.close(descriptor)
    writer.close()


def test_a_second_keeper_waits_for_the_lock(tmp_path):
    first, second = JournalWriter(tmp_path / "journal"), JournalWriter(tmp_path / "journal")
    assert first.lock()
    assert not second.lock()
    first.close()
    assert second.lock()
    second.close()


def test_a_journal_that_is_removed_is_noticed(tmp_path):
    writer = JournalWriter(tmp_path / "journal")
    assert writer.is_there()
    (tmp_path / "journal").unlink()
    assert not writer.is_there()
    (tmp_path / "journal").touch()
    assert not writer.is_there()
    writer.close()
