"""What the handles of both clients say of a sweep without asking the service."""

from __future__ import annotations

import time

from orchestrator.documents.sweeps import SweepDocument
from orchestrator.states import SweepState


class SweepFacts:
    """A sweep as it was when it was last asked for.

    Attributes:
        document: all of it.
    """

    def __init__(self, address: str, document: SweepDocument) -> None:
        self._address = address
        self.document = document

    def __repr__(self) -> str:
        return f"<Sweep {self.name!r} {self.state} {self.id}>"

    @property
    def id(self) -> str:
        """Its id."""
        return self.document.id

    @property
    def name(self) -> str:
        """Its name."""
        return self.document.name

    @property
    def state(self) -> SweepState:
        """Its state when it was last asked for."""
        return self.document.state

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{self._address}/sweeps/{self.id}"

    def _check_time(self, deadline: float, timeout: float | None, pause: float) -> None:
        """Refuse a pause that ends after a deadline, by `time.monotonic`.

        Raises:
            TimeoutError: it does.
        """
        if time.monotonic() + pause > deadline:
            raise TimeoutError(f"Sweep {self.id} is {self.state} after {timeout:g} s.")
