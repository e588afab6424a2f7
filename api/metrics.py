"""Metrics for Prometheus: sweeps and runs by state, and request latencies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.access import reads
from api.problem_details import responses
from orchestrator.states import RunState, SweepState
from orchestrator.store import Store

router = APIRouter(tags=["operations"])

KEPT_SECONDS: Final = 5.0
"""Seconds for which counts are cached."""


class Metrics:
    """The metrics of one application.

    Attributes:
        latency: seconds until the response starts, by method, route and status.
    """

    def __init__(self, store: Store) -> None:
        self._registry = CollectorRegistry()
        self.latency = Histogram(
            "etalon_http_request_seconds",
            "Seconds until the response to a request starts.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._registry.register(_States(store))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _States(Collector):
    """Sweeps by state, and the runs of live sweeps by state, counted in the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._families: list[GaugeMetricFamily] = []
        self._counted = -KEPT_SECONDS

    def describe(self) -> list[GaugeMetricFamily]:
        """Empty, so that registering does not query the database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The counts, at most ``KEPT_SECONDS`` old."""
        if time.monotonic() - self._counted >= KEPT_SECONDS:
            self._families = [self._sweeps(), self._runs()]
            self._counted = time.monotonic()
        yield from self._families

    def _sweeps(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("etalon_sweeps", "Sweeps by state.", labels=["state"])
        for state in SweepState:
            family.add_metric([state], self._store.sweeps.page(state=state, limit=1)[2])
        return family

    def _runs(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily("etalon_live_runs", "Runs of live sweeps by state.", labels=["state"])
        counts = dict.fromkeys(RunState, 0)
        live = [sweep.id for sweep in self._store.sweeps.live()]
        for tally in self._store.sweeps.tallies(live).values():
            for state, count in tally.by_state.items():
                counts[state] += count
        for state, count in counts.items():
            family.add_metric([state], count)
        return family


@router.get(
    "/metrics",
    dependencies=[reads],
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=responses(503, success={"content": {"text/plain": {"schema": {"type": "string"}}}}),
)
def show_metrics(request: Request) -> Response:
    """Sweeps and live runs by state, request latencies."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
