"""The application: its resources, pages and middleware."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from api import health, login, metrics, problem_details, swagger
from api.access import TokenWatch
from api.dashboard import error_pages
from api.dashboard import router as dashboard
from api.health import Disk, RayPort
from api.metrics import Metrics
from api.openapi import described
from api.shutdown import Shutdown
from api.traffic import Traffic
from api.v1 import comparisons, events, figures, laws, predictions, runs, sweeps, tables, trainers
from api.v1.queries import only_known_queries
from orchestrator import logs
from orchestrator.errors import EtalonError, Unavailable
from orchestrator.private import close_home
from orchestrator.settings import Settings, check_environment
from orchestrator.store import Store

RESOURCES: Final = (tables, trainers, sweeps, runs, laws, comparisons, predictions, figures, events)
"""The modules of /v1, in the order of its description."""


def create_app(settings: Settings | None = None, store: Store | None = None) -> FastAPI:
    """Make the application.

    Args:
        settings: by default from the environment (``ETALON_…``); the log then goes to standard error, and a fault of
            the environment ends the process with one sentence.
        store: the database; by default the one of the settings, closed with the application.

    Returns:
        An ASGI application; ``state`` has ``settings``, ``store``, ``metrics``, ``token_watch`` and ``shutdown``.

    Raises:
        SystemExit: the environment is not valid, its folder cannot be written, or another version of Etalon made the
            database; with ``settings``, a BadInput instead.
    """
    if settings is not None:
        return _application(settings, store)
    try:
        check_environment()
        settings = Settings()
        logs.configure(settings.log_level)
        close_home(settings)
        return _application(settings, store)
    except EtalonError as error:
        sys.exit(f"{error.title}: {error.detail}")


def _application(settings: Settings, store: Store | None) -> FastAPI:
    own = store is None
    store = store or Store.open(settings.database_url)
    with suppress(Unavailable):  # the database may start later
        store.check_revision()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.shutdown, app.state.token_watch = Shutdown(), TokenWatch(store)
        with app.state.shutdown.heard():
            yield
        if own:
            store.close()

    app = described(FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/openapi.json"))
    app.state.settings, app.state.store, app.state.metrics = settings, store, Metrics(store)
    app.state.ray, app.state.disk = RayPort(settings.ray_address), Disk(settings)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)  # event streams excepted
    app.add_middleware(Traffic, latency=app.state.metrics.latency, client_seconds=settings.client_seconds)
    problem_details.install(app)
    error_pages.install(app)
    app.routes.append(swagger.ASSETS)
    for resource in RESOURCES:
        app.include_router(resource.router, dependencies=[Depends(only_known_queries)])
    for part in (health, metrics, login, swagger):
        app.include_router(part.router)
    app.include_router(dashboard)
    return app
