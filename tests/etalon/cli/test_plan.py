"""``etalon plan`` and ``predict`` in a terminal: what they ask the service, and what they show of its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.answers.tables import upload
from orchestrator.settings import Settings
from orchestrator.spec import parse_spec, read_yaml
from orchestrator.store import Store
from tests.etalon.cli.running import etalon, plain, refusal_of

SPEC = """
name: small
trainer: {kind: proxy, corpus: stdlib}
grid:
  scales: [{width: 32, depth: 2}, {width: 64, depth: 2}]
  tokens: [400_000, 800_000]
  batch_tokens: [2048]
  learning_rates: {min: 1e-3, max: 3.2e-2, per_octave: 1}
search: {strategy: grid}
target: {params: 1e6, tokens: 8e5, batch_tokens: 2048}
"""


class Untimed(TestClient):
    """A client of an application in this process, which has no timeouts and warns of one."""

    def request(self, *args: Any, **options: Any) -> httpx2.Response:
        options.pop("timeout", None)
        return super().request(*args, **options)


@pytest.fixture
def requests(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[httpx2.Request]:
    """What the commands ask of a service, which runs in this process."""
    app = create_app(settings=Settings(home=tmp_path), store=store)
    asked: list[httpx2.Request] = []

    def connected(**_: Any) -> TestClient:
        client = Untimed(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
        client.event_hooks = {"request": [asked.append]}
        return client

    monkeypatch.setattr(httpx2, "Client", connected)
    return asked


@pytest.mark.usefixtures("requests")
def test_a_plan_shows_cells_costs_and_why_it_would_stop(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SPEC)

    code, text = etalon("plan", tmp_path / "sweep.yaml")
    text = plain(text)

    assert code == 0
    assert "small aims at 1 M parameters, 800 k tokens, batch of 2.05 k tokens" in text
    assert "24.6 k 399 k 2.05 k 6 from 1e-3 to 3.2e-2" in text
    assert "full grid 4 cells, 24 independent runs" in text
    assert "worker time unknown: no run of this kind of trainer has been measured here yet" in text
    assert "strategy grid expected 24 runs in" in text
    assert "it would stop" in text
    assert text.rindex("it would stop") > text.rindex("FLOPs")


@pytest.mark.usefixtures("requests")
def test_a_plan_for_programs_is_the_services_own(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SPEC)

    code, text = etalon("plan", tmp_path / "sweep.yaml", "--json")
    text = plain(text)

    assert code == 0
    assert len(json.loads(text)["cells"]) == 4


@pytest.mark.usefixtures("requests")
def test_a_plan_of_mixtures_shows_both_counts(tmp_path: Path) -> None:
    mixture = "architecture: {kind: moe, experts: 8, top_k: 2}"
    (tmp_path / "sweep.yaml").write_text(SPEC.replace("corpus: stdlib", f"corpus: stdlib, {mixture}"))

    code, text = etalon("plan", tmp_path / "sweep.yaml")
    text = plain(text)

    assert code == 0
    assert "N total active D B" in text
    assert "74.2 k 25.1 k 399 k 2.05 k 6 from" in text


@pytest.mark.usefixtures("requests")
def test_a_second_sweep_of_a_name_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SPEC)

    first, second = (plain(etalon("sweep", "submit", tmp_path / "sweep.yaml")[1]) for _ in range(2))

    assert "Another sweep" not in first
    assert "! Another sweep has the name 'small', the last one created 20" in second


@pytest.mark.usefixtures("requests")
def test_an_uploaded_table_is_shown_with_what_became_of_its_runs(tmp_path: Path) -> None:
    ends = ("completed", "diverged", "crashed", "crashed", "running")
    rows = [f"1e6,1e8,65536,{2**k}e-3,3.5,{state}" for k, state in enumerate(ends)]
    (tmp_path / "runs.csv").write_text(
        "\n".join(["params,tokens,batch_tokens,learning_rate,loss,state", *rows])
    )

    code, text = etalon("table", tmp_path / "runs.csv")

    assert code == 0
    assert plain(text).endswith(": 4 runs in 1 cell, of which 1 diverged, 2 failed; left out: 1 running")


def test_predict_reads_amounts_as_people_write_them(requests: list[httpx2.Request], store: Store) -> None:
    sweep, _ = store.sweeps.create(parse_spec(read_yaml(SPEC)), cells=())

    code, text = etalon(
        "predict", "small", "--params", "1.5B", "--tokens", "20_000M", "--batch-tokens", "262k"
    )

    assert code == 3
    assert f"Sweep {sweep.id} has no law yet" in plain(text)
    asked = {name: float(value) for name, value in requests[-1].url.params.items()}
    assert asked == {"params": 1.5e9, "tokens": 2e10, "batch_tokens": 262_000}


@pytest.mark.parametrize("wrong", ["1 Q", "many", "-1", "1,5B", "nan", "1e400", "0.2"])
def test_predict_refuses_what_is_no_amount(requests: list[httpx2.Request], wrong: str) -> None:
    code, text = etalon("predict", "0" * 32, f"--params={wrong}", "--tokens", "20B", "--json")

    assert code == 2
    assert json.loads(text)["detail"].startswith("--params:")
    assert requests == []


@pytest.mark.usefixtures("requests")
def test_a_table_in_a_specification_is_a_path_unless_it_is_an_id(store: Store, tmp_path: Path) -> None:
    rows = [f"1e6,{tokens},65536,{rate},3.5" for tokens in ("1e8", "2e8") for rate in (1e-3, 2e-3, 4e-3)]
    table = tmp_path / "runs.txt"
    table.write_text("\n".join(["params,tokens,batch_tokens,learning_rate,loss", *rows]))
    known = upload(store, table.read_bytes()).id

    for name, code, says in (
        ("runs.txt", 0, "6 runs"),
        (known, 0, "6 runs"),
        ("none.txt", 2, "trainer.table: there is no file"),
        ("tbl-none", 2, "no table 'tbl-none'"),
    ):
        (tmp_path / "sweep.yaml").write_text(f"name: replay\ntrainer: {{kind: replay, table: {name}}}\n")
        assert says in refusal_of("plan", tmp_path / "sweep.yaml", code=code)
