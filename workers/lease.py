"""Keeps a lease alive while its holder works, and says when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from orchestrator.errors import Conflict, Unavailable
from orchestrator.store import Store
from orchestrator.store.records import Lease

log = logging.getLogger(__name__)

RENEWALS = 3
"""Renewals in the time for which a lease lasts."""


class KeptLease:
    """A lease renewed by a thread of its own, because its holder may be busy for longer than it lasts."""

    def __init__(self, store: Store, lease: Lease, seconds: float) -> None:
        """Keep a lease that was just acquired.

        Args:
            store: where it is renewed.
            lease: the lease.
            seconds: how long it lasts.
        """
        self._store, self._lease, self._seconds = store, lease, seconds
        self._good_until = time.monotonic() + seconds
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {lease.name}", daemon=True)

    @classmethod
    def acquire(cls, store: Store, name: str, holder: str, seconds: float) -> Self:
        """Acquire a lease, waiting for a holder that has died to expire.

        Raises:
            Conflict: another holder keeps renewing it.
        """
        deadline = time.monotonic() + 2 * seconds
        while (lease := store.leases.acquire(name, holder, seconds)) is None:
            if time.monotonic() > deadline:
                raise Conflict(f"Another process holds the lease {name!r} and is alive.")
            time.sleep(seconds / 20)
        return cls(store, lease, seconds)

    @property
    def fence(self) -> int:
        """What guards this holder's writes."""
        return self._lease.fence

    @property
    def lost(self) -> bool:
        """Whether another may hold the lease by now."""
        return self._lost.is_set() or time.monotonic() > self._good_until

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if not self._lost.is_set():
            self._store.leases.release(self._lease)

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / RENEWALS):
            asked = time.monotonic()
            try:
                renewed = self._store.leases.renew(self._lease, self._seconds)
            except Unavailable as error:
                log.warning("the lease %s could not be renewed: %s", self._lease.name, error)
                continue
            if renewed is None:
                log.error("the lease %s was taken by another", self._lease.name)
                self._lost.set()
                return
            self._good_until = asked + self._seconds
