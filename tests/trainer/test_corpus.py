import hashlib

import numpy as np
import pytest

from trainer import BadCorpus, load_corpus


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
