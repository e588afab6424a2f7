"""Both Python clients against a real server."""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread, current_thread
from typing import Any

import pandas as pd
import pytest
from fastapi import FastAPI

import etalon
from etalon import async_client, client
from etalon.client import SweepHandle
from etalon.operations import OPERATIONS
from etalon.service_address import ServiceError
from orchestrator.documents.events import LawEvent, SweepEvent
from orchestrator.spec import parse_spec
from orchestrator.states import SWEEP_LIVE, RunState, SweepState
from orchestrator.store import Store
from tests.api.servers import Server, serving
from tests.known_law import RECORDED, grid, run_table

Served = tuple[Server, Store]

ABSENT = {
    ("GET", "/healthz"): "for supervisors of processes",
    ("GET", "/metrics"): "for Prometheus",
}
"""Operations that the clients leave out, and why."""


@pytest.fixture
def service(served: Served) -> Iterator[etalon.Client]:
    with etalon.Client(served[0].url, token="") as opened:
        yield opened


@pytest.fixture
def ended(served: Served, submit_to: Any, train_all: Any) -> Any:
    """A completed sweep of a name of its own, as its store has it."""
    recorded = train_all(served[1], submit_to(served[1], name=f"ended {secrets.token_hex(4)}").sweep)
    recorded.move(SweepState.COMPLETED)
    return recorded


@pytest.fixture
def sweep(service: etalon.Client, ended: Any) -> SweepHandle:
    return service.sweeps.get(ended.sweep.id)


def test_a_sweep_is_found_by_its_name(service: etalon.Client, ended: Any) -> None:
    by_name = service.sweeps.get(ended.sweep.name)

    assert (by_name.id, by_name.state) == (ended.sweep.id, SweepState.COMPLETED)
    assert repr(by_name) == f"<Sweep {ended.sweep.name!r} completed {ended.sweep.id}>"


def test_an_item_of_the_list_finds_its_sweep(service: etalon.Client, ended: Any) -> None:
    (item,) = service.sweeps.list(name=ended.sweep.name)
    assert service.sweeps.get(item).id == ended.sweep.id


def test_runs_and_laws_have_lengths_and_places(sweep: SweepHandle) -> None:
    runs, laws = list(sweep.runs), list(sweep.laws)

    assert (len(sweep.runs), len(sweep.laws)) == (len(runs), len(laws)) == (36, 1)
    assert [sweep.runs[0], sweep.runs[3], sweep.runs[-1]] == [runs[0], runs[3], runs[-1]]
    assert sweep.laws[0] == sweep.laws[-1] == laws[0]
    for wrong in (36, -37):
        with pytest.raises(IndexError):
            sweep.runs[wrong]
        with pytest.raises(IndexError):
            sweep.laws[wrong]


def test_documents_are_short_in_a_notebook(sweep: SweepHandle) -> None:
    law = sweep.law
    predicted = sweep.predict(params="1M", tokens="800k")
    shown = [law, predicted, sweep.document, *sweep.runs, *sweep.watch(), *law.bowls, law.prediction]

    assert max(len(repr(document)) for document in shown) < 500
    assert repr(law).startswith("LawDocument(number=1, runs=")
    assert f"learning_rate={predicted.learning_rate:.4g}, interval=Interval(level=0.95, low=" in repr(
        predicted
    )
    assert str(law.formula).startswith("η* ")
    assert law.to_json()["bowls"]


def test_a_name_of_several_sweeps_is_refused_with_their_ids(
    service: etalon.Client, served: Served, submit_to: Any
) -> None:
    ids = [submit_to(served[1], name="twins").sweep.id for _ in range(2)]

    with pytest.raises(etalon.Conflict, match="use an id") as refused:
        service.sweeps.get("twins")

    assert all(f"{id_} (queued, created 20" in refused.value.detail for id_ in ids)


@pytest.mark.parametrize("name", ["muon/130M", ".", ".."])
def test_a_name_that_no_path_can_hold_is_found(
    service: etalon.Client, served: Served, submit_to: Any, name: str
) -> None:
    first = submit_to(served[1], name=name).sweep.id
    assert service.sweeps.get(name).id == first

    second = submit_to(served[1], name=name).sweep.id
    with pytest.raises(etalon.Conflict, match="use an id") as refused:
        service.sweeps.get(name)
    assert all(f"{id_} (queued, created 20" in refused.value.detail for id_ in (first, second))


@pytest.mark.parametrize("name", ["", "nobody", "../runs", "a b?c#d", "\0", "0" * 32])
def test_a_sweep_that_does_not_exist_is_not_found(service: etalon.Client, name: str) -> None:
    with pytest.raises(etalon.NotFound):
        service.sweeps.get(name)


def test_a_list_pages_by_itself_and_only_as_far_as_it_is_read(
    service: etalon.Client, served: Served, submit_to: Any
) -> None:
    ids = [submit_to(served[1], name="many").sweep.id for _ in range(5)]

    assert [item.id for item in service.sweeps.list(name="many", page_items=2)] == ids[::-1]
    assert [item.id for item in islice(service.sweeps.list(name="many", page_items=2), 1)] == ids[-1:]
    assert list(service.sweeps.list(name="many", state="completed")) == []


def test_runs_and_points_are_data_frames(sweep: SweepHandle) -> None:
    runs = sweep.runs.frame()
    points = sweep.points.frame()

    assert len(runs) == sweep.document.progress.runs_total_known == 36
    assert list(runs.columns[:3]) == ["id", "sweep_id", "state"]
    assert len(list(sweep.runs.list(state="pruned"))) == 1
    assert set(points.run_id) == set(runs.id)
    assert set(points.part) == {"trunk", "branch"}
    assert {"params", "horizon", "batch_tokens", "learning_rate", "tokens", "loss"} <= set(points.columns)
    assert points.loss.notna().all()


def test_without_pandas_a_frame_says_what_to_install(
    sweep: SweepHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        sweep.runs.frame()


def test_the_finished_runs_of_a_sweep_are_a_run_table(sweep: SweepHandle, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(sweep.runs.csv())
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 35


def test_the_frame_of_a_sweep_gives_the_law_of_its_run_table(sweep: SweepHandle, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(sweep.runs.csv())

    law = etalon.fit(sweep.runs.frame())

    assert law.bowls == etalon.fit(tmp_path / "runs.csv").bowls
    assert [notice.code for notice in law.document.notices].count("pooled_column") == 0
    assert not any("Ignored" in warning for warning in law.warnings)


def test_a_refused_upload_names_its_file(service: etalon.Client, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("params,tokens\n1,2\n")
    with pytest.raises(etalon.BadInput, match=r"mine\.csv: The table lacks the columns batch_tokens"):
        service.tables.upload(tmp_path / "mine.csv")


def test_the_newest_law_is_whole(sweep: SweepHandle) -> None:
    law = sweep.law

    assert law is not None
    assert len(law.bowls) == 6
    assert list(sweep.laws) == [law] == [sweep.laws.get(1)]


def test_before_the_first_law_there_is_none(service: etalon.Client, served: Served, submit_to: Any) -> None:
    sweep = service.sweeps.get(submit_to(served[1], name="fresh").sweep.id)

    assert sweep.law is None
    with pytest.raises(etalon.Refused, match="no law yet"):
        sweep.predict(params="1B", tokens="20B")


def test_a_prediction_takes_amounts_as_people_write_them(sweep: SweepHandle) -> None:
    predicted = sweep.predict(params="1M", tokens="800k", batch_tokens=2048, budget_flops="1e13", law=1)

    assert predicted.target.params == 1e6
    assert predicted.law_number == 1
    with pytest.raises(etalon.BadInput, match=r"^tokens: "):
        sweep.predict(params="1M", tokens="much")


def test_a_figure_is_drawn_by_notebooks_and_by_plotly(sweep: SweepHandle) -> None:
    figure = sweep.figure("bowls", columns=2, phase="annealed")

    assert {"data", "layout"} <= set(figure)
    assert figure._repr_mimebundle_()["application/vnd.plotly.v1+json"] == dict(figure)
    assert len(figure.to_plotly().data) == len(figure["data"])


def test_one_run_by_its_id(service: etalon.Client, sweep: SweepHandle) -> None:
    run = next(run for run in sweep.runs if run.state is RunState.COMPLETED)

    assert service.runs.get(run.id) == run
    assert len(service.runs.losses(run.id, max_points=10).points) == 10
    assert service.runs.lenses(run.id).run_id == run.id
    assert service.runs.log(run.id, tail=10).text == ""
    with pytest.raises(etalon.BadInput, match="tail"):
        service.runs.log(run.id, tail=0)


def test_the_registered_trainers_are_listed(service: etalon.Client, served: Served) -> None:
    place = served[0].log.parent / "trainers"
    place.mkdir(mode=0o700)
    (place / "mine.yaml").write_text("mine: {command: [python, train.py]}\nother: {command: [train]}\n")
    (place / "mine.yaml").chmod(0o600)

    assert [trainer.name for trainer in service.trainers.list()] == ["mine", "other"]
    assert service.trainers.get("mine") == next(service.trainers.list())
    with pytest.raises(etalon.NotFound, match="the nearest is mine"):
        service.trainers.get("min")


def test_a_sweep_is_submitted_once_and_commanded(service: etalon.Client, fields: dict[str, Any]) -> None:
    sweep = service.sweeps.submit(fields, idempotency_key="one")

    assert service.sweeps.submit(parse_spec(fields), idempotency_key="one").id == sweep.id
    assert service.sweeps.plan(fields).valid
    assert sweep.pause().state is SweepState.PAUSED
    assert sweep.resume().state is SweepState.QUEUED
    assert sweep.extend({"search": {"budget": {"runs": 300}}}, revision=1).document.revision == 2
    with pytest.raises(etalon.Stale):
        sweep.extend({"name": "late"}, revision=1)
    with pytest.raises(etalon.BadInput) as refused:
        sweep.extend({"grid": {"tokens": [200_000]}})
    assert [field.path for field in refused.value.fields] == ["grid.tokens"]
    copy = sweep.clone({"name": "copy"})
    assert (copy.name, copy.document.revision) == ("copy", 1)
    assert copy.id != sweep.id
    assert sweep.cancel().state is SweepState.CANCELLED
    with pytest.raises(etalon.Conflict):
        sweep.stop()


def test_the_frame_of_a_sweep_keeps_excluded_runs_and_a_fit_of_it_does_not(
    service: etalon.Client, sweep: SweepHandle, tmp_path: Path
) -> None:
    run = next(run for run in sweep.runs if run.state is RunState.COMPLETED)
    service.runs.exclude(run.id, "a bad node")
    frame = sweep.runs.frame()
    (tmp_path / "runs.csv").write_text(sweep.runs.csv())

    assert list(frame.loc[frame.excluded.notna(), "id"]) == [run.id]
    from_frame, from_table = etalon.fit(frame).bowls, etalon.fit(tmp_path / "runs.csv").bowls
    assert sum(bowl.runs for bowl in from_frame) == sum(bowl.runs for bowl in from_table) == 34


def test_a_run_is_excluded_included_and_retried(service: etalon.Client, sweep: SweepHandle) -> None:
    run = next(run for run in sweep.runs if run.state is RunState.COMPLETED)
    assert service.runs.exclude(run.id, "a bad node").excluded == "a bad node"
    assert service.runs.include(run.id).excluded is None
    with pytest.raises(etalon.Conflict):
        service.runs.retry(run.id)
    diverged = next(run for run in sweep.runs if run.state is RunState.DIVERGED)
    assert service.runs.retry(diverged.id[:16]).state is RunState.PENDING
    assert sweep.refresh().state is SweepState.QUEUED


def test_a_file_may_name_a_run_table_by_its_path(service: etalon.Client, tmp_path: Path) -> None:
    table = run_table(RECORDED.runs(grid((1e6, 2e6), (1e8, 2e8), (65_536,)), [2e-3, 4e-3, 8e-3]))
    (tmp_path / "runs.csv").write_text(table)
    (tmp_path / "sweep.yaml").write_text("name: replayed\ntrainer: {kind: replay, table: runs.csv}\n")

    sweep = service.sweeps.submit(tmp_path / "sweep.yaml")

    uploaded = service.tables.upload(tmp_path / "runs.csv")
    assert sweep.document.to_json()["spec"]["trainer"]["table"] == uploaded.id
    sweep.cancel()
    again = {"name": "replayed too", "trainer": {"kind": "replay", "table": tmp_path / "runs.csv"}}
    assert service.sweeps.plan(again).valid
    again["trainer"] = {"kind": "replay", "table": pd.read_csv(tmp_path / "runs.csv")}
    with pytest.raises(
        etalon.BadInput, match=r"^trainer\.table is the path.*not DataFrame.*client\.tables\.upload"
    ):
        service.sweeps.plan(again)


def test_events_are_typed_and_end_with_the_sweep(sweep: SweepHandle, ended: Any) -> None:
    events = list(sweep.watch())

    recorded = ended.store.events.after(0, sweep_id=sweep.id)
    assert [(event.id, event.kind, event.payload) for event in events] == [
        (event.id, event.kind, event.payload) for event in recorded
    ]
    assert isinstance(events[0].payload, SweepEvent)
    assert any(isinstance(event.payload, LawEvent) for event in events)
    assert [event.id for event in sweep.watch(after=events[-3].id)] == [event.id for event in events[-2:]]


def test_watching_resumes_after_the_server_was_killed(
    sqlite_url: str, tmp_path: Path, submit_to: Any
) -> None:
    with Store.open(sqlite_url) as store:
        recorded = submit_to(store)
        recorded.move(SweepState.RUNNING)
        with serving(sqlite_url, tmp_path) as server, etalon.Client(server.url, token="") as service:
            sweep = service.sweeps.get(recorded.sweep.id)
            watching = sweep.watch()
            events = [next(watching), next(watching)]
            server.process.kill()
            server.process.wait()
            recorded.move(SweepState.PAUSED, SweepState.RUNNING, SweepState.COMPLETED)
            with serving(sqlite_url, tmp_path, port=int(server.url.rpartition(":")[2])):
                events += watching
        assert [event.id for event in events] == [
            event.id for event in store.events.after(0, sweep_id=sweep.id)
        ]
        assert sweep.state is SweepState.COMPLETED


def test_waiting_ends_with_the_sweep_or_with_its_time(
    service: etalon.Client, served: Served, submit_to: Any, sweep: SweepHandle
) -> None:
    assert sweep.wait() is sweep
    live = service.sweeps.get(submit_to(served[1], name="live").sweep.id)
    with pytest.raises(TimeoutError, match="is queued after 0 s"):
        live.wait(timeout=0)


def test_the_clients_of_asyncio_answers_the_same(served: Served, sweep: SweepHandle) -> None:
    async def ask() -> None:
        async with etalon.AsyncClient(served[0].url, token="") as service:
            found = await service.sweeps.get(sweep.name)
            assert found.document.id == sweep.id
            with pytest.raises(etalon.NotFound, match="There is no sweep 'no/body'"):
                await service.sweeps.get("no/body")
            assert await found.law == sweep.law
            assert [law async for law in found.laws] == list(sweep.laws)
            assert [run async for run in found.runs] == list(sweep.runs)
            assert (await found.points.frame()).equals(sweep.points.frame())
            target = {"params": "1M", "tokens": "800k", "batch_tokens": 2048}
            assert await found.predict(**target) == sweep.predict(**target)
            assert await found.figure("law") == sweep.figure("law")
            assert [event async for event in found.watch()] == list(sweep.watch())
            assert (await found.wait()).state not in SWEEP_LIVE
            names = [item.name async for item in service.sweeps.list(name=sweep.name, page_items=1)]
            assert names == [sweep.name]
            trainers = [trainer async for trainer in service.trainers.list()]
            assert trainers == [await service.trainers.get(trainer.name) for trainer in trainers]
            run = next(iter(sweep.runs))
            assert (await service.runs.log(run.id)).run_id == run.id
            async for item in service.sweeps.list(name=sweep.name):
                assert (await service.sweeps.get(item)).id == sweep.id
            with pytest.raises(etalon.Conflict):
                await found.cancel()

    with ThreadPoolExecutor(1) as thread:  # a browser's test leaves a loop running in this one
        thread.submit(asyncio.run, ask()).result()


@pytest.mark.parametrize(("reader", "name"), [("read_bytes", "runs.csv"), ("read_fields", "sweep.yaml")])
def test_files_are_read_beside_the_event_loop(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, name: str
) -> None:
    readers = []
    read = getattr(async_client, reader)
    monkeypatch.setattr(async_client, reader, lambda path: (readers.append(current_thread()), read(path))[1])
    (tmp_path / name).write_text("not: a\nsweep: or a table\n")

    async def send() -> None:
        async with etalon.AsyncClient(served[0].url, token="") as service:
            with pytest.raises(etalon.BadInput):
                await (service.tables.upload if name == "runs.csv" else service.sweeps.plan)(tmp_path / name)

    with ThreadPoolExecutor(1) as thread:  # as above
        loop = thread.submit(current_thread).result()
        thread.submit(asyncio.run, send()).result()
    assert len(readers) == 1
    assert loop not in readers


def interface(module: Any, prefix: str) -> dict[str, dict[str, list[str]]]:
    """The parameters of every public method of every class of a client."""
    asynchronous = {"__aiter__": "__iter__", "__aenter__": "__enter__", "__aexit__": "__exit__"}
    found = {}
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ != module.__name__:
            continue
        methods = {
            asynchronous.get(key, key): list(inspect.signature(value).parameters)
            if inspect.isfunction(value)
            else []
            for key, value in vars(kind).items()
            if key in asynchronous or key in asynchronous.values() or not key.startswith("_")
        }
        found[name.removeprefix(prefix)] = methods
    return found


def test_both_clients_have_the_same_names() -> None:
    assert interface(async_client, "Async") == interface(client, "")


def test_the_clients_know_every_operation_of_the_service(app: FastAPI) -> None:
    served = {
        (method.upper(), path): {
            item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"
        }
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    known: dict[tuple[str, str], set[str]] = {}
    for operation in OPERATIONS:
        known.setdefault((operation.method, operation.path), set()).update(operation.query)

    assert known == {place: query for place, query in served.items() if place not in ABSENT}
    assert set(ABSENT) <= set(served)


class Proxy(ThreadingHTTPServer):
    """A proxy that answers every request itself and keeps their addresses."""

    def __init__(self) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(502)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the environment names for every address."""
    with Proxy() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_does_not_stand_before_this_machine(served: Served, proxy: Proxy, host: str) -> None:
    with etalon.Client(served[0].url.replace("127.0.0.1", host), token="") as service:
        assert list(service.sweeps.list(state="failed")) == []
    assert proxy.asked == []


def test_a_proxy_stands_before_other_machines(proxy: Proxy) -> None:
    with etalon.Client("http://etalon.example:8765", token="") as service, pytest.raises(ServiceError):
        service.sweeps.get("any")
    assert set(proxy.asked) == {"http://etalon.example:8765/v1/sweeps/any"}


def test_a_proxy_of_another_kind_does_not_matter_for_this_machine(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with etalon.Client(served[0].url, token="") as service:
        assert list(service.sweeps.list(state="failed")) == []


@pytest.mark.parametrize("make", [etalon.Client, etalon.AsyncClient])
@pytest.mark.parametrize("url", ["localhost:8765", "http://", "ftp://here", "http://[::1"])
def test_an_address_that_is_none_is_refused(make: Callable[[str], Any], url: str) -> None:
    with pytest.raises(etalon.BadInput, match="is not the URL of a service"):
        make(url)


def test_the_environment_names_the_service_and_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETALON_URL", "http://127.0.0.1:1/")
    with etalon.Client() as service:
        assert service.url == "http://127.0.0.1:1"
        assert not service.ready()
