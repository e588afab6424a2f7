"""A lease that a thread renews while its holder works."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Self

from orchestrator.errors import Unavailable
from orchestrator.store import Store
from orchestrator.store.identity import new_id
from orchestrator.store.records import Lease

log = logging.getLogger(__name__)

RENEWALS = 3
"""Renewals per duration of the lease: two may fail before it expires."""


def holder_name() -> str:
    """A unique name of this process: host, process id and a random part."""
    return f"{socket.gethostname()}/{os.getpid()}/{new_id()[-8:]}"


def is_held_by(lease: Lease, pid: int) -> bool:
    """Whether a process holds a lease under its ``holder_name``.

    The host is not compared: a machine's name changes with its network, and a process id that is the same on two
    machines only delays what depends on this.
    """
    return lease.holder.split("/")[-2:-1] == [str(pid)]


class RenewedLease:
    """A lease that a thread renews, because its holder may be busy for longer than it lasts; use it as a context.

    Leaving the context gives it back. Fences guard every write, so a holder that notices a loss late does no harm.
    """

    def __init__(self, store: Store, lease: Lease, seconds: float) -> None:
        """Renew a lease that was just acquired for ``seconds``."""
        self._store, self._lease, self._seconds = store, lease, seconds
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {lease.name}", daemon=True)

    @classmethod
    def try_acquire(cls, store: Store, name: str, holder: str, seconds: float) -> Self | None:
        """Try once to acquire a lease; None while another process holds it."""
        lease = store.leases.acquire(name, holder, seconds)
        return None if lease is None else cls(store, lease, seconds)

    @property
    def fence(self) -> int:
        """The lease's fence, which guards the holder's writes."""
        return self._lease.fence

    @property
    def lost(self) -> bool:
        """Whether another process has taken it."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._store.leases.release(self._lease)
        except Unavailable as error:
            log.warning("a lease could not be given back and will expire", extra={"detail": error.detail})

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / RENEWALS):
            try:
                renewed = self._store.leases.renew(self._lease, self._seconds)
            except Unavailable as error:
                log.warning("a lease could not be renewed", extra={"detail": error.detail})
                continue
            if renewed is None:
                self._lost.set()
                return
