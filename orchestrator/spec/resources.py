"""The share of a Ray cluster that a sweep's runs take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orchestrator.spec.fields import Integer, Number, Strict


class Resources(Strict):
    """The share of the Ray cluster that one run takes, and the number of runs at once."""

    cpus_per_run: Annotated[Number, Field(gt=0, le=1_024)] = 1
    gpus_per_run: Annotated[Number, Field(ge=0, le=1_024)] = 0
    max_parallel: Annotated[Integer, Field(ge=1, le=10_000)] = 2
