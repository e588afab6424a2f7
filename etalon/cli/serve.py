"""``etalon serve``: the whole service on this machine."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from etalon.cli.outcome import err, reports_errors
from etalon.cli.service import Service, ended_by_signals, wait_until
from etalon.client import Client
from orchestrator.settings import Settings

READY_SECONDS = 60.0


@reports_errors
def serve_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API and the dashboard.")] = 8765,
) -> None:
    """Run the API, the dashboard, the orchestrator and a local Ray until Ctrl-C."""
    settings = Settings()
    with ended_by_signals():
        try:
            with Service(settings, host, port) as service, Client(service.url, settings.token) as client:
                err.print(f"Dashboard: {service.url}   API: {service.url}/docs   state: {settings.home}")
                wait_until(client.ready, service, READY_SECONDS)
                err.print("Ready. Ctrl-C ends it.")
                while True:
                    service.tend()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            err.print("Ended.")
