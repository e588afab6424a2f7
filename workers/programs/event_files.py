"""Reads scalars from TensorBoard event files while they grow."""

from __future__ import annotations

import importlib
import importlib.util
import struct
import sys
import time
import types
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

RECORD_BYTES: Final = 1 << 20
"""Longer records, such as pictures, are left out."""

LOOK_BYTES: Final = 4 << 20
"""Most bytes that one look reads of a file."""

FIND_SECONDS: Final = 1.0
"""Time between two looks for new files."""

_DT_FLOAT, _DT_DOUBLE = 1, 2


class EventFolder:
    """Scalars of one tag in all event files below a folder, in the order in which each was written."""

    def __init__(self, folder: Path, tag: str) -> None:
        """Read a folder, which need not exist."""
        self._folder, self._tag = folder, tag
        self._files: dict[Path, _EventFile] = {}
        self._found_at = -FIND_SECONDS
        _messages()  # if it is missing, no program is started

    def poll(self, *, find: bool = False) -> list[tuple[int, float]]:
        """New pairs of step and value.

        Args:
            find: whether to look for new files even if that was done lately.
        """
        if find or time.monotonic() - self._found_at >= FIND_SECONDS:
            self._find()
        return [pair for file in self._files.values() for pair in file.poll(self._tag)]

    def skip_to_end(self) -> None:
        """Leave out what the files hold now."""
        self._find()
        for file in self._files.values():
            file.skip_to_end()

    def _find(self) -> None:
        self._found_at = time.monotonic()
        with suppress(OSError):  # a folder that vanishes meanwhile
            for path in sorted(self._folder.rglob("*tfevents*")):
                self._files.setdefault(path, _EventFile(path))


class _EventFile:
    """Records of a length (8 bytes), its checksum (4), the event, and its checksum (4); a torn last one waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def skip_to_end(self) -> None:
        with suppress(OSError):
            self._offset = self._path.stat().st_size

    def poll(self, tag: str) -> list[tuple[int, float]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(LOOK_BYTES)
                size = file.seek(0, 2)
        except OSError:
            return []
        found: list[tuple[int, float]] = []
        for event in self._events(data, size):
            found += _scalars(event, tag)
        return found

    def _events(self, data: bytes, size: int) -> Iterable[bytes]:
        at = 0
        while at + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            if length > RECORD_BYTES and self._offset + length + 16 <= size:
                self._offset += length + 16  # passed over; the next look goes on behind it
                return
            if at + length + 16 > len(data):
                return
            yield data[at + 12 : at + 12 + length]
            at += length + 16
            self._offset += length + 16


def _scalars(data: bytes, tag: str) -> list[tuple[int, float]]:
    event_class, decode_error = _messages()
    try:
        event = event_class.FromString(data)
    except decode_error:
        return []
    numbers = (_number(value) for value in event.summary.value if value.tag == tag)
    return [(event.step, number) for number in numbers if number is not None]


def _number(value: Any) -> float | None:
    """A scalar in either of its two forms; None for what is none."""
    if value.WhichOneof("value") == "simple_value":
        return float(value.simple_value)
    tensor = value.tensor
    form, listed = {_DT_FLOAT: ("<f", tensor.float_val), _DT_DOUBLE: ("<d", tensor.double_val)}.get(
        tensor.dtype, ("", ())
    )
    if listed:
        return float(listed[0])
    if form and len(tensor.tensor_content) == struct.calcsize(form):
        return float(struct.unpack(form, tensor.tensor_content)[0])
    return None


@cache
def _messages() -> tuple[Any, type[Exception]]:
    """The class of events and protobuf's error. Importing tensorboardX itself loads NumPy and takes 200 MB."""
    package = types.ModuleType("tensorboardX")
    spec = importlib.util.find_spec("tensorboardX")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("TensorBoard files are read with tensorboardX, which ray[tune] brings")
    package.__path__ = list(spec.submodule_search_locations)
    loaded = sys.modules.setdefault("tensorboardX", package)
    try:
        event_class = importlib.import_module("tensorboardX.proto.event_pb2").Event
    finally:
        if loaded is package:
            del sys.modules["tensorboardX"]
    return event_class, importlib.import_module("google.protobuf.message").DecodeError
