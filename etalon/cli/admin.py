"""``etalon token …`` and ``etalon db …``: the commands of the operator, which open the database themselves."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from etalon.cli.options import AsJson
from etalon.cli.outcome import err, out, print_json, reports_errors
from orchestrator.errors import BadInput
from orchestrator.private import close_home
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.store import Store

SCOPES: Final = ("read", "submit", "admin")

tokens = typer.Typer(no_args_is_help=True, help="Access tokens of the service.")
database = typer.Typer(no_args_is_help=True, help="The database.")


LOCKED_FROM_NOW: Final = (
    "It is the first token here: from now on every request to this service needs one, also from this machine. "
    "The command line reads it from ETALON_TOKEN (export ETALON_TOKEN=…), programs send the header "
    "`Authorization: Bearer …`, and the dashboard asks for it. Revoking it does not open the service again."
)


def open_store(settings: Settings) -> Store:
    """Close the home to other users and open its database, brought to the newest schema; use it as a context.

    Raises:
        BadInput: the folder of an SQLite file cannot be written.
        Unavailable: it cannot be reached.
    """
    from orchestrator.store import Store

    close_home(settings)
    store = Store.open(settings.database_url)
    store.migrate()
    return store


@tokens.command("create")
@reports_errors
def create_token(
    name: Annotated[
        str, typer.Argument(help="Name of the token, such as its owner's.", default_factory=getpass.getuser)
    ],
    scope: Annotated[
        str, typer.Option(help="read; submit, which includes read; admin, which includes both.")
    ] = "submit",
    as_json: AsJson = False,
) -> None:
    """Create a token and show it this once: the database keeps only its hash."""
    if scope not in SCOPES:
        raise BadInput(f"--scope {scope}: must be one of {', '.join(SCOPES)}.")
    with open_store(Settings()) as store:
        first = not store.tokens.any()
        token, secret = store.tokens.create(name, frozenset(SCOPES[: SCOPES.index(scope) + 1]))
    if as_json:
        print_json({"id": token.id, "name": token.name, "scopes": sorted(token.scopes), "token": secret})
    else:
        out.print(secret, soft_wrap=True, markup=False)
        err.print("Keep it: it is not shown again. Clients read it from ETALON_TOKEN.")
    if first:
        err.print(LOCKED_FROM_NOW, soft_wrap=True, markup=False)


@tokens.command("list")
@reports_errors
def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens: names, scopes, and whether they are revoked."""
    with open_store(Settings()) as store:
        known = store.tokens.list()
    if as_json:
        print_json(
            [
                {
                    "id": token.id,
                    "name": token.name,
                    "scopes": sorted(token.scopes),
                    "created_at": token.created_at.isoformat(),
                    "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
                }
                for token in known
            ]
        )
        return
    table = Table("id", "name", "scopes", "state", box=None)
    for token in known:
        state = "revoked" if token.revoked_at else "valid"
        table.add_row(token.id, escape(token.name), ", ".join(sorted(token.scopes)), state)
    out.print(table if known else "No tokens: the service serves this machine only.")


@tokens.command("revoke")
@reports_errors
def revoke_token(token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id.")]) -> None:
    """Revoke a token at once."""
    with open_store(Settings()) as store:
        store.tokens.revoke(token_id)
    out.print(f"{token_id} is revoked.", markup=False)


@database.command("upgrade")
@reports_errors
def upgrade() -> None:
    """Bring the database to the newest schema."""
    with open_store(Settings()):
        out.print("The database is at the newest schema.")
