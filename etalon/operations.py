"""The operations of the REST API, a row each, and how a request and an answer of one look; both clients carry them out."""

from __future__ import annotations

import json as jsonlib
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import httpx2
from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from etalon.arguments import Amount, amount, flops_amount, require_ascii
from etalon.plotly_figure import PlotlyFigure
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.document import Document
from orchestrator.documents.laws import LawDocument
from orchestrator.documents.lenses import LensesDocument
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.runs import CurveDocument, LogDocument, RunDocument
from orchestrator.documents.sweeps import SweepDocument, SweepSummary
from orchestrator.documents.tables import TableDocument
from orchestrator.documents.trainers import TrainerDocument
from orchestrator.errors import BadInput, Conflict, NotFound

TIMEOUT_SECONDS: Final = 60.0
LEAST_TIMEOUT_SECONDS: Final = 1.0
"""Of a request near its deadline."""
ATTEMPTS: Final = 4
PATIENT_ATTEMPTS: Final = 60
"""Of a request that follows a sweep: about a minute, in which a service may be started again."""
GATEWAY_STATUSES: Final = frozenset({502, 503, 504})
"""Statuses of a service that is about to be back."""
PAGE_ITEMS: Final = 200
MOST_NAMED: Final = 10
"""Most sweeps of one name that an error lists."""
CREATED: Final = "%Y-%m-%d %H:%M UTC"
"""When a sweep was created, in messages."""
MOST_POINTS: Final = 10_000
"""Most points of a learning curve that the service sends."""
LOG_LINES: Final = 200
"""Lines of a run's output that are asked for by default."""

Answer = TypeVar("Answer")
Item = TypeVar("Item", bound=Document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Answer]):
    """One request of an operation.

    Attributes:
        method, path: of the request.
        read: the answer of a successful response.
        query, headers: what was given.
        json, content: the body; at most one of them.
    """

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: Any = None
    content: bytes | None = None

    @property
    def harmless(self) -> bool:
        """Whether it may be sent again if its answer is lost."""
        return self.method == "GET" or "Idempotency-Key" in self.headers

    def after(self, cursor: str) -> Call[Answer]:
        """The call for the next page."""
        return replace(self, query={**self.query, "cursor": cursor})

    def request(self, deadline: float = math.inf) -> dict[str, Any]:
        """The arguments of `httpx2.Client.request`.

        Args:
            deadline: when it is given up, by `time.monotonic`.
        """
        seconds = max(LEAST_TIMEOUT_SECONDS, deadline - time.monotonic())
        body = {"content": self.content} if self.content is not None else {"json": self.json}
        return {
            "method": self.method,
            "url": self.path,
            "params": dict(self.query),
            "headers": dict(self.headers),
            "timeout": min(TIMEOUT_SECONDS, seconds),
            **body,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Answer]):
    """One method of one path.

    Attributes:
        method: GET, POST or PATCH.
        path: as the OpenAPI document has it, with the names of parameters in braces.
        read: the answer of a successful response.
        query: the query parameters that it takes.
    """

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    query: tuple[str, ...] = ()

    def call(
        self,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        **parameters: str | int,
    ) -> Call[Answer]:
        """A request; a query parameter that is None is left out.

        Raises:
            BadInput: the body is not JSON, or a header is not ASCII.
        """
        if json is not None:
            _require_json(json)
        for name, text in (headers or {}).items():
            require_ascii(name, text)
        return Call(
            method=self.method,
            path=self.path.format_map({name: quote(str(text), safe="") for name, text in parameters.items()}),
            read=self.read,
            query={name: str(value) for name, value in (query or {}).items() if value is not None},
            headers=headers or {},
            json=json,
            content=content,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Item]):
    """One page of a list, and the items of the whole list."""

    items: list[Item]
    next_cursor: str | None
    total: int


def _require_json(body: Any) -> None:
    try:
        jsonlib.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"What is sent must be JSON: {error}.") from error


def _document(kind: type[Item]) -> Callable[[httpx2.Response], Item]:
    return lambda response: kind.read(response.json())


def _listing(kind: type[Item]) -> Callable[[httpx2.Response], Listing[Item]]:
    def read(response: httpx2.Response) -> Listing[Item]:
        sent = response.json()
        items = [kind.read(item) for item in sent["items"]]
        return Listing(items=items, next_cursor=sent["next_cursor"], total=sent["total"])

    return read


def _run_command(verb: str) -> Operation[RunDocument]:
    return Operation(method="POST", path=f"/v1/runs/{{run_id}}/{verb}", read=_document(RunDocument))


def _command(verb: str) -> Operation[SweepDocument]:
    return Operation(method="POST", path=f"/v1/sweeps/{{sweep_id}}/{verb}", read=_document(SweepDocument))


READY: Final = Operation(method="GET", path="/readyz", read=lambda response: response.is_success)
UPLOAD: Final = Operation(method="POST", path="/v1/tables", read=_document(TableDocument))
TRAINERS: Final = Operation(
    method="GET", path="/v1/trainers", read=_listing(TrainerDocument), query=("limit", "cursor")
)
TRAINER: Final = Operation(method="GET", path="/v1/trainers/{name}", read=_document(TrainerDocument))
SUBMIT: Final = Operation(method="POST", path="/v1/sweeps", read=_document(SweepDocument))
PLAN: Final = Operation(
    method="POST", path="/v1/sweeps", read=_document(PreviewDocument), query=("validate_only",)
)
SWEEPS: Final = Operation(
    method="GET",
    path="/v1/sweeps",
    read=_listing(SweepSummary),
    query=("state", "name", "limit", "cursor"),
)
SWEEP: Final = Operation(method="GET", path="/v1/sweeps/{sweep_id}", read=_document(SweepDocument))
EXTEND: Final = replace(SWEEP, method="PATCH")
PAUSE: Final = _command("pause")
RESUME: Final = _command("resume")
STOP: Final = _command("stop")
CANCEL: Final = _command("cancel")
CLONE: Final = _command("clone")
RUNS: Final = Operation(
    method="GET",
    path="/v1/sweeps/{sweep_id}/runs",
    read=_listing(RunDocument),
    query=("state", "limit", "cursor"),
)
EXPORT: Final = Operation(
    method="GET", path="/v1/sweeps/{sweep_id}/runs.csv", read=lambda response: response.text
)
RUN: Final = Operation(method="GET", path="/v1/runs/{run_id}", read=_document(RunDocument))
RETRY: Final = _run_command("retry")
EXCLUDE: Final = _run_command("exclude")
INCLUDE: Final = _run_command("include")
LOSSES: Final = Operation(
    method="GET", path="/v1/runs/{run_id}/losses", read=_document(CurveDocument), query=("max_points",)
)
LOG: Final = Operation(
    method="GET", path="/v1/runs/{run_id}/log", read=_document(LogDocument), query=("tail", "after")
)
LENSES: Final = Operation(method="GET", path="/v1/runs/{run_id}/lenses", read=_document(LensesDocument))
LAWS: Final = Operation(
    method="GET", path="/v1/sweeps/{sweep_id}/laws", read=_listing(LawDocument), query=("limit", "cursor")
)
LAW: Final = Operation(method="GET", path="/v1/sweeps/{sweep_id}/laws/{number}", read=_document(LawDocument))
COMPARISON: Final = Operation(
    method="GET", path="/v1/sweeps/{sweep_id}/comparison", read=_document(ComparisonDocument)
)
PREDICTION: Final = Operation(
    method="GET",
    path="/v1/sweeps/{sweep_id}/prediction",
    read=_document(PredictionDocument),
    query=("params", "tokens", "batch_tokens", "law", "budget_flops"),
)
FIGURE: Final = Operation(
    method="GET",
    path="/v1/sweeps/{sweep_id}/figures/{name}",
    read=lambda response: PlotlyFigure(response.json()),
    query=("columns", "params", "batch_tokens", "page", "phase"),
)
EVENTS: Final = Operation(
    method="GET", path="/v1/sweeps/{sweep_id}/events", read=lambda _: None, query=("after",)
)

OPERATIONS: Final[tuple[Operation[Any], ...]] = (
    *(
        READY,
        UPLOAD,
        TRAINERS,
        TRAINER,
        SUBMIT,
        PLAN,
        SWEEPS,
        SWEEP,
        EXTEND,
        CLONE,
        PAUSE,
        RESUME,
        STOP,
        CANCEL,
    ),
    *(
        RUNS,
        EXPORT,
        RUN,
        RETRY,
        EXCLUDE,
        INCLUDE,
        LOSSES,
        LOG,
        LENSES,
        LAWS,
        LAW,
        COMPARISON,
        PREDICTION,
        FIGURE,
        EVENTS,
    ),
)
"""Every operation that the clients know."""


def submission(fields: Mapping[str, Any], idempotency_key: str | None) -> Call[SweepDocument]:
    """The call that submits a sweep once: repeated after a lost answer, it has the same key."""
    return SUBMIT.call(json=fields, headers={"Idempotency-Key": idempotency_key or secrets.token_hex(16)})


def extension(sweep_id: str, patch: Mapping[str, Any], revision: int | None) -> Call[SweepDocument]:
    """The call that changes a sweep, at a revision or at whichever is the present one."""
    headers = {} if revision is None else {"If-Match": f'"{revision}"'}
    return EXTEND.call(sweep_id=sweep_id, json=dict(patch), headers=headers)


def cloning(
    sweep_id: str, patch: Mapping[str, Any] | None, idempotency_key: str | None
) -> Call[SweepDocument]:
    """The call that submits a changed copy once, as ``submission``."""
    headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
    return CLONE.call(sweep_id=sweep_id, json=dict(patch or {}), headers=headers)


def losses(run_id: str, max_points: int = MOST_POINTS) -> Call[CurveDocument]:
    """The call that asks for a learning curve of at most so many points."""
    return LOSSES.call(run_id=run_id, query={"max_points": max_points})


def place(index: int, total: Callable[[], int]) -> int:
    """The place from the start of an index, which may count from the end.

    Args:
        index: of a list.
        total: asks for the length of the list.

    Raises:
        TypeError: it is no whole number.
        IndexError: it is before the start.
    """
    if not isinstance(index, int):
        raise TypeError("An index is a whole number; for several, take list(…)[…].")
    start = index if index >= 0 else total() + index
    if start < 0:
        raise IndexError(f"There are {start - index} items, none at {index}.")
    return start


def path_can_hold(id_or_name: str) -> bool:
    """Whether an id or a name can be one part of a path; others are found by query."""
    return "/" not in id_or_name and id_or_name not in {"", ".", ".."}


def sweeps_named(name: str) -> Call[Listing[SweepSummary]]:
    """The call that asks for the newest sweeps of a name."""
    return SWEEPS.call(query={"name": name, "limit": MOST_NAMED + 1})


def only_id(name: str, sweeps: Sequence[SweepSummary]) -> str:
    """The id of the only sweep of a name, refused in the words of the service.

    Raises:
        NotFound: there is none.
        Conflict: there are several; the message lists the newest.
    """
    if not sweeps:
        raise NotFound(f"There is no sweep {name!r}.")
    if len(sweeps) > 1:
        listed = ", ".join(
            f"{sweep.id} ({sweep.state}, created {sweep.created_at:{CREATED}})"
            for sweep in sweeps[:MOST_NAMED]
        )
        more = ", …" if len(sweeps) > MOST_NAMED else ""
        raise Conflict(f"Several sweeps have the name {name!r}; use an id: {listed}{more}.")
    return sweeps[0].id


def question(
    sweep_id: str,
    *,
    params: Amount,
    tokens: Amount,
    batch_tokens: Amount | None,
    budget_flops: Amount | None,
    law: int | None,
) -> Call[PredictionDocument]:
    """The call that asks for a prediction.

    Raises:
        BadInput: an amount is none.
    """
    query = {
        "params": amount("params", params),
        "tokens": amount("tokens", tokens),
        "batch_tokens": None if batch_tokens is None else amount("batch_tokens", batch_tokens),
        "budget_flops": flops_amount("budget_flops", budget_flops),
        "law": law,
    }
    return PREDICTION.call(sweep_id=sweep_id, query=query)


def deadline_after(timeout: float | None) -> float:
    """The time in ``timeout`` seconds by `time.monotonic`; infinity for None."""
    return math.inf if timeout is None else time.monotonic() + timeout


def retries(call: Call[Any], attempts: int, deadline: float) -> dict[str, Any]:
    """The arguments of `tenacity.Retrying`: a call that is harmless is sent again if the service may be back soon.

    The last response is returned, or its error raised; a TimeoutError if the deadline ended the attempts.
    """
    backoff = wait_random_exponential(multiplier=0.2, max=2.0)
    enough = stop_after_attempt(attempts if call.harmless else 1)

    def last(state: RetryCallState) -> Any:
        outcome: Any = state.outcome
        if time.monotonic() >= deadline:
            raise TimeoutError("The service did not answer in time.") from outcome.exception()
        return outcome.result()

    return {
        "retry": retry_if_exception_type(httpx2.TransportError)
        | retry_if_result(lambda response: response.status_code in GATEWAY_STATUSES),
        "stop": lambda state: enough(state) or time.monotonic() >= deadline,
        "wait": lambda state: min(backoff(state), max(0.0, deadline - time.monotonic())),
        "retry_error_callback": last,
    }
