"""What a user asks for: the sweep specification of the contract, read from text and checked field by field."""

from orchestrator.spec.architecture import Architecture, Dense, MixtureOfExperts
from orchestrator.spec.comparison import BaseSpec, CellRole, ComparisonSpec, ModuleRates
from orchestrator.spec.grid import (
    MAX_CELLS,
    MAX_LATTICE,
    MAX_RUNS,
    ExpertSize,
    Grid,
    Lattice,
    Scale,
    experts_of,
)
from orchestrator.spec.parametrization import BaseShape, Mup, Parametrization
from orchestrator.spec.problems import field_problems, parse_spec
from orchestrator.spec.sweep import Budget, PriorRuns, Resources, Search, Stop, SweepSpec, TargetSpec
from orchestrator.spec.text import read_yaml
from orchestrator.spec.trainers import (
    AdamW,
    CommandTrainer,
    Muon,
    Optimizer,
    ProxyTrainer,
    ReplayTrainer,
    Schedule,
    Trainer,
)
from orchestrator.spec.transfer import Base, base_of

__all__ = [
    "MAX_CELLS",
    "MAX_LATTICE",
    "MAX_RUNS",
    "AdamW",
    "Architecture",
    "Base",
    "BaseShape",
    "BaseSpec",
    "Budget",
    "CellRole",
    "CommandTrainer",
    "ComparisonSpec",
    "Dense",
    "ExpertSize",
    "Grid",
    "Lattice",
    "MixtureOfExperts",
    "ModuleRates",
    "Muon",
    "Mup",
    "Optimizer",
    "Parametrization",
    "PriorRuns",
    "ProxyTrainer",
    "ReplayTrainer",
    "Resources",
    "Scale",
    "Schedule",
    "Search",
    "Stop",
    "SweepSpec",
    "TargetSpec",
    "Trainer",
    "base_of",
    "experts_of",
    "field_problems",
    "parse_spec",
    "read_yaml",
]
