"""A client of the REST API: what the command line and the demo use, and a script of yours may."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from orchestrator.errors import (
    BadInput,
    Conflict,
    EtalonError,
    FieldProblem,
    NotFound,
    Unavailable,
    Unsupported,
)

FINAL_STATES = frozenset({"stopped", "completed", "cancelled", "failed"})
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 4


class ServiceError(EtalonError):
    """The service refused for a reason that is neither bad input nor too little data."""

    title = "The service refused"


class Client:
    """Talks to one Etalon service.

    Args:
        url: where the service listens, ``http://host:port``.
        token: a bearer token; None where the service needs none.
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
        """Whether database, leader and Ray are all there."""
        try:
            return self._http.get("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def submit(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Submit a sweep, once: if an answer is lost on the way, asking again gives the same sweep."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return self._ask("POST", "/v1/sweeps", json=fields, headers=headers)

    def plan(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What a sweep would do and cost, without submitting it."""
        return self._ask("POST", "/v1/sweeps", json=fields, params={"validate_only": "true"})

    def upload_table(self, path: Path) -> dict[str, Any]:
        """Upload a run table: ``{id, rows, cells}``."""
        headers = {"Content-Type": "text/csv"}
        return self._ask("POST", "/v1/tables", content=path.read_bytes(), headers=headers)

    def sweep(self, sweep_id: str) -> dict[str, Any]:
        """One sweep with its progress, cost, law and prediction."""
        return self._ask("GET", f"/v1/sweeps/{sweep_id}")

    def sweeps(self, *, state: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """The newest sweeps, newest first."""
        params = {"limit": str(limit)} | ({"state": state} if state else {})
        return list(self._ask("GET", "/v1/sweeps", params=params)["items"])

    def runs(self, sweep_id: str) -> Iterator[dict[str, Any]]:
        """Every run of a sweep, page by page."""
        cursor: str | None = None
        while True:
            params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = self._ask("GET", f"/v1/sweeps/{sweep_id}/runs", params=params)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def comparison(self, sweep_id: str) -> dict[str, Any]:
        """Both paradigms at the held-out scale of a sweep that compares them."""
        return self._ask("GET", f"/v1/sweeps/{sweep_id}/comparison")

    def command(self, sweep_id: str, verb: str) -> dict[str, Any]:
        """Pause, resume, stop or cancel a sweep."""
        return self._ask("POST", f"/v1/sweeps/{sweep_id}/{verb}")

    def predict(
        self,
        sweep_id: str,
        *,
        params: float,
        tokens: float,
        batch_tokens: float | None = None,
        budget_flops: float | None = None,
    ) -> dict[str, Any]:
        """The predicted learning rate at a target.

        Raises:
            Unsupported: the data cannot tell; the message says why.
        """
        query = {"params": repr(params), "tokens": repr(tokens)}
        if batch_tokens is not None:
            query["batch_tokens"] = repr(batch_tokens)
        if budget_flops is not None:
            query["budget_flops"] = repr(budget_flops)
        return self._ask("GET", f"/v1/sweeps/{sweep_id}/prediction", params=query)

    def follow(self, sweep_id: str, *, every_seconds: float = 0.5) -> Iterator[dict[str, Any]]:
        """The sweep again and again until it is final; the last one is the final one."""
        while True:
            sweep = self.sweep(sweep_id)
            yield sweep
            if sweep["state"] in FINAL_STATES:
                return
            time.sleep(every_seconds)

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Ask once, or again after a broken connection where asking twice does no harm."""
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
            answer: dict[str, Any] = response.json()
            return answer
        raise _refusal(response, asked_prediction=path.endswith("/prediction"))


def _refusal(response: httpx2.Response, *, asked_prediction: bool) -> EtalonError:
    """The service's refusal as the error that it is here."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    detail = problem.get("detail") or f"The service answered {response.status_code} {response.reason_phrase}."
    fields = tuple(
        FieldProblem(path=str(item.get("path", "")), message=str(item.get("message", "")))
        for item in problem.get("errors", [])
    )
    error = _kind(response.status_code, asked_prediction=asked_prediction)(detail, fields=fields)
    error.problem = problem or None
    return error


def _kind(status: int, *, asked_prediction: bool) -> type[EtalonError]:
    if status == httpx2.codes.CONFLICT:
        return Unsupported if asked_prediction else Conflict
    if status == httpx2.codes.NOT_FOUND:
        return NotFound
    if status in {400, 413, 415, 422}:
        return BadInput
    return ServiceError
