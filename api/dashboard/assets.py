"""What pages load besides themselves: the style, the scripts, the icon and Plotly, compressed once and cached."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Final

from fastapi import Header, Response

from orchestrator.errors import NotFound

TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PLOTLY: Final = "plotly.min.js"
YEAR: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file as it is sent; ``version`` changes with its content."""

    media_type: str
    plain: bytes
    compressed: bytes
    version: str


@lru_cache(maxsize=64)
def asset(name: str) -> Asset:
    """Read and compress a static file once per process.

    Raises:
        NotFound: there is no such file.
    """
    media_type = TYPES.get(name.rpartition(".")[2])
    folder = files("plotly") / "package_data" if name == PLOTLY else files("api.dashboard") / "static"
    if media_type is None or "/" in name or not (folder / name).is_file():
        raise NotFound(f"There is no file {name!r} here.")
    plain = (folder / name).read_bytes()
    return Asset(
        media_type=media_type,
        plain=plain,
        compressed=gzip.compress(plain, compresslevel=6, mtime=0),
        version=hashlib.sha256(plain).hexdigest()[:12],
    )


def address(name: str) -> str:
    """Where a page finds a file: with its version, so that a browser may keep it for ever."""
    return f"/static/{name}?v={asset(name).version}"


def static_file(
    name: str,
    v: str | None = None,
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Send a static file; one asked for by its version is kept, another is asked for again each time.

    Raises:
        NotFound: there is no such file.
    """
    found = asset(name)
    tag = f'"{found.version}"'
    kept = f"public, max-age={YEAR}, immutable" if v == found.version else "no-cache"
    headers = {"Cache-Control": kept, "ETag": tag, "Vary": "Accept-Encoding"}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in accept_encoding:
        headers["Content-Encoding"] = "gzip"
        return Response(found.compressed, media_type=found.media_type, headers=headers)
    return Response(found.plain, media_type=found.media_type, headers=headers)
