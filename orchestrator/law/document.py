"""A law as a JSON-able document, and back: what is stored predicts exactly as what was fitted."""

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.errors import Conflict
from orchestrator.law.bowl import Bowl
from orchestrator.law.effects import Effects
from orchestrator.law.features import FEATURES
from orchestrator.law.heldout import HeldOut
from orchestrator.law.notices import Notice
from orchestrator.law.observations import Array
from orchestrator.law.scales import Scales
from orchestrator.law.surface import Surface
from orchestrator.law.terms import Reference

if TYPE_CHECKING:
    from orchestrator.law.law import Law

VERSION = 3


class OutdatedLaw(Conflict):
    """A law that an earlier version of Etalon wrote: its runs are there, its numbers mean something else now."""


def describe(law: "Law") -> dict[str, Any]:
    """The law as nested dicts, lists, numbers and strings."""
    return {
        "version": VERSION,
        "fingerprint": law.fingerprint,
        "runs": law.runs,
        "noise": law.noise,
        "reference": asdict(law.reference),
        "coefficients": [asdict(term) for term in law.coefficients],
        "covariance": law.covariance.tolist(),
        "warnings": list(law.warnings),
        "notices": [notice.to_document() for notice in law.notices],
        "heldout": None if law.heldout is None else law.heldout.to_document(),
        "heldout_reason": law.heldout_reason,
        "without": list(law.without),
        "range": {"smallest": law.smallest.tolist(), "largest": law.largest.tolist()},
        "scales": law.scales.to_document(),
        "surface": law.surface.to_document(),
        "effects": law.effects.to_document(),
        "pooled": {"mean": law.pooled.tolist(), "covariance": pack(law.pooled_covariance)},
        "bowls": [bowl.to_document() for bowl in law.bowls],
    }


def parts(document: dict[str, Any]) -> dict[str, Any]:
    """The attributes of the law of a document.

    Raises:
        OutdatedLaw: The document was written by a version of the law with other terms.
    """
    names = [term["name"] for term in document["coefficients"]]
    if document["version"] != VERSION or names != [feature.name for feature in FEATURES]:
        raise OutdatedLaw(
            f"This law was written by an earlier version of Etalon (version {document['version']} of its document, this is "
            f"{VERSION}). Its runs are kept: fit them again as the prior_runs of a new sweep, or with etalon fit on its runs.csv."
        )
    mean = np.array(document["pooled"]["mean"])
    return {
        "reference": Reference(**document["reference"]),
        "pooled": mean,
        "pooled_covariance": unpack(document["pooled"]["covariance"], mean.size),
        "effects": Effects.from_document(document["effects"]),
        "scales": Scales.from_document(document["scales"]),
        "surface": Surface.from_document(document["surface"]),
        "smallest": np.array(document["range"]["smallest"]),
        "largest": np.array(document["range"]["largest"]),
        "bowls": tuple(Bowl.from_document(bowl) for bowl in document["bowls"]),
        "heldout": None if document["heldout"] is None else HeldOut.from_document(document["heldout"]),
        "heldout_reason": document["heldout_reason"],
        "without": tuple(document["without"]),
        "notices": tuple(Notice.from_document(notice) for notice in document["notices"]),
        "fingerprint": document["fingerprint"],
        "runs": document["runs"],
    }


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
