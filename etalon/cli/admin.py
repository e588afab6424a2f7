"""``etalon token …`` and ``etalon db …``: what the operator does beside the running service."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from etalon.cli.outcome import err, out, print_json, tells_errors
from orchestrator.errors import BadInput
from orchestrator.private import close_home
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.records import Token

SCOPES = ("read", "submit", "admin")

tokens = typer.Typer(no_args_is_help=True, help="Tokens that let people in.")
database = typer.Typer(no_args_is_help=True, help="The database.")


LOCKED_FROM_NOW = (
    "It is the first token here: from now on every request to this service needs one, also from this machine. "
    "The command line reads it from ETALON_TOKEN (export ETALON_TOKEN=…), programs send the header "
    "`Authorization: Bearer …`, and the dashboard asks for it. Revoking it does not open the service again."
)


def open_store(settings: Settings) -> Store:
    """Close the home to other users and open its database, brought to the newest schema.

    Raises:
        BadInput: the folder of an SQLite file cannot be written.
        Unavailable: it cannot be reached.
    """
    close_home(settings)
    store = Store.open(settings.database_url)
    store.migrate()
    return store


@tokens.command("create")
@tells_errors
def create_token(
    name: Annotated[
        str, typer.Argument(help="Whose token it is, for the record.", default_factory=getpass.getuser)
    ],
    scope: Annotated[
        str, typer.Option(help="read (look), submit (and steer sweeps), admin (and manage).")
    ] = "submit",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create a token and show it once: only its hash is kept."""
    if scope not in SCOPES:
        raise BadInput(f"--scope {scope}: must be one of {', '.join(SCOPES)}.")
    store = open_store(Settings())
    try:
        first = not store.tokens.any()
        token, secret = store.tokens.create(name, frozenset(SCOPES[: SCOPES.index(scope) + 1]))
    finally:
        store.close()
    if as_json:
        print_json({"id": token.id, "name": token.name, "scopes": sorted(token.scopes), "token": secret})
    else:
        out.print(secret, soft_wrap=True, markup=False)
        err.print("Keep it: it is not shown again. Clients read it from ETALON_TOKEN.")
    if first:
        err.print(LOCKED_FROM_NOW, soft_wrap=True, markup=False)


@tokens.command("list")
@tells_errors
def list_tokens(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the tokens: whose, what they allow, whether they are revoked."""
    store = open_store(Settings())
    try:
        known = store.tokens.list()
    finally:
        store.close()
    if as_json:
        print_json([_token_document(token) for token in known])
        return
    table = Table("id", "name", "scopes", "state", box=None)
    for token in known:
        state = "revoked" if token.revoked_at else "valid"
        table.add_row(token.id, escape(token.name), ", ".join(sorted(token.scopes)), state)
    out.print(table if known else "No tokens: the service serves this machine only.")


@tokens.command("revoke")
@tells_errors
def revoke_token(token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")]) -> None:
    """Revoke a token at once."""
    store = open_store(Settings())
    try:
        store.tokens.revoke(token_id)
    finally:
        store.close()
    out.print(f"{token_id} is revoked.", markup=False)


def _token_document(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": token.created_at.isoformat(),
        "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
    }


@database.command("upgrade")
@tells_errors
def upgrade() -> None:
    """Bring the database to the newest schema."""
    settings = Settings()
    open_store(settings).close()
    out.print("The database is at the newest schema.")
