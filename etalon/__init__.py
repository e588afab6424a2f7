"""Etalon from Python: ``fit`` a table of finished runs, ask a service with ``Client``, ``report`` from a training program.

Importing this package loads the standard library alone. Each name is loaded at its first use.

A training program that Etalon starts finds this file, and the few for training programs beside it, in a folder of its
own. The modules of an Etalon that is installed in the program's interpreter then join them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False  # as in typing, which takes most of the time of this import

if TYPE_CHECKING:
    from etalon.async_client import AsyncClient
    from etalon.client import Client
    from etalon.hugging_face import HuggingFace as HuggingFace
    from etalon.offline import Law, fit
    from etalon.program import diverged, done, model, report, run, saved, should_stop
    from orchestrator.errors import BadInput, Conflict, EtalonError, NotFound, Refused, Stale, Unavailable

    __version__: str

__all__ = [
    "AsyncClient",
    "BadInput",
    "Client",
    "Conflict",
    "EtalonError",
    "Law",
    "NotFound",
    "Refused",
    "Stale",
    "Unavailable",
    "__version__",
    "diverged",
    "done",
    "fit",
    "model",
    "report",
    "run",
    "saved",
    "should_stop",
]

_MODULES = {
    "etalon.async_client": ("AsyncClient",),
    "etalon.client": ("Client",),
    "etalon.offline": ("Law", "fit"),
    "etalon.hugging_face": ("HuggingFace",),  # not for `*`: it needs transformers
    "etalon.program": ("diverged", "done", "model", "report", "run", "saved", "should_stop"),
    "orchestrator.errors": (
        "BadInput",
        "Conflict",
        "EtalonError",
        "NotFound",
        "Refused",
        "Stale",
        "Unavailable",
    ),
}
"""The public names of each module."""

if os.environ.get("ETALON_REPORT"):
    __path__ = import_module("pkgutil").extend_path(__path__, __name__)


def _load(name: str) -> object:
    try:
        if name == "__version__":
            return import_module("importlib.metadata").version("etalon")
        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in ("etalon", "orchestrator", *_MODULES):
            raise
        raise ModuleNotFoundError(
            f"etalon.{name} needs Etalon itself, and {sys.executable} has none installed: without it a training "
            "program has report, run, saved, should_stop, diverged, model, done and HuggingFace",
            name=error.name,
        ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:  # for a type checker, any name would exist

    def __getattr__(name: str) -> object:
        """Load a public name at its first use (PEP 562)."""
        value = globals()[name] = _load(name)
        return value


def __dir__() -> list[str]:
    return list(__all__)
