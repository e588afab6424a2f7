"""Dependencies of endpoints: the store and the settings of the application."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from orchestrator.settings import Settings
from orchestrator.store import Store


def store_of(request: Request) -> Store:
    """The application's store."""
    return cast("Store", request.app.state.store)


def settings_of(request: Request) -> Settings:
    """The application's settings."""
    return cast("Settings", request.app.state.settings)


Stored = Annotated[Store, Depends(store_of)]
Configured = Annotated[Settings, Depends(settings_of)]
