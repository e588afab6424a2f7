"""The client of the REST API, for the command line and for scripts: each answer is a document."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx2
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.document import Document
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.documents.previews import PreviewDocument
from orchestrator.documents.problems import ProblemDocument, error_class
from orchestrator.documents.runs import RunDocument
from orchestrator.documents.sweeps import SweepDocument, SweepSummary
from orchestrator.documents.tables import TableDocument
from orchestrator.errors import (
    BadInput,
    Conflict,
    EtalonError,
    FieldProblem,
    NotFound,
    Unavailable,
)
from orchestrator.states import SWEEP_LIVE

TIMEOUT_SECONDS: Final = 60.0
ATTEMPTS: Final = 4
PAGE_RUNS: Final = 200

Answer = TypeVar("Answer", bound=Document)


class ServiceError(EtalonError):
    """The service refused for a reason that is neither bad input nor too little data."""

    title = "The service refused"


ERRORS: Final[Mapping[int, type[EtalonError]]] = {
    400: BadInput,
    404: NotFound,
    409: Conflict,
    413: BadInput,
    415: BadInput,
    422: BadInput,
}
"""The error of a status whose problem details have no type, or another than this version of Etalon knows."""


class UnreadableAnswer(EtalonError):
    """The service runs a version of Etalon whose documents this one cannot read."""

    title = "The answer of the service cannot be read"


class Client:
    """Talks to one Etalon service.

    Args:
        url: address of the service, ``http://host:port``.
        token: a bearer token; None if the service needs none.

    Every method that asks the service raises an ``EtalonError``: ``BadInput``, ``NotFound``, ``Conflict`` or
    ``ServiceError`` as the service answered, ``Unavailable`` if it cannot be reached.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS)
        self.url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ready(self) -> bool:
        """Whether the database, a leading orchestrator and Ray can be reached."""
        try:
            return self._http.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def submit(self, fields: dict[str, Any]) -> SweepDocument:
        """Submit a sweep once: a request whose answer is lost is repeated under the same key.

        Args:
            fields: the specification as it is written.
        """
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._read(SweepDocument, "POST", "/v1/sweeps", json=fields, headers=headers)

    def plan(self, fields: dict[str, Any]) -> PreviewDocument:
        """The cells and costs of a sweep that is not submitted."""
        params = {"validate_only": "true"}
        return self._read(PreviewDocument, "POST", "/v1/sweeps", json=fields, params=params)

    def upload_table(self, path: Path) -> TableDocument:
        """Upload a run table; the service recognises its format by its content."""
        return self._read(TableDocument, "POST", "/v1/tables", content=path.read_bytes())

    def sweep(self, sweep_id: str) -> SweepDocument:
        """One sweep with its progress, cost, law and prediction."""
        return self._read(SweepDocument, "GET", f"/v1/sweeps/{sweep_id}")

    def sweeps(self, *, state: str | None = None, limit: int = 20) -> list[SweepSummary]:
        """The newest sweeps, newest first."""
        params = {"limit": str(limit)} | ({"state": state} if state else {})
        items, _ = self._page(SweepSummary, "/v1/sweeps", params)
        return items

    def runs(self, sweep_id: str) -> Iterator[RunDocument]:
        """Every run of a sweep, page by page."""
        params = {"limit": str(PAGE_RUNS)}
        while True:
            items, cursor = self._page(RunDocument, f"/v1/sweeps/{sweep_id}/runs", params)
            yield from items
            if cursor is None:
                return
            params["cursor"] = cursor

    def comparison(self, sweep_id: str) -> ComparisonDocument:
        """Fitting against Transfer at the held-out scale of a sweep that compares them."""
        return self._read(ComparisonDocument, "GET", f"/v1/sweeps/{sweep_id}/comparison")

    def command(self, sweep_id: str, verb: str) -> SweepDocument:
        """Pause, resume, stop or cancel a sweep."""
        return self._read(SweepDocument, "POST", f"/v1/sweeps/{sweep_id}/{verb}")

    def predict(
        self,
        sweep_id: str,
        *,
        params: float,
        tokens: float,
        batch_tokens: float | None = None,
        budget_flops: float | None = None,
    ) -> PredictionDocument:
        """The predicted learning rate at a target.

        Args:
            sweep_id: the sweep whose newest law predicts.
            params: N of the target.
            tokens: D of the target.
            batch_tokens: B of the target; None takes the sweep's own.
            budget_flops: FLOPs that may be spent on confirming the prediction.

        Raises:
            Refused: the data cannot support a prediction there; the message has the reason.
        """
        asked = {
            "params": params,
            "tokens": tokens,
            "batch_tokens": batch_tokens,
            "budget_flops": budget_flops,
        }
        query = {name: repr(value) for name, value in asked.items() if value is not None}
        path = f"/v1/sweeps/{sweep_id}/prediction"
        return self._read(PredictionDocument, "GET", path, params=query)

    def follow(self, sweep_id: str, *, every_seconds: float = 0.5) -> Iterator[SweepDocument]:
        """The sweep again and again until its state is final; the last one is the final one."""
        while True:
            sweep = self.sweep(sweep_id)
            yield sweep
            if sweep.state not in SWEEP_LIVE:
                return
            time.sleep(every_seconds)

    def _page(self, kind: type[Answer], path: str, params: dict[str, str]) -> tuple[list[Answer], str | None]:
        """The items of one page of a list, and the cursor of the next page."""
        sent = self._ask("GET", path, params=params)
        return [self._document(kind, item) for item in sent["items"]], sent["next_cursor"]

    def _read(self, kind: type[Answer], method: str, path: str, **request: Any) -> Answer:
        return self._document(kind, self._ask(method, path, **request))

    def _document(self, kind: type[Answer], sent: Any) -> Answer:
        try:
            return kind.read(sent)
        except ValidationError as error:
            (first, *_) = error.errors(include_url=False)
            where = ".".join(str(part) for part in first["loc"])
            raise UnreadableAnswer(
                f"The service at {self.url} answered with another {kind.__name__} than this version of Etalon reads "
                f"({where}: {first['msg']}). Use the version of Etalon that the service runs."
            ) from error

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """Send a request, and again after a broken connection if repeating it is harmless."""
        harmless = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        attempts = Retrying(
            retry=retry_if_exception_type(httpx2.TransportError),
            stop=stop_after_attempt(ATTEMPTS if harmless else 1),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            reraise=True,
        )
        try:
            response = attempts(self._http.request, method, path, **request)
        except httpx2.TimeoutException as error:
            raise Unavailable(
                f"The service at {self.url} did not answer within {TIMEOUT_SECONDS:.0f} s."
            ) from error
        except httpx2.TransportError as error:
            raise Unavailable(
                f"No Etalon service answers at {self.url} ({error}). "
                "Start one with `etalon serve`, or set ETALON_URL to where it runs."
            ) from error
        if response.is_success:
            return response.json()
        raise _refusal(response)


def _refusal(response: httpx2.Response) -> EtalonError:
    """The service's problem details as the error of their type, or of the status if the type is none of Etalon's."""
    of_status = ERRORS.get(response.status_code, ServiceError)
    try:
        problem = ProblemDocument.read(response.json())
    except ValueError:  # from a proxy on the way, say
        return of_status(f"The service answered {response.status_code} {response.reason_phrase}.")
    fields = tuple(FieldProblem(path=field.path, message=field.message) for field in problem.errors)
    error = error_class(problem.type, of_status)(problem.detail, fields=fields)
    error.problem = problem.to_json()
    return error
