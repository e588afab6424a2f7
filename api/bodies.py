"""Bodies of requests: their size limits, and the fields of a sweep in JSON or YAML."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request

from api.problem_details import TooLarge, WrongMediaType
from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec import SweepSpec, add_lines, parse_spec, read_json, read_yaml, spec_text

MAX_TABLE_BYTES: Final = 160 * 2**20
"""Largest run table: a million runs with a dozen columns of a dozen characters."""

JSON_TYPES: Final = ("application/json",)
PATCH_TYPES: Final = ("application/merge-patch+json", *JSON_TYPES)
YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


def media_type(request: Request) -> str:
    """The media type of a request's body, without parameters; empty if not given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def body_of(*accepted: str, limit: int) -> Callable[[Request], Coroutine[Any, Any, bytes]]:
    """A dependency that reads the whole body.

    Args:
        accepted: media types; a body without one is read too.
        limit: bytes; a larger body is refused unread if it gives its length, else when it exceeds the limit.
    """

    async def read(request: Request) -> bytes:
        kind = media_type(request)
        if kind and kind not in accepted:
            raise WrongMediaType(f"The body is {kind}; send it with Content-Type: {' or '.join(accepted)}.")
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
        return bytes(body)

    return read


def amount(size: int) -> str:
    """A number of bytes as text: ``64 MiB``, ``256 KiB``."""
    return f"{size // 2**20} MiB" if size >= 2**20 else f"{size // 2**10} KiB"


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than the limit of {amount(limit)}; nothing was stored. Send fewer rows or fields."
    )


def sweep_spec(body: bytes, kind: str) -> SweepSpec:
    """The sweep in a body.

    Args:
        body: JSON or YAML text in UTF-8.
        kind: the media type; YAML if it is one of ``YAML_TYPES``, else JSON.

    Raises:
        BadInput: the text is not UTF-8, not JSON (or YAML), nested too deep, or not a valid sweep.
    """
    text = spec_text(body)
    if kind not in YAML_TYPES:
        return _checked(_json_fields(text))
    fields = read_yaml(text)
    try:
        return _checked(fields)
    except BadInput as error:
        add_lines(error, text)
        raise


def merge_patch(body: bytes) -> dict[str, Any]:
    """The fields of a JSON merge patch.

    Raises:
        BadInput: the text is not UTF-8, not a JSON object, or nested too deep.
    """
    fields = read_json(spec_text(body))
    refuse_nul(fields)
    return fields


def _json_fields(text: str) -> dict[str, Any]:
    try:
        return read_json(text)
    except BadInput as error:
        if text.lstrip()[:1] not in {"{", "[", ""}:  # YAML rather than JSON with a fault
            error.detail += " Send YAML with Content-Type: application/yaml."
        raise


def _checked(fields: dict[str, Any]) -> SweepSpec:
    refuse_nul(fields)
    return parse_spec(fields)


def refuse_nul(fields: dict[str, Any]) -> None:
    """Refuse text with a NUL character, which databases cannot store.

    Raises:
        BadInput: naming the field.
    """
    waiting: list[tuple[str, object]] = [("", fields)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            message = "contains a NUL character"
            raise BadInput(f"{path} {message}.", fields=(FieldProblem(path=path, message=message),))
        if isinstance(value, dict | list):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(f"{path}.{key}".lstrip("."), part) for key, part in parts]
            if isinstance(value, dict):
                waiting += [(path, key) for key in value if isinstance(key, str)]
