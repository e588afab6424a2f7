"""The law of the best learning rate: bowls, the joint fit, its uncertainty and its refusals."""

from orchestrator.law.bowl import Bowl
from orchestrator.law.bowl_status import BowlStatus
from orchestrator.law.features import Coefficient
from orchestrator.law.fitting import FitOptions, fit
from orchestrator.law.held_out_error import HeldOut, HeldOutCell
from orchestrator.law.law import Law, OutdatedLaw, Prediction
from orchestrator.law.observations import Observations
from orchestrator.law.refusal import LawRefusal

__all__ = [
    "Bowl",
    "BowlStatus",
    "Coefficient",
    "FitOptions",
    "HeldOut",
    "HeldOutCell",
    "Law",
    "LawRefusal",
    "Observations",
    "OutdatedLaw",
    "Prediction",
    "fit",
]
