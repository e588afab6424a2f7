"""Submitting: what a replay may ask for, and what a preview says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec
from orchestrator.store import Store
from orchestrator.submission.preview import cells_of, preview, submit

HEADER = "params,tokens,batch_tokens,learning_rate,loss\n"
TWICE = "1e6,1e8,1024,1e-3,3.5\n1e6,1e8,1024,1e-3,3.6\n1e6,1e8,1024,2e-3,3.4\n1e6,1e8,1024,2e-3,3.5\n"


def replay(store: Store, rows: str, **grid: Any) -> dict[str, Any]:
    table = store.tables.add((HEADER + rows).encode(), rows=len(rows.splitlines()), cells=1)
    return {"name": "again", "trainer": {"kind": "replay", "table": table.id}, "grid": grid}


def test_a_replay_of_failed_runs_alone_is_refused_as_such(store: Store) -> None:
    rows = "params,tokens,batch_tokens,learning_rate,loss,state\n1e6,1e8,1024,1e-3,,failed\n"
    table = store.tables.add(rows.encode(), rows=1, cells=1)
    fields = {"name": "again", "trainer": {"kind": "replay", "table": table.id}, "grid": {}}

    with pytest.raises(BadInput, match="trainer: every run of the table failed, so no loss is recorded"):
        cells_of(parse_spec(fields), store, Settings())


def test_a_replay_of_more_runs_than_a_sweep_may_have_is_refused(store: Store) -> None:
    places = ((1e6 * 1.01**n, 1e8 * 1.01**d) for n in range(317) for d in range(317))
    rows = "".join(f"{params},{tokens},1024,1e-3,3.5\n" for params, tokens in places)
    with pytest.raises(BadInput, match="100489 runs .* at most 100000") as refused:
        cells_of(parse_spec(replay(store, rows)), store, Settings())

    assert [problem.path for problem in refused.value.fields] == ["grid"]


def test_the_preview_of_a_fit_says_what_it_fits(store: Store, tmp_path: Path) -> None:
    table = replay(store, TWICE)["trainer"]["table"]
    plan = preview(
        parse_spec({"name": "a fit", "prior_runs": {"table": table}}), store, Settings(home=tmp_path)
    )

    assert plan.cells == []
    assert plan.full_grid.runs == 0
    assert plan.expected.runs == 0
    assert plan.expected.saved_fraction is None
    assert plan.expected.ends_because == "It fits the 4 prior runs."


@pytest.mark.parametrize("field", ["trainer", "prior_runs"])
def test_the_preview_names_a_setting_that_the_table_pools(store: Store, tmp_path: Path, field: str) -> None:
    lines = [
        f"{n},1e8,1024,{rate},{3 + rate},{decay}"
        for n in (1e6, 2e6)
        for rate in (1e-3, 2e-3, 4e-3)
        for decay in (0, 0.1)
    ]
    data = "\n".join([f"{HEADER.strip()},weight_decay", *lines]).encode()
    source = {"table": store.tables.add(data, rows=len(lines), cells=2).id}
    fields = {"name": "pooled", field: source | ({"kind": "replay"} if field == "trainer" else {})}

    plan = preview(parse_spec(fields), store, Settings(home=tmp_path))

    (warning,) = plan.warnings
    assert warning.startswith("weight_decay takes 2 values (0, 0.1)")
    assert f"pick one with {field}.where" in warning
    assert [(notice.code, notice.message) for notice in plan.notices] == [("pooled_column", warning)]


PROXY = {
    "name": "own text",
    "trainer": {"kind": "proxy", "corpus": "own"},
    "grid": {
        "scales": [{"width": 32, "depth": 2}],
        "tokens": [400_000],
        "batch_tokens": [2048],
        "learning_rates": {"min": 1e-3, "max": 8e-3, "per_octave": 1},
    },
}


def registered(folder: Path, file: str, content: bytes | None, **more: Any) -> Settings:
    path = folder / file
    if content is not None:
        path.write_bytes(content)
    return Settings(home=folder, corpora={"own": {"path": path, **more}})


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("gone.txt", None, "No such file"),
        (".", None, "Is a directory"),
        ("empty.txt", b"", "is empty"),
        ("packed.txt", b"\x1f\x8b\x08\xff", "is not UTF-8 text .byte 1"),
        ("ids.bin", b"\x01\x00" * 64, "needs dtype and vocab_size"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_refused_before_anything_is_written(
    store: Store, tmp_path: Path, file: str, content: bytes | None, sentence: str
) -> None:
    settings, spec = registered(tmp_path, file, content), parse_spec(PROXY)

    for ask in (preview, submit):
        with pytest.raises(BadInput, match=sentence) as refused:
            ask(spec, store, settings)
        assert [problem.path for problem in refused.value.fields] == ["trainer.corpus"]
    assert store.sweeps.page(state=None, limit=1, cursor=None)[2] == 0


@pytest.mark.parametrize(
    ("file", "content", "more"),
    [
        ("own.txt", b"a" * (2**16 - 1) + "é".encode() * 8, {}),
        ("ids.bin", b"\xff\xff" * 64, {"dtype": "uint16", "vocab_size": 65_536}),
    ],
    ids=["text cut within a letter", "token ids"],
)
def test_a_corpus_that_can_be_read_is_taken(
    store: Store, tmp_path: Path, file: str, content: bytes, more: dict[str, Any]
) -> None:
    sweep, new, _ = submit(parse_spec(PROXY), store, registered(tmp_path, file, content, **more))

    assert new
    assert sweep.name == "own text"
