"""What every endpoint may ask for: the store and the settings of this process."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from orchestrator.settings import Settings
from orchestrator.store import Store


def store_of(request: Request) -> Store:
    """The store that the application was made with."""
    return cast("Store", request.app.state.store)


def settings_of(request: Request) -> Settings:
    """The settings that the application was made with."""
    return cast("Settings", request.app.state.settings)


Stored = Annotated[Store, Depends(store_of)]
Configured = Annotated[Settings, Depends(settings_of)]
