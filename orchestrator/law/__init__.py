"""The law of the best learning rate: bowls, the joint fit, its uncertainty, and when it refuses."""

from orchestrator.law.bowl import Bowl
from orchestrator.law.fit import FitOptions, fit
from orchestrator.law.heldout import HeldOut, HeldOutCell
from orchestrator.law.horizon import HorizonLaw
from orchestrator.law.law import Law
from orchestrator.law.observations import Observations
from orchestrator.law.point import Point
from orchestrator.law.prediction import Prediction
from orchestrator.law.refusal import LawRefusal, Refused
from orchestrator.law.status import BowlStatus
from orchestrator.law.terms import Coefficient, Reference

__all__ = [
    "Bowl",
    "BowlStatus",
    "Coefficient",
    "FitOptions",
    "HeldOut",
    "HeldOutCell",
    "HorizonLaw",
    "Law",
    "LawRefusal",
    "Observations",
    "Point",
    "Prediction",
    "Reference",
    "Refused",
    "fit",
]
