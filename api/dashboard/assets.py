"""Files that pages load: style, scripts, icon, and Plotly from its wheel; kept by browsers, addressed by version."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import Request, Response
from fastapi.staticfiles import StaticFiles

PLOTLY: Final = "plotly.min.js"
YEAR: Final = 365 * 24 * 3600

_FILES: Final = StaticFiles(directory=Path(__file__).parent / "static", packages=[("plotly", "package_data")])


@lru_cache(maxsize=64)
def address(name: str) -> str:
    """The address of a file, with a version that changes with its content.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path, found = _FILES.lookup_path(name)
    if found is None:
        raise FileNotFoundError(name)
    version = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={version}"


async def static_file(request: Request, name: str) -> Response:
    """Send a file: kept for a year if its current version is in the address, revalidated by ETag otherwise."""
    response = await _FILES.get_response(name, request.scope)
    current = f"{request.url.path}?{request.url.query}" == address(name)
    response.headers["Cache-Control"] = f"public, max-age={YEAR}, immutable" if current else "no-cache"
    return response
