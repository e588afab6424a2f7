"""The address of a service, and what its answers and failures mean to a client."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from pydantic import ValidationError

from etalon.arguments import require_ascii
from etalon.operations import TIMEOUT_SECONDS, Answer, Call
from orchestrator.documents.document import first_fault
from orchestrator.documents.problems import ProblemDocument, error_class
from orchestrator.errors import BadInput, Conflict, EtalonError, FieldProblem, NotFound, Unavailable
from orchestrator.settings import Settings, check_environment

ERRORS: Final[Mapping[int, type[EtalonError]]] = {
    400: BadInput,
    404: NotFound,
    409: Conflict,
    413: BadInput,
    415: BadInput,
    422: BadInput,
}
"""The error of a status whose problem details have no type, or another than this version of Etalon knows."""


class ServiceError(EtalonError):
    """The service refused for a reason that is neither bad input nor too little data."""

    title = "The service refused"


class UnreadableAnswer(EtalonError):
    """The service runs a version of Etalon whose documents this one cannot read."""

    title = "The answer of the service cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """A service to talk to.

    Attributes:
        url: ``http://host:port``.
        token: a bearer token; None or empty for none.
    """

    url: str
    token: str | None

    @classmethod
    def of(cls, url: str | None, token: str | None) -> ServiceAddress:
        """A service by its address and token; what is None comes from ETALON_URL and ETALON_TOKEN.

        Raises:
            BadInput: the environment, the address or the token is not valid.
        """
        check_environment()
        settings = Settings()
        token = settings.token if token is None else token
        require_ascii("The token (ETALON_TOKEN)", token or "")
        return cls(url=(settings.url if url is None else url).rstrip("/"), token=token)

    def options(self) -> dict[str, Any]:
        """The arguments of `httpx2.Client`; a proxy of the environment is not asked for this machine's own addresses.

        Raises:
            BadInput: the address is no URL.
        """
        try:
            host = httpx2.URL(self.url).host
        except httpx2.InvalidURL as error:
            raise BadInput(f"{self.url!r} is not the URL of a service: {error}.") from error
        if not host or not self.url.startswith(("http://", "https://")):
            raise BadInput(f"{self.url!r} is not the URL of a service; write it as http://host:port.")
        return {
            "base_url": self.url,
            "headers": {"Authorization": f"Bearer {self.token}"} if self.token else {},
            "trust_env": not is_loopback(host),
        }

    def answer(self, call: Call[Answer], response: httpx2.Response) -> Answer:
        """The answer of a response.

        Raises:
            EtalonError: as the service refused.
            UnreadableAnswer: the answer is no document that this version of Etalon reads.
        """
        if not response.is_success:
            raise refusal(response)
        try:
            return call.read(response)
        except ValidationError as error:
            raise UnreadableAnswer(
                f"The service at {self.url} answered with another {error.title} than this version of Etalon reads "
                f"({first_fault(error)}). Use the version of Etalon that the service runs."
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            raise self.unreadable() from error

    def unreadable(self) -> UnreadableAnswer:
        """The error of an answer that no version of Etalon gives."""
        return UnreadableAnswer(f"What answers at {self.url} is not an Etalon service.")

    def failure(self, error: httpx2.RequestError) -> EtalonError:
        """The error of a service that cannot be reached, or whose answer cannot be decoded."""
        if not isinstance(error, httpx2.TransportError):
            return self.unreadable()
        if isinstance(error, httpx2.TimeoutException):
            return Unavailable(f"The service at {self.url} did not answer within {TIMEOUT_SECONDS:.0f} s.")
        return Unavailable(
            f"No Etalon service answers at {self.url} ({error}). "
            "Start one with `etalon serve`, or set ETALON_URL to where it runs."
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(response: httpx2.Response) -> EtalonError:
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
