"""``etalon demo``: a real sweep of small proxies on this machine, with its law tested at a larger scale."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from etalon.cli.display import comparison_view, prediction_panel
from etalon.cli.outcome import err, out, reports_errors
from etalon.cli.serve import READY_SECONDS
from etalon.cli.service import Service, ServiceFailed, ended_by_signals, free_port, wait_until
from etalon.cli.watch import watch
from etalon.client import Client
from orchestrator.amounts import flops, percent
from orchestrator.documents.sweeps import Cost
from orchestrator.extras import require
from orchestrator.settings import Settings
from orchestrator.states import RUN_MEASURED, SweepState

DEMO_PORTS: Final = range(8765, 8865)
BATCH_TOKENS: Final = 256
HORIZONS: Final = (131_072, 262_144, 524_288)
SCALES: Final = (
    {"width": 16, "depth": 2},
    {"width": 24, "depth": 2},
    {"width": 32, "depth": 2},
    {"width": 48, "depth": 2},
)
HELD_OUT: Final = {"width": 64, "depth": 2}
HELD_OUT_PARAMS: Final = 98_304
SWEEP: Final[dict[str, Any]] = {
    "name": "demo",
    "trainer": {
        "kind": "proxy",
        "corpus": "stdlib",
        "schedule": {"warmup_tokens": 16_384, "decay_fraction": 0.2, "shape": "linear"},
    },
    "grid": {
        "scales": list(SCALES),
        "tokens": list(HORIZONS),
        "batch_tokens": [BATCH_TOKENS],
        "learning_rates": {"min": 1e-3, "max": 6.4e-2, "per_octave": 1.5},
    },
    "search": {
        "strategy": "law",
        "rates_per_cell": 4,
        "stop": {"interval_factor": 1.6},
    },
    "target": {"params": HELD_OUT_PARAMS, "tokens": HORIZONS[-1], "batch_tokens": BATCH_TOKENS},
    "comparison": {
        "scale": HELD_OUT,
        "tokens": HORIZONS[0],
        "base": {"tokens": HORIZONS[0]},
        "seeds": 2,
    },
    "resources": {"cpus_per_run": 1, "max_parallel": 2},
}
"""Four sizes, three horizons, ten rates: 5.5e12 FLOPs as a grid of independent runs. The target is a proxy with nearly
twice the parameters of the largest, where the law is tested at the shortest horizon with two seeds; the test costs about
as many FLOPs as the search."""


@reports_errors
def demo_command(
    keep: Annotated[
        Path | None, typer.Option(help="Folder that keeps the database; by default a temporary one.")
    ] = None,
) -> None:
    """Sweep small proxies on this machine, predict a larger one's rate, and compare Fitting with Transfer."""
    require("server", "train")
    scratch = tempfile.TemporaryDirectory(prefix="etalon-demo-", ignore_cleanup_errors=True)
    with scratch as folder, ended_by_signals():
        home = keep or Path(folder)
        settings = Settings(
            home=home, database_url=f"sqlite:///{home / 'etalon.db'}", checkpoints=home / "checkpoints"
        )
        try:
            with Service(settings, "127.0.0.1", free_port("127.0.0.1", DEMO_PORTS)) as service:
                err.print(f"Dashboard: [bold]{service.url}[/]")
                with Client(service.url, token="") as client:
                    _run(client, service)
                if sys.stdout.isatty():
                    _stay(service)
        except KeyboardInterrupt:
            err.print("Ended.")
            raise typer.Exit(130) from None


def _run(client: Client, service: Service) -> None:
    began = time.monotonic()
    with err.status("starting the API, the orchestrator and Ray …"):
        wait_until(client.ready, service, READY_SECONDS)
    err.print(f"Started in {time.monotonic() - began:.1f} s. Now a sweep of {len(SCALES)} sizes.")
    sweep = client.sweeps.submit(SWEEP)
    watch(sweep)
    ended = sweep.document
    if ended.state is not SweepState.COMPLETED or ended.prediction is None:
        raise ServiceFailed(f"The sweep ended {ended.state} without a prediction: {ended.reason}.")
    out.print(f"\nThe sweep ended: {ended.reason or 'no reason given'}", markup=False)
    made = [run for run in sweep.runs if run.arm is None and run.state in RUN_MEASURED]
    _report_savings(ended.cost, sum(6 * run.params * run.tokens for run in made))
    out.print(prediction_panel(ended.prediction))
    out.print("\nThe law tested at a scale that the sweep never trained:")
    out.print(comparison_view(sweep.comparison))
    err.print(f"The whole demo took {time.monotonic() - began:.0f} s.")


def _report_savings(cost: Cost, made_alone: float) -> None:
    """Report what trunks and left-out rates saved.

    Args:
        cost: of the sweep.
        made_alone: FLOPs of the runs that were made, 6·N·D each, as if no run shared a trunk.
    """
    full, spent = cost.full_grid_flops, cost.spent_flops
    out.print(
        f"{flops(spent)} spent, {percent(1 - spent / full)} less than the {flops(full)} of the full grid of "
        f"independent runs: {percent((made_alone - spent) / full)} by trunks shared between horizons, "
        f"{percent(1 - made_alone / full)} by rates that were not run."
    )


def _stay(service: Service) -> None:
    """Keep the dashboard up until Ctrl-C."""
    err.print(f"The dashboard stays at [bold]{service.url}[/] until Ctrl-C.")
    try:
        while True:
            service.tend()
            time.sleep(0.5)
    except KeyboardInterrupt:
        err.print("Ended.")
