"""What a user asks for: the sweep specification of the contract, read from text and checked field by field."""

from orchestrator.spec.comparison import BaseSpec, ComparisonSpec, ModuleRates
from orchestrator.spec.grid import MAX_CELLS, MAX_LATTICE, MAX_RUNS, Grid, Lattice, Scale
from orchestrator.spec.problems import field_problems, parse_spec
from orchestrator.spec.sweep import Budget, PriorRuns, Resources, Search, Stop, SweepSpec, TargetSpec
from orchestrator.spec.text import read_yaml
from orchestrator.spec.trainers import (
    Architecture,
    CommandTrainer,
    Optimizer,
    ProxyTrainer,
    ReplayTrainer,
    Schedule,
    Trainer,
)

__all__ = [
    "MAX_CELLS",
    "MAX_LATTICE",
    "MAX_RUNS",
    "Architecture",
    "BaseSpec",
    "Budget",
    "CommandTrainer",
    "ComparisonSpec",
    "Grid",
    "Lattice",
    "ModuleRates",
    "Optimizer",
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
    "field_problems",
    "parse_spec",
    "read_yaml",
]
