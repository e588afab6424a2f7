"""Saved state as bytes: tensors and plain values, loaded without running any code."""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from trainer.errors import BadCheckpoint, OldCheckpoint

_FORMAT = 4


def identity(*parts: object) -> str:
    """What saved state belongs to, in the same words in every process: sets have no order of their own."""
    return json.dumps(parts, default=_plain, sort_keys=True)


def _plain(part: Any) -> object:
    if is_dataclass(part):
        return {field.name: getattr(part, field.name) for field in fields(part)}
    return dict(part) if isinstance(part, Mapping) else sorted(part)


def pack(identity: str, content: dict[str, Any]) -> bytes:
    """The content with the identity of what it belongs to."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "identity": identity, "content": content}, buffer)
    return buffer.getvalue()


def unpack(identity: str, saved: bytes) -> dict[str, Any]:
    """The content that was packed for this identity.

    Raises:
        BadCheckpoint: The bytes are unreadable, or were packed for something else.
        OldCheckpoint: Another version packed them.
    """
    try:
        loaded = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BadCheckpoint(f"checkpoint: {len(saved)} bytes that cannot be read: {error}") from error
    if not isinstance(loaded, dict) or loaded.get("format") != _FORMAT:
        raise OldCheckpoint(f"checkpoint: not of format {_FORMAT}; it was written by another version")
    if loaded["identity"] != identity:
        raise BadCheckpoint(f"checkpoint: it belongs to {loaded['identity']}, not to {identity}")
    content: dict[str, Any] = loaded["content"]
    return content
