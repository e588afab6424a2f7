"""Events of a sweep: one payload model per kind.

Whatever writes an event builds its payload here, and whatever reads one gets it from ``payload_of``. Clients of the
event stream receive the same JSON, so a field may be added to a model and never removed or renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.documents.document import Compact, first_fault
from orchestrator.errors import EtalonError
from orchestrator.states import ComparisonStage, RunState, SweepState


class EventPayload(Compact):
    """Base of every payload; unknown fields of a stored event are ignored.

    Attributes:
        KIND: the kind of event that the payload belongs to.
    """

    model_config = ConfigDict(frozen=True)
    KIND: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """The fields that were set, as JSON-able values."""
        return self.model_dump(mode="json", exclude_unset=True)


class SweepEvent(EventPayload):
    """The sweep was submitted, or moved to another state."""

    KIND = "sweep"

    state: SweepState
    reason: str | None = None
    actor: str | None = Field(
        default=None, description="Name of a token, leader or driver; null without tokens."
    )


class RevisionEvent(EventPayload):
    """The specification was changed."""

    KIND = "revision"

    revision: int = Field(description="Its number; the submitted specification is 1.")
    changes: dict[str, Any] = Field(description="The JSON merge patch.")
    actor: str | None = Field(default=None, description="Name of the token; null without tokens.")


class RunChangeEvent(EventPayload):
    """A user had a run run again, left it out of the law, or took it back in."""

    KIND = "run_change"

    run_id: str
    change: Literal["retry", "exclude", "include"]
    reason: str | None = Field(default=None, description="Why it is excluded.")
    actor: str | None = Field(default=None, description="Name of the token; null without tokens.")


class BatchEvent(EventPayload):
    """A batch of runs was asked for."""

    KIND = "batch"

    batch: int = Field(description="Its number, from 1.")
    runs: int
    pruned: int = Field(default=0, description="Rates that the newest law dropped with it.")
    ended: int | None = Field(default=None, description="Runs that had ended when the batch was chosen.")


class WaitEvent(EventPayload):
    """The planner waits for the open runs before it asks for more."""

    KIND = "wait"

    ended: int = Field(description="Runs that had ended by then.")


class RunEvent(EventPayload):
    """A run ended, or became pending again."""

    KIND = "run"

    run_id: str
    cell: int
    learning_rate: float
    seed: int
    state: RunState
    loss: float | None = Field(description="Null unless completed.")


class LawEvent(EventPayload):
    """A fit: of a law, or of none, with the reason."""

    KIND = "law"

    number: int | None = Field(description="Null where the fit gave no law.")
    runs: int = Field(description="Runs that the fit saw.")
    prediction: dict[str, Any] | None = Field(
        default=None, description="At the sweep's target, or why the law refuses it."
    )
    refused: str | None = Field(default=None, description="Name of the reason why there is no law.")
    detail: str | None = Field(default=None, description="The same reason, in a sentence.")


class ProgressEvent(EventPayload):
    """Runs began, were ruled out or cancelled, or learning curves grew: only the fields that changed are set."""

    KIND = "progress"

    claimed: int | None = Field(default=None, description="Runs that began.")
    points: int | None = Field(default=None, description="Points added to learning curves.")
    pruned: int | None = Field(
        default=None, description="Rates that the newest law dropped, without a batch."
    )
    cancelled: int | None = Field(
        default=None,
        description="Runs cancelled because the budget is spent, or the sweep stops or has ended.",
    )
    reason: str | None = Field(default=None, description="Which part of the budget, or the sweep's state.")


class NodeSize(Compact):
    """Nodes of one size in a Ray cluster."""

    model_config = ConfigDict(frozen=True)

    cpus: float
    gpus: float
    count: int = Field(default=1, description="How many such nodes there are.")


class WorkersEvent(EventPayload):
    """The size of the sweep's Ray cluster, when it was first measured or has changed."""

    KIND = "workers"

    cpus: float
    gpus: float
    nodes: tuple[NodeSize, ...] = Field(
        default=(), description="Its nodes by size, largest first; a run is on one of them."
    )
    room: int = Field(description="Workers that fit into the cluster; 0 where not one does.")
    reason: str | None = Field(description="Why none fits; null where one does.")


class NoticeEvent(EventPayload):
    """Something about the runs that the user should know; the sweep goes on."""

    KIND = "notice"

    message: str = Field(description="A sentence.")


class ScheduleDocument(Compact):
    """What the schedule of a registered program is, as it declares."""

    model_config = ConfigDict(frozen=True)

    warmup_tokens: int
    decay_fraction: float
    final_fraction: float


class TrainerEvent(EventPayload):
    """The registration of the sweep's program that runs are carried out by from now on."""

    KIND = "trainer"

    name: str
    digest: str = Field(description="Of the registration: another one pauses the sweep.")
    checked: bool = Field(description="Whether `etalon trainer check` has passed it.")
    schedule: ScheduleDocument | None = Field(default=None, description="Null where none is declared.")


class ComparisonEvent(EventPayload):
    """The comparison at the held-out scale reached a stage; the first says that the search is over."""

    KIND = "comparison"

    stage: ComparisonStage
    search: str = Field(description="Why the search ended, in a sentence.")
    reason: str | None = Field(
        default=None, description="Why the comparison was not run, or what cut it short."
    )
    verdict: str | None = Field(default=None, description="Which paradigm to trust, in a sentence.")


PAYLOADS: Final[Mapping[str, type[EventPayload]]] = {
    model.KIND: model
    for model in (
        SweepEvent,
        RevisionEvent,
        RunChangeEvent,
        BatchEvent,
        WaitEvent,
        RunEvent,
        LawEvent,
        ProgressEvent,
        WorkersEvent,
        NoticeEvent,
        TrainerEvent,
        ComparisonEvent,
    )
}
"""The payload model of each kind of event."""


class UnreadableEvent(EtalonError):
    """An event of a known kind that another version of Etalon wrote in another shape."""

    title = "An event cannot be read"


def payload_of(kind: str, data: Mapping[str, Any]) -> EventPayload | None:
    """The payload of a stored event; None if its kind is unknown.

    Args:
        kind: of the event.
        data: as they are stored.

    Raises:
        UnreadableEvent: the kind is known and the data have another shape.
    """
    model = PAYLOADS.get(kind)
    if model is None:
        return None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UnreadableEvent(
            f"A stored event of the kind {kind} has another shape than this version of Etalon reads "
            f"({first_fault(error)}). Use the version of Etalon that wrote it."
        ) from error
