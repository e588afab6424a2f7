"""Corpora found by their names, and refused where they are not what was prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpora import (
    DOCUMENT_FILE,
    TOKENS_FILE,
    CorpusDocument,
    PreparedSource,
    check_name,
    corpus_names,
    find_corpus,
    sample_sha256,
)
from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.store import Store
from orchestrator.submission.preview import preview, submit

IDS = bytes(range(256)) * 4_000


def lay_down(folder: Path) -> CorpusDocument:
    """A prepared corpus as it lies in its folder."""
    folder.mkdir(parents=True)
    (folder / TOKENS_FILE).write_bytes(IDS)
    document = CorpusDocument.model_validate(
        {
            "name": folder.name,
            "vocab_size": 65_536,
            "dtype": "uint16",
            "train_tokens": 480_000,
            "heldout_tokens": 32_000,
            "train_bytes": 1_920_000,
            "heldout_bytes": 128_000,
            "heldout_bytes_per_token": 4.0,
            "heldout_rule": "the tail",
            "unigram_entropy": 4.85,
            "sha256": "0" * 64,
            "sample_sha256": sample_sha256(folder / TOKENS_FILE),
            "tokenizer_sha256": "0" * 64,
            "plan": {"vocab_size": 65_536, "suffixes": [".txt"], "tokenizers": "0.23.3"},
            "source": {"path": "/text", "files": 1, "bytes": 2_048_000, "sha256": "0" * 64},
        }
    )
    (folder / DOCUMENT_FILE).write_text(document.model_dump_json())
    return document


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def sweep_on(corpus: str):
    return parse_spec(
        {
            "name": "own text",
            "trainer": {"kind": "proxy", "corpus": corpus},
            "grid": {
                "scales": [{"width": 32, "depth": 2}],
                "tokens": [400_000],
                "batch_tokens": [2048],
                "learning_rates": {"min": 1e-3, "max": 8e-3, "per_octave": 1},
            },
        }
    )


def test_a_prepared_corpus_is_found_by_its_name(settings: Settings, store: Store) -> None:
    document = lay_down(settings.home / "corpora" / "novels")

    source = find_corpus("novels", settings)

    assert isinstance(source, PreparedSource)
    assert source.document == document
    assert (source.path, source.dtype, source.vocab_size, source.heldout_tokens) == (
        settings.home / "corpora" / "novels" / TOKENS_FILE,
        "uint16",
        65_536,
        32_000,
    )
    assert submit(sweep_on("novels"), store, settings)[1]


def test_the_folder_of_corpora_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_down(tmp_path / "shared" / "novels")
    monkeypatch.setenv("ETALON_CORPORA_FOLDER", str(tmp_path / "shared"))
    monkeypatch.setenv("ETALON_CORPORA", '{"own": "/data/own.txt"}')

    assert corpus_names(Settings()) == ["stdlib", "novels", "own"]


def test_a_registered_corpus_wins_over_a_prepared_one(settings: Settings, tmp_path: Path) -> None:
    lay_down(settings.corpora_folder / "novels")
    registered = settings.model_copy(
        update={"corpora": Settings(corpora={"novels": "/data/novels.txt"}).corpora}  # type: ignore[dict-item]
    )

    source = find_corpus("novels", registered)

    assert source is not None
    assert source.path == Path("/data/novels.txt")


@pytest.mark.parametrize("name", ["../secrets", "a/b", "", ".novels.partial", "no\x00thing", "gone"])
def test_an_unknown_name_is_refused_with_the_known_ones_and_the_way_to_make_one(
    settings: Settings, store: Store, name: str
) -> None:
    lay_down(settings.corpora_folder / "novels")
    (settings.corpora_folder / ".novels.partial").mkdir()
    assert find_corpus(name, settings) is None
    if not name or "\x00" in name:
        return  # no specification carries it
    for ask in (preview, submit):
        with pytest.raises(
            BadInput, match=r"known: stdlib, novels; `etalon corpus prepare SOURCE --name NAME`"
        ) as reason:
            ask(sweep_on(name), store, settings)
        assert [problem.path for problem in reason.value.fields] == ["trainer.corpus"]


@pytest.mark.parametrize(
    ("place", "data"),
    [
        (0, b"\xff"),
        (len(IDS) - 1, b"\x00"),
        (len(IDS), b"\x00\x00"),
        (len(IDS) // 63 // 4096 * 4096, b"\xff" * 4096),
    ],
    ids=["first", "last", "longer", "a block"],
)
def test_a_file_that_is_no_longer_the_prepared_one_is_refused(
    settings: Settings, store: Store, place: int, data: bytes
) -> None:
    lay_down(settings.corpora_folder / "novels")
    with (settings.corpora_folder / "novels" / TOKENS_FILE).open("r+b") as file:
        file.seek(place)
        file.write(data)

    with pytest.raises(
        BadInput, match=r"'novels' cannot be read: .* is not the file that was prepared.*--again"
    ):
        submit(sweep_on("novels"), store, settings)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (TOKENS_FILE, None, "No such file"),
        (DOCUMENT_FILE, None, "corpus.json cannot be read: No such file"),
        (DOCUMENT_FILE, "{}", "not a corpus of this version"),
        (DOCUMENT_FILE, "[", "not a corpus of this version"),
    ],
)
def test_a_broken_corpus_is_refused_with_the_file_at_fault(
    settings: Settings, store: Store, file: str, content: str | None, reason: str
) -> None:
    lay_down(settings.corpora_folder / "novels")
    path = settings.corpora_folder / "novels" / file
    path.unlink()
    if content is not None:
        path.write_text(content)

    with pytest.raises(BadInput, match=reason) as refused:
        submit(sweep_on("novels"), store, settings)
    assert [problem.path for problem in refused.value.fields] == ["trainer.corpus"]


@pytest.mark.parametrize("name", ["novels", "C4_en.2024-10", "7"])
def test_names_that_are_safe_as_a_folder_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "a\n", "ä", "stdlib", "x" * 101]
)
def test_names_that_are_no_safe_folder_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a corpus; allowed") as refused:
        check_name(name)
    assert [problem.path for problem in refused.value.fields] == ["name"]
