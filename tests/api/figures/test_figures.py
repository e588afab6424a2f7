"""Every figure of every kind of sweep is valid Plotly JSON, says what it waits for, and stays small."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from api.figures import FIGURES, figure, run_figure
from api.figures.run_curve import draw_run
from api.figures.screen import fit_to_screen
from api.figures.style import COUNTS, RATES, log_axis, params_colours, tokens_colours
from orchestrator.answers.prediction import prediction
from orchestrator.errors import NotFound
from orchestrator.knowledge import target_of
from orchestrator.law import fit
from orchestrator.spec import parse_spec
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store
from orchestrator.tables.formats import read_table
from tests.api.dashboard.seeding import SCALES, Service, bowl_loss, spec_fields, with_batches
from tests.api.figures.building import make_cells, make_run
from tests.known_law import run_table


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with a sweep of every kind; the sweeps' ids by what they show."""
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('figures') / 'etalon.db'}") as store:
        store.migrate()
        service = Service(store)
        one_cell = {
            **spec_fields()["grid"],
            "scales": SCALES[:1],
            "tokens": [131_072],
        }
        ids = {
            "queued": service.submit().id,
            "running": service.run(service.submit().id, batches=2, leave_open=4).id,
            "completed": service.run(service.submit().id).id,
            "refused": service.run(service.submit(target={"params": 1e12, "tokens": 1e15}).id, batches=1).id,
            "one cell": service.run(service.submit(grid=one_cell).id).id,
            "fit": fitted_sweep(service),
            "batches": with_batches(service),
            "no law": lawless_sweep(service),
            "cancelled": service.submit().id,
            "no law, ended": lawless_sweep(service),
        }
        for kind in ("cancelled", "no law, ended"):
            store.sweeps.move(ids[kind], SweepState.CANCELLED)
        yield store, ids


def fitted_sweep(service: Service) -> str:
    """A sweep without a grid: a law fitted to a table."""
    spec = parse_spec(spec_fields())
    cells = spec.trainer.cells(spec.grid)
    places = [(cell, rate) for cell in cells for rate in cell.rates]
    data = run_table(
        (cell, rate, bowl_loss(cell, rate) if rate < 0.05 else None) for cell, rate in places
    ).encode()
    table = service.store.tables.add(data, rows=len(places), cells=len(cells))
    sweep, _ = service.store.sweeps.create(
        parse_spec({"name": "fit", "prior_runs": {"table": table.id}}), cells=()
    )
    law = fit(read_table(data).observations())
    target = target_of(sweep.spec, cells)
    service.store.laws.add(
        sweep.id,
        document=law.to_document(),
        prediction=prediction(law, target),
        ruled_out=[],
        runs=len(places),
        spent_flops=0.0,
        batch=0,
        fence=service.fence,
    )
    return sweep.id


def lawless_sweep(service: Service) -> str:
    """A sweep with finished runs, too few for a law."""
    sweep = service.submit()
    driver = service.start(sweep.id)
    cells = service.store.sweeps.cells(sweep.id)
    service.ask(sweep.id, *((0, rate) for rate in cells[0].rates[:2]))
    service.work(service.store.runs.claim(sweep.id, fence=driver), cells, driver)
    return sweep.id


KINDS = (
    "queued",
    "running",
    "completed",
    "refused",
    "one cell",
    "fit",
    "batches",
    "no law",
    "cancelled",
    "no law, ended",
)


@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_valid_plotly_json(stored, kind, name, columns):
    store, ids = stored
    drawn = figure(store, ids[kind], name, columns=columns)
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    again = go.Figure(drawn)
    assert again.layout.height > 100


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("queued", "bowls", "first runs"),
        ("queued", "law", "first batch of runs"),
        ("queued", "losses", "first loss"),
        ("queued", "residuals", "once the law has"),
        ("queued", "savings", "first batch of runs"),
        ("queued", "batch", "first batch of runs"),
        (
            "completed",
            "batch",
            "All runs have one batch of 256 tokens, so they do not show which batch is best.",
        ),
        ("no law", "law", "once a bowl shows a minimum"),
        ("fit", "coverage", "has no grid"),
        ("cancelled", "bowls", "has ended, and none of its runs"),
        ("cancelled", "savings", "has ended, and none of its runs"),
        ("no law, ended", "batch", "has ended, and there is no law"),
        ("no law, ended", "law", "has ended, and there is no law"),
        ("no law, ended", "residuals", "has ended, and no law"),
    ],
)
def test_an_empty_figure_says_what_will_appear(stored, kind, name, words):
    store, ids = stored
    drawn = figure(store, ids[kind], name)
    assert drawn["data"] == []
    assert words in drawn["layout"]["annotations"][0]["text"].replace("<br>", " ")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RunState.RUNNING, "appears here when the run reports"),
        (RunState.DIVERGED, "ended without a training loss"),
        (RunState.PRUNED, "ruled out before it started"),
    ],
)
def test_a_run_without_points_says_whether_some_will_come(state, words):
    (cell, *_) = make_cells()
    drawn = draw_run(make_run(0, 1e-2, state), cell, [])
    assert words in drawn.layout.annotations[0].text.replace("<br>", " ")


def test_a_run_of_a_trainer_without_curves_says_so():
    (cell, *_) = make_cells()
    drawn = draw_run(make_run(0, 1e-2), cell, [], no_curves="A replay has no curves.")
    assert drawn.layout.annotations[0].text == "A replay has no curves."


def test_a_telephone_labels_each_of_three_decades():
    canvas = go.Figure(layout={"xaxis": log_axis(1.3e4, 1e7, ticks=COUNTS, most=6), "yaxis": {}})
    shown = fit_to_screen(canvas, 1).layout.xaxis
    low, high = shown.range
    assert 0.7 < (high - low) / shown.nticks <= 1  # Plotly's distance of ticks: then one decade


@pytest.mark.parametrize("kind", ["no law", "running", "completed"])
def test_batches_and_laws_are_counted_in_whole_ticks(stored, kind):
    store, ids = stored
    layout = figure(store, ids[kind], "savings")["layout"]
    for axis in (layout["xaxis"], layout["xaxis2"]):
        assert axis["tick0"] == 1
        assert isinstance(axis["dtick"], int)
        assert (axis["range"][1] - axis["range"][0]) / axis["dtick"] <= 9


def named(drawn: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [trace for trace in drawn["data"] if trace.get("name") == name and trace["x"][0] is not None]


def test_bowls_of_a_completed_sweep_show_minimum_interval_and_every_state(stored):
    store, ids = stored
    drawn = figure(store, ids["completed"], "bowls")
    for name in ("fitted bowl", "minimum", "95 % interval", "completed", "pruned", "rate by the law"):
        assert named(drawn, name), name
    diverged = sum(run.state == "diverged" for run in store.runs.of_sweep(ids["completed"]))
    assert sum(len(trace["x"]) for trace in named(drawn, "diverged")) == diverged


def test_open_runs_are_hollow(stored):
    store, ids = stored
    drawn = figure(store, ids["running"], "bowls")
    marks = [*named(drawn, "pending"), *named(drawn, "running")]
    assert marks
    assert all(trace["marker"]["symbol"] == "circle-open" for trace in marks)


def test_a_table_of_earlier_runs_shows_in_the_bowls_of_a_fit(stored):
    store, ids = stored
    drawn = figure(store, ids["fit"], "bowls")
    assert sum(len(trace["x"]) for trace in named(drawn, "from the table")) > 50
    assert named(drawn, "diverged")


def test_the_target_has_its_interval_unless_it_is_refused(stored):
    store, ids = stored
    answered = named(figure(store, ids["completed"], "law"), "target")
    assert len(answered) == 2
    assert answered[0]["error_y"]["array"][0] > 0
    assert not named(figure(store, ids["refused"], "law"), "target")


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_panels_stand_in_as_many_columns_as_asked(stored, columns):
    store, ids = stored
    layout = figure(store, ids["refused"], "bowls", columns=columns)["layout"]
    panels = sum(key.startswith("yaxis") for key in layout)
    across = min(columns, panels)
    assert (layout["grid"]["rows"], layout["grid"]["columns"]) == (-(-panels // across), across)


def test_an_unknown_figure_or_sweep_is_refused(stored):
    store, ids = stored
    with pytest.raises(NotFound, match="The figures are: bowls, law"):
        figure(store, ids["queued"], "pie")
    with pytest.raises(NotFound):
        figure(store, "0" * 32, "bowls")


def test_a_run_shows_its_trunk_its_branch_and_its_held_out_loss(stored):
    store, ids = stored
    done = next(run for run in store.runs.of_sweep(ids["completed"]) if run.loss is not None)
    names = [trace["name"] for trace in run_figure(store, done.id)["data"]]
    assert names == ["training loss, trunk", "training loss, branch", "held-out loss"]
    waiting = next(run for run in store.runs.of_sweep(ids["completed"]) if run.state == "pruned")
    assert run_figure(store, waiting.id)["data"] == []


def test_colours_of_sizes_and_horizons_are_different_scales_and_ordered():
    sizes = params_colours([1e4, 1e5, 1e6])
    assert len(set(sizes.values())) == 3
    assert not set(sizes.values()) & set(tokens_colours([1e4, 1e5, 1e6]).values())
    assert params_colours([7.0]) == {7.0: params_colours([7.0, 70.0])[7.0]}


@pytest.mark.parametrize("colours", [params_colours, tokens_colours])
def test_close_neighbours_have_distinct_colours(colours):
    horizons = [65_536.0, 69_900.0, 70_000.0, 1_048_576.0, 2e6]
    found = [tuple(int(colours(horizons)[d][i : i + 2], 16) for i in (1, 3, 5)) for d in horizons]
    apart = [sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in pairwise(found)]
    assert min(apart) > 25


@pytest.mark.parametrize("span", [1.01, 3.0, 12.0, 60.0, 1e3, 1e7])
def test_plotly_never_labels_every_digit_of_a_logarithmic_axis(span):
    axis = log_axis(1e-3, 1e-3 * span, ticks=RATES, most=6)
    low, high = axis["range"]
    assert low < -3 < high
    assert high > -3 + math.log10(span)
    # Plotly labels round numbers below a decade; above, all digits where a tick has 0.3 decades or less.
    assert high - low < 1 or (high - low) / axis["nticks"] > 0.3
    assert 2 <= axis["nticks"] <= 6


def test_billions_are_not_called_giga():
    labels = log_axis(1e9, 1e12, ticks=COUNTS)["labelalias"]
    assert (labels["1G"], labels["2.5G"], labels["70G"], labels["500G"]) == ("1B", "2.5B", "70B", "500B")


def test_ten_thousand_runs_make_figures_that_a_browser_can_hold(tmp_path: Path):
    with Store.open(f"sqlite:///{tmp_path / 'large.db'}") as store:
        store.migrate()
        sweep_id = large_sweep(Service(store))
        drawn = {name: figure(store, sweep_id, name) for name in FIGURES}
    assert max(len(one["data"]) for one in drawn.values()) <= 200
    # Of one tile for every rate, coverage is the largest by far: some 120 bytes each before compression.
    assert max(len(json.dumps(one)) for one in drawn.values()) < 1_500_000


def large_sweep(service: Service) -> str:
    grid = {
        "scales": [{"width": 16 * w, "depth": d} for w in range(1, 6) for d in (2, 3, 4, 5)],
        "tokens": [65_536 * 2**i for i in range(5)],
        "batch_tokens": [256, 1024],
        "learning_rates": {"min": 1e-4, "max": 0.1, "per_octave": 5},
    }
    sweep = service.submit(grid=grid)
    driver = service.start(sweep.id)
    cells = service.store.sweeps.cells(sweep.id)
    places = [(cell.number, rate) for cell in cells for rate in cell.rates]
    assert len(places) == 10_000
    service.ask(sweep.id, *places[::5], pruned=[place for number, place in enumerate(places) if number % 5])
    runs = service.store.runs.claim(sweep.id, fence=driver)
    service.store.runs.finish([service.result(cells[run.cell], run) for run in runs], fence=driver)
    service.refit(sweep.id)
    service.store.sweeps.move(sweep.id, SweepState.COMPLETED)
    return sweep.id
