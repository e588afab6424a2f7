"""Rows of the database as values, which the store returns and takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.documents.events import EventPayload, payload_of
from orchestrator.documents.laws import RuledOut, SizesDocument
from orchestrator.documents.predictions import TargetAnswer
from orchestrator.spec import SweepSpec
from orchestrator.states import RUN_MEASURED, RunState, SweepState

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


def read_row(record: type[Record], row: Mapping[Any, Any]) -> Record:
    """The record whose fields are the columns of a row."""
    return record(**{field.name: row[field.name] for field in fields(record)})


def row_of(record: DataclassInstance) -> dict[str, Any]:
    """The columns that are the fields of a record."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A submitted sweep.

    Attributes:
        reason: sentence that says why it stopped, failed or completed; None while it is live.
        batches: number of batches of runs requested so far.
        law_number: number of the newest law, None before the first.
        full_grid_flops: cost of every rate of the lattice in every cell as independent runs.
        submitted_by: name of the token that submitted it; None without tokens.
        revision: of its specification, from 1.
        refits_asked: changes that the law must follow, such as exclusions of runs.
        refits_done: of them, those that the newest fit has seen.
    """

    id: str
    name: str
    state: SweepState
    spec: SweepSpec
    reason: str | None
    batches: int
    law_number: int | None
    full_grid_flops: float
    submitted_by: str | None
    created_at: datetime
    updated_at: datetime
    revision: int = 1
    refits_asked: int = 0
    refits_done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Sums over a sweep's runs.

    Attributes:
        by_state: number of runs in each state, 0 included.
        under_way: number of trainings that are running: the horizons of one trunk are one.
        compared: number of runs of the held-out comparison.
        spent_flops: FLOPs spent by the runs of the search.
        compared_flops: FLOPs spent by the runs of the comparison.
        seconds: wall seconds of all runs; None if none was measured.
        rates: number of lattice rates in all cells, without seeds.
    """

    by_state: Mapping[RunState, int]
    under_way: int
    compared: int
    spent_flops: float
    compared_flops: float
    seconds: float | None
    rates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training from the first token to the loss of a cell at one η and seed.

    Attributes:
        cell: number of its cell in the sweep.
        trunk_id: the constant-rate part it shares with other horizons; None if it shares none.
        batch: number of its batch of runs, from 1; None for a pruned rate that was never requested.
        attempt: number of starts.
        loss: the annealed held-out loss; None unless completed.
        trunk_loss: the held-out loss of the undecayed trunk at the fork; None if not measured.
        diverged_tokens: tokens after which the divergence was noticed; None unless diverged, or if not measured.
        flops: FLOPs of this run without those that its trunk had already cost; 0.0 before it ends, and if it failed or
            was cancelled, because nothing is measured then.
        seconds: wall seconds of a worker; None before it ends.
        reason: sentence that says why it was requested, pruned, diverged or failed.
        module_rates: multipliers of η by module, as canonical text like "attention=0.5,embedding=2"; "" for none.
        excluded: why a user has left it out of the law; None for a run that takes part.
        retries: number of times that a user has had it run again.
    """

    id: str
    sweep_id: str
    cell: int
    learning_rate: float
    seed: int
    state: RunState
    trunk_id: str | None
    batch: int | None
    attempt: int
    loss: float | None
    trunk_loss: float | None
    flops: float
    seconds: float | None
    reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    module_rates: str = ""
    diverged_tokens: int | None = None
    excluded: str | None = None
    retries: int = 0

    @property
    def is_evidence(self) -> bool:
        """Whether it has a result that takes part in the law."""
        return self.state in RUN_MEASURED and self.excluded is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to request. ``trunk`` is the name of the trunk it shares, or None; ``module_rates`` as in ``Run``."""

    cell: int
    learning_rate: float
    seed: int
    trunk: str | None
    reason: str
    module_rates: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The end of a run: ``completed``, ``diverged`` or ``failed``, with its measurements."""

    run_id: str
    state: RunState
    loss: float | None = None
    trunk_loss: float | None = None
    diverged_tokens: int | None = None
    flops: float = 0.0
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """One point of a learning curve: the training loss after ``tokens`` tokens.

    ``curve`` is a run's id for its decay branch (or a whole unshared run), a trunk's id for the shared part.
    """

    curve: str
    step: int
    tokens: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LensPoint:
    """Measurements of a run or trunk after ``tokens`` tokens: ``curve`` as in ``LossPoint``, values by name."""

    curve: str
    step: int
    tokens: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawRecord:
    """A fitted law: immutable, numbered per sweep from 1.

    Attributes:
        document: the law itself (``orchestrator.law.Law.to_document``).
        prediction: the prediction at the sweep's target, or the refusal.
        ruled_out: the rates it drops.
        spent_flops: FLOPs that the sweep had spent.
        runs: number of runs it was fitted to.
        sizes: results in the other count of parameters; None if there is one count.
    """

    sweep_id: str
    number: int
    document: Mapping[str, Any]
    prediction: TargetAnswer
    ruled_out: tuple[RuledOut, ...]
    runs: int
    spent_flops: float
    batch: int
    created_at: datetime
    sizes: SizesDocument | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a sweep.

    Attributes:
        id: grows over all sweeps; the event stream's id.
        kind: of the payload (``orchestrator.documents.events.PAYLOADS``).
        data: the payload as it is stored.
    """

    id: int
    sweep_id: str
    kind: str
    data: Mapping[str, Any]
    at: datetime

    @property
    def payload(self) -> EventPayload | None:
        """The typed payload; None if the kind is unknown.

        Raises:
            UnreadableEvent: the kind is known and the data have another shape.
        """
        return payload_of(self.kind, self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An exclusive right, until it expires on the database's clock.

    ``fence`` grows with every new holder; writes with an older fence are refused.
    """

    name: str
    holder: str
    fence: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An uploaded run table. ``id`` is a hash of ``data``, so equal uploads are one table."""

    id: str
    rows: int
    cells: int
    data: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token without its secret."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None
