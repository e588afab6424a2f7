"""The extras of the distribution: which of them brings a module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from orchestrator.errors import BadInput

EXTRAS: Final = {
    "server": frozenset(
        {
            "alembic",
            "fastapi",
            "filelock",
            "jinja2",
            "optuna",
            "plotly",
            "prometheus_client",
            "psutil",
            "psycopg",
            "ray",
            "sqlalchemy",
            "starlette",
            "tensorboardX",
            "tomlkit",
            "uvicorn",
        }
    ),
    "train": frozenset({"filelock", "tokenizers", "torch"}),
}
"""Modules by the extra that brings them (``pyproject.toml``)."""


class ExtraMissing(BadInput):
    """A module of an extra is not installed."""

    title = "A part of Etalon is not installed"

    def __init__(self, module: str, *extras: str) -> None:
        super().__init__(f"This needs {module}: pip install 'etalon[{','.join(extras)}]'.")


@contextmanager
def naming_extras() -> Iterator[None]:
    """Turn a failed import of a module of an extra, within the block, into a sentence.

    Raises:
        ExtraMissing: names the extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = _smallest_extra(module)
        if extra is None:
            raise
        raise ExtraMissing(module, extra) from error


def _smallest_extra(module: str) -> str | None:
    """The smallest extra that brings a module; None if none does."""
    with_it = [extra for extra, modules in EXTRAS.items() if module in modules]
    return min(with_it, key=lambda extra: len(EXTRAS[extra]), default=None)


def require_modules(*modules: str) -> None:
    """Refuse to go on without some modules of extras; loads none of them.

    Raises:
        ExtraMissing: names the first missing one, and the extras of all that are missing.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ExtraMissing(missing[0], *sorted(filter(None, {_smallest_extra(module) for module in missing})))


def require(*extras: str) -> None:
    """Refuse to go on without the modules of some extras; loads none of them.

    Raises:
        ExtraMissing: names all of these extras.
    """
    for module in sorted(frozenset().union(*(EXTRAS[extra] for extra in extras))):
        if find_spec(module) is None:
            raise ExtraMissing(module, *extras)
