"""The rows of the database as values: what the store hands out and takes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.documents.events import EventPayload, payload_of
from orchestrator.spec import SweepSpec
from orchestrator.states import RunState, SweepState


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A submitted sweep.

    Attributes:
        reason: why it stopped, failed or completed, for people; None while it lives.
        batches: batches of runs asked for so far.
        law_number: number of the newest law, None before the first.
        full_grid_flops: what every rate of the lattice in every cell would cost as independent runs.
        submitted_by: name of the token that submitted it; None without tokens.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a sweep's runs add up to.

    Attributes:
        by_state: how many runs are in each state; states without runs are 0.
        compared: how many of them are of the held-out comparison.
        spent_flops: FLOPs that those of the search have really spent.
        compared_flops: FLOPs that those of the comparison have spent.
        seconds: wall seconds of all of them together; None where none was measured.
        rates: rates of the lattice in all its cells, each seed counted once.
    """

    by_state: Mapping[RunState, int]
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
        trunk_id: the constant-rate part it shares with other horizons; None where nothing is shared.
        batch: the batch of runs it belongs to, from 1; None for a pruned rate that was never asked for.
        attempt: how often it has been started, from 0.
        loss: the annealed held-out loss; None unless completed.
        trunk_loss: the held-out loss of the undecayed trunk at the fork; None if not measured.
        diverged_tokens: after how many tokens the divergence was noticed; None unless diverged, or if not measured.
        flops: spent for this run beyond what its trunk already had; 0.0 until it ends, and for good where it
            failed or was cancelled: what it had spent by then is not measured.
        seconds: wall seconds it took of its worker; None until it ends.
        reason: why it was asked for, pruned, diverged or failed, for people.
        module_rates: multipliers of η by module, as canonical text like "attention=0.5,embedding=2"; "" for none.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to ask for. ``trunk`` names the trunk it shares, or is None; ``module_rates`` as in ``Run``."""

    cell: int
    learning_rate: float
    seed: int
    trunk: str | None
    reason: str
    module_rates: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended: ``completed``, ``diverged`` or ``failed``, with what was measured."""

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
    """What the lenses saw of a run or trunk after ``tokens`` tokens: ``curve`` as in ``LossPoint``, values by name."""

    curve: str
    step: int
    tokens: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawRecord:
    """A law as it was fitted: immutable, numbered per sweep from 1.

    Attributes:
        document: the law itself (``orchestrator.law.Law.to_document``).
        prediction: the prediction at the sweep's target, or the refusal, as the API answers it.
        ruled_out: the rates that this law dropped: ``[{cell, learning_rate, reason}, …]``.
        spent_flops: what the sweep had spent when it was fitted.
        runs: how many runs it was fitted to.
        sizes: what a law in the other count of parameters gives; None where there is one count alone.
    """

    sweep_id: str
    number: int
    document: Mapping[str, Any]
    prediction: Mapping[str, Any]
    ruled_out: tuple[Mapping[str, Any], ...]
    runs: int
    spent_flops: float
    batch: int
    created_at: datetime
    sizes: Mapping[str, Any] | None = None


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
        """The typed payload; None if the kind is unknown or the data have another shape."""
        return payload_of(self.kind, self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A right to be the only one, until it expires on the database's clock.

    ``fence`` grows with every new holder: what an earlier holder writes with an older fence is refused.
    """

    name: str
    holder: str
    fence: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An uploaded run table; ``id`` is derived from its content, so the same upload is the same table."""

    id: str
    rows: int
    cells: int
    data: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token as it is kept: its name, its scopes, never the token itself."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None
