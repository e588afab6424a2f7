"""Checkpoints as bytes: tensors and plain values only, so that loading one runs no code."""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from trainer.exceptions import BadCheckpoint, OldCheckpoint

_FORMAT = 5


def identity(*parts: object) -> str:
    """A string that identifies the owner of a checkpoint; sets are sorted, so it is the same in every process."""
    return json.dumps(parts, default=_plain, sort_keys=True)


def _plain(part: Any) -> object:
    if is_dataclass(part):
        return {field.name: getattr(part, field.name) for field in fields(part)}
    return dict(part) if isinstance(part, Mapping) else sorted(part)


def pack(identity: str, content: dict[str, Any]) -> bytes:
    """Serializes the content together with the identity of its owner."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, "identity": identity, "content": content}, buffer)
    return buffer.getvalue()


def unpack(identity: str, saved: bytes) -> dict[str, Any]:
    """The content that `pack` saved for the same identity.

    Raises:
        BadCheckpoint: The bytes are unreadable, or were packed for another identity.
        OldCheckpoint: Another version packed them.
    """
    try:
        loaded = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BadCheckpoint(f"checkpoint: {len(saved)} bytes that cannot be read: {error}") from error
    if not isinstance(loaded, dict) or loaded.get("format") != _FORMAT:
        raise OldCheckpoint(f"checkpoint: not of format {_FORMAT}; another version wrote it")
    if loaded["identity"] != identity:
        raise BadCheckpoint(f"checkpoint: it belongs to {loaded['identity']}, not to {identity}")
    content: dict[str, Any] = loaded["content"]
    return content
