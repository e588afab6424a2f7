"""Symmetric matrices as text, bit for bit."""

import base64

import numpy as np

from orchestrator.law.observations import Array


def pack(symmetric: Array) -> str:
    """The lower triangle of a symmetric matrix as base64 of little-endian float64, by rows."""
    lower = symmetric[np.tril_indices(len(symmetric))]
    return base64.b64encode(lower.astype("<f8").tobytes()).decode()


def unpack(text: str, size: int) -> Array:
    """The inverse of `pack`."""
    symmetric = np.zeros((size, size))
    rows, columns = np.tril_indices(size)
    symmetric[rows, columns] = np.frombuffer(base64.b64decode(text), dtype="<f8")
    symmetric[columns, rows] = symmetric[rows, columns]
    return symmetric
