import hashlib
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from trainer import TokenFileStats, load_corpus
from trainer.exceptions import BadCorpus


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"line {number}: wer reitet so spät\n" for number in range(2_000)))
    return path


def test_stdlib_is_megabytes_of_python_with_the_same_hash_every_time(corpus):
    assert corpus.vocab_size == 256
    assert len(corpus.train) > 3_000_000
    assert len(corpus.heldout) > 100_000
    assert b"def __init__(self" in corpus.train.tobytes()
    assert load_corpus("stdlib").sha256 == corpus.sha256
    assert 2.5 < corpus.unigram_entropy < 3.5


def test_stdlib_splits_by_file(corpus):
    start = corpus.heldout[:2_000].tobytes()
    assert start not in corpus.train.tobytes()


def test_text_is_read_byte_by_byte_and_its_tail_held_out(text):
    corpus = load_corpus(text)
    data = text.read_bytes()
    assert corpus.train.tobytes() + corpus.heldout.tobytes() == data
    assert corpus.sha256 == hashlib.sha256(data).hexdigest()
    assert len(corpus.heldout) == pytest.approx(len(data) / 16, abs=1)
    assert corpus.name == str(text)


def test_the_hash_follows_the_data(text):
    before = load_corpus(text).sha256
    text.write_text(text.read_text() + "!")
    assert load_corpus(text).sha256 != before


@pytest.mark.parametrize(("token_type", "dtype"), [("uint16", "<u2"), ("uint32", "<u4")])
def test_token_ids_are_mapped(tmp_path, token_type, dtype):
    path = tmp_path / "ids.bin"
    ids = np.random.default_rng(0).integers(0, 1_000, size=5_000).astype(dtype)
    ids.tofile(path)
    corpus = load_corpus(path, token_type=token_type, vocab_size=1_000, name="mine")
    assert (corpus.name, corpus.vocab_size) == ("mine", 1_000)
    assert np.array_equal(np.concatenate([corpus.train, corpus.heldout]), ids)
    assert isinstance(corpus.train, np.memmap)


def test_unigram_entropy_is_that_of_the_train_split(tmp_path):
    path = tmp_path / "ids.bin"
    ids = np.array([0, 1, 1, 3] * 400, dtype="<u2")
    ids.tofile(path)
    assert load_corpus(path, token_type="uint16", vocab_size=4).unigram_entropy == pytest.approx(
        1.5 * np.log(2)
    )


def test_a_batch_depends_on_its_arguments_alone(corpus):
    batch = corpus.batch(3, 7, 4, 64)
    assert batch.shape == (4, 65)
    corpus.batch(0, 0, 4, 64)
    assert np.array_equal(corpus.batch(3, 7, 4, 64), batch)
    assert not np.array_equal(corpus.batch(3, 8, 4, 64), batch)
    assert not np.array_equal(corpus.batch(4, 7, 4, 64), batch)


def test_windows_are_fixed_and_lie_within_the_heldout_split(corpus):
    windows = corpus.heldout_windows(256, 64)
    assert windows.shape == (256, 65)
    assert np.array_equal(windows, corpus.heldout_windows(256, 64))
    assert np.array_equal(windows[0], corpus.heldout[:65])
    assert np.array_equal(windows[-1], corpus.heldout[-65:])


def test_windows_and_batches_use_every_token_of_the_shortest_split(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("abcdefghijklmnopqrstuvwxyz012345")
    corpus = load_corpus(path)
    assert bytes(corpus.heldout_windows(3, 1)[0].tolist()) == b"45"
    assert corpus.batch(0, 0, 2, 29).shape == (2, 30)
    with pytest.raises(BadCorpus, match=r"held-out split has 2 tokens; a context of 2 needs at least 3"):
        corpus.heldout_windows(3, 2)
    with pytest.raises(BadCorpus, match=r"train split has 30 tokens; a context of 30 needs at least 31"):
        corpus.batch(0, 0, 1, 30)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadCorpus, match=r"no such file: .*nowhere\.txt"):
        load_corpus(tmp_path / "nowhere.txt")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("spät".encode("latin-1"))
    with pytest.raises(BadCorpus, match="not UTF-8"):
        load_corpus(path)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (100, {}, "needs its token_type"),
        (
            100,
            {"token_type": "uint16", "vocab_size": 50},
            r"token id 92; allowed: below its vocab_size of 50",
        ),
        (100, {"token_type": "int8", "vocab_size": 100}, "allowed: uint16, uint32"),
        (99, {"token_type": "uint32", "vocab_size": 100}, "198 bytes"),
        (100, {"token_type": "uint16", "vocab_size": 1 << 32}, "vocab_size is 4294967296; allowed"),
        (0, {"token_type": "uint16", "vocab_size": 50}, "0 bytes"),
        (1, {"token_type": "uint16", "vocab_size": 50}, "too few"),
    ],
)
def test_a_bad_bin_file_is_refused_with_the_reason(tmp_path, size, options, message):
    path = tmp_path / "ids.bin"
    np.arange(size, dtype="<u2").tofile(path)
    with pytest.raises(BadCorpus, match=message):
        load_corpus(path, **options)


def ids_file(path, count=5_000, below=1_000):
    np.random.default_rng(0).integers(0, below, size=count).astype("<u2").tofile(path)
    return path


def test_what_is_held_out_can_be_counted_from_the_end(tmp_path):
    path = ids_file(tmp_path / "ids.bin")
    corpus = load_corpus(path, token_type="uint16", vocab_size=1_000, heldout_tokens=700)
    assert (len(corpus.train), len(corpus.heldout)) == (4_300, 700)
    assert np.array_equal(corpus.heldout, np.fromfile(path, dtype="<u2")[-700:])
    assert corpus.heldout_windows(64, 16).shape == (64, 17)


@pytest.mark.parametrize("heldout", [-1, 0, 5_000, 6_000])
def test_a_count_of_held_out_tokens_that_leaves_a_split_empty_is_refused(tmp_path, heldout):
    path = ids_file(tmp_path / "ids.bin")
    with pytest.raises(BadCorpus, match=rf"heldout_tokens is {heldout}; allowed: 1 to 4999"):
        load_corpus(path, token_type="uint16", vocab_size=1_000, heldout_tokens=heldout)


def test_text_has_no_count_of_held_out_tokens(text):
    with pytest.raises(BadCorpus, match="is text"):
        load_corpus(text, heldout_tokens=10)


def test_what_was_measured_is_taken_and_only_the_length_checked(tmp_path):
    path = ids_file(tmp_path / "ids.bin")
    options = {"token_type": "uint16", "vocab_size": 1_000, "heldout_tokens": 700}
    read = load_corpus(path, **options)
    known = TokenFileStats(tokens=5_000, sha256=read.sha256, unigram_entropy=read.unigram_entropy)
    corpus = load_corpus(path, **options, measured=known)
    assert (corpus.sha256, corpus.unigram_entropy) == (read.sha256, read.unigram_entropy)
    assert np.array_equal(corpus.batch(3, 7, 4, 64), read.batch(3, 7, 4, 64))
    with pytest.raises(BadCorpus, match="has 5000 tokens, but 4999 were measured; prepare it again"):
        load_corpus(path, **options, measured=TokenFileStats(tokens=4_999, sha256="", unigram_entropy=1.0))


def test_a_measured_file_far_larger_than_memory_is_loaded_and_drawn_from_in_pieces(tmp_path):
    """The file is sparse: 256 GiB in size, nothing on the disk; reading or copying all of it would not end."""
    path, tokens = tmp_path / "huge.bin", 1 << 37
    path.touch()
    os.truncate(path, 2 * tokens)
    known = TokenFileStats(tokens=tokens, sha256="of it", unigram_entropy=1.0)
    tracemalloc.start()
    try:
        corpus = load_corpus(
            path, token_type="uint16", vocab_size=1_000, heldout_tokens=tokens // 16, measured=known
        )
        batches = [corpus.batch(0, step, 32, 64) for step in range(20)]
        windows = corpus.heldout_windows(256, 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {batch.shape for batch in batches} == {(32, 65)}
    assert windows.shape == (256, 65)
    assert peak < 4 << 20


def test_the_order_of_the_data_is_that_of_the_seed_in_every_process_and_from_every_step(tmp_path):
    path = ids_file(tmp_path / "ids.bin")
    corpus = load_corpus(path, token_type="uint16", vocab_size=1_000)
    here = [hashlib.sha256(corpus.batch(5, step, 4, 16).tobytes()).hexdigest() for step in range(6)]
    program = (
        "import sys, hashlib; from trainer import load_corpus\n"
        "corpus = load_corpus(sys.argv[1], token_type='uint16', vocab_size=1000)\n"
        "for step in (4, 5, 0, 3, 1, 2):\n"
        "    print(hashlib.sha256(corpus.batch(5, step, 4, 16).tobytes()).hexdigest())\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    there = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    assert there == [here[step] for step in (4, 5, 0, 3, 1, 2)]
    assert len(set(here)) == 6
