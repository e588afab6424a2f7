"""The sweep specification of the contract: what a user asks for, read from text and checked field by field."""

from orchestrator.spec.architecture import Architecture, Dense, MixtureOfExperts
from orchestrator.spec.command import FIRST_RUNS, CommandTrainer
from orchestrator.spec.growth import grown_cells, patched, revised
from orchestrator.spec.held_out import BaseSpec, CellRole, ComparisonSpec, ModuleRates
from orchestrator.spec.json_reader import read_json
from orchestrator.spec.kinds import KINDS, Grid, Trainer
from orchestrator.spec.lattice import MAX_CELLS, MAX_LATTICE, MAX_RUNS, GridOf, Lattice
from orchestrator.spec.mup import BaseShape, Mup, Parametrization
from orchestrator.spec.optimization import AdamW, Muon, Optimizer, Schedule
from orchestrator.spec.parsing import field_problems, parse_spec
from orchestrator.spec.proxy import ProxyTrainer
from orchestrator.spec.proxy_scale import ExpertSize, ParamCounts, Scale, TrainedScale, experts_of, params_of
from orchestrator.spec.replay import ReplayTrainer, replayed_cells
from orchestrator.spec.resources import Resources
from orchestrator.spec.spec_text import MAX_SWEEP_BYTES, spec_text
from orchestrator.spec.sweep import Budget, PriorRuns, Search, Stop, SweepSpec, TargetSpec
from orchestrator.spec.trainer_kind import Catalogue, RecordedRows, TrainerKind
from orchestrator.spec.transfer import Base, base_of
from orchestrator.spec.yaml_reader import add_lines, read_yaml

__all__ = [
    "FIRST_RUNS",
    "KINDS",
    "MAX_CELLS",
    "MAX_LATTICE",
    "MAX_RUNS",
    "MAX_SWEEP_BYTES",
    "AdamW",
    "Architecture",
    "Base",
    "BaseShape",
    "BaseSpec",
    "Budget",
    "Catalogue",
    "CellRole",
    "CommandTrainer",
    "ComparisonSpec",
    "Dense",
    "ExpertSize",
    "Grid",
    "GridOf",
    "Lattice",
    "MixtureOfExperts",
    "ModuleRates",
    "Muon",
    "Mup",
    "Optimizer",
    "ParamCounts",
    "Parametrization",
    "PriorRuns",
    "ProxyTrainer",
    "RecordedRows",
    "ReplayTrainer",
    "Resources",
    "Scale",
    "Schedule",
    "Search",
    "Stop",
    "SweepSpec",
    "TargetSpec",
    "TrainedScale",
    "Trainer",
    "TrainerKind",
    "add_lines",
    "base_of",
    "experts_of",
    "field_problems",
    "grown_cells",
    "params_of",
    "parse_spec",
    "patched",
    "read_json",
    "read_yaml",
    "replayed_cells",
    "revised",
    "spec_text",
]
