"""Bearer tokens: shown once, stored as a hash."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection

from sqlalchemy import exists, insert, select, update

from orchestrator.errors import NotFound
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.identity import new_id
from orchestrator.store.records import Token, read_row, row_of

_K = schema.tokens.c


class Tokens:
    """Bearer tokens by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Collection[str]) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: of its owner; sweeps record it as ``submitted_by``.
            scopes: what it allows.

        Returns:
            The token, and its secret, which cannot be read again.
        """
        secret = f"etalon_{secrets.token_urlsafe(32)}"
        with self._database.write() as connection:
            token = Token(
                id=new_id(),
                name=name,
                scopes=frozenset(scopes),
                created_at=clock(connection),
                revoked_at=None,
            )
            connection.execute(insert(schema.tokens), row_of(token) | {"sha256": _digest(secret)})
        return token, secret

    def authenticate(self, secret: str) -> Token | None:
        """The token of ``secret``; None if it is unknown or revoked.

        It is looked up by its hash, so the time taken does not depend on how close a guess is.
        """
        query = select(schema.tokens).where(_K.sha256 == _digest(secret), _K.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else read_row(Token, row)

    def list(self) -> list[Token]:
        """All tokens, oldest first, revoked ones included."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.tokens).order_by(_K.id)).mappings()
            return [read_row(Token, row) for row in rows]

    def revoke(self, token_id: str) -> None:
        """Revoke a token; revoking it again changes nothing.

        Raises:
            NotFound: no such token.
        """
        with self._database.write() as connection:
            if connection.execute(select(_K.id).where(_K.id == token_id)).one_or_none() is None:
                raise NotFound(f"There is no token {token_id!r}.")
            live = update(schema.tokens).where(_K.id == token_id, _K.revoked_at.is_(None))
            connection.execute(live.values(revoked_at=clock(connection)))

    def any(self) -> bool:
        """Whether a token was ever made. Revoked ones count: revoking the last one must not open the service."""
        with self._database.read() as connection:
            return bool(connection.execute(select(exists(select(_K.id)))).scalar_one())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
