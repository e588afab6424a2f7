"""Tokens and the database from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etalon.cli.commands import app
from tests.etalon.cli.running import etalon, plain


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETALON_HOME", str(tmp_path))
    return tmp_path


def test_a_token_is_shown_once_listed_and_revoked() -> None:
    code, text = etalon("token", "create", "ann", "--scope", "read", "--json")
    assert code == 0
    made = json.loads(text)
    assert made["scopes"] == ["read"]

    _, text = etalon("token", "list", "--json")
    (listed,) = json.loads(text)
    assert (listed["name"], listed["revoked_at"]) == ("ann", None)
    assert made["token"] not in text

    assert etalon("token", "revoke", made["id"])[0] == 0
    assert json.loads(etalon("token", "list", "--json")[1])[0]["revoked_at"] is not None


def test_wider_scopes_hold_the_narrower_ones() -> None:
    code, text = etalon("token", "create", "--scope", "admin", "--json")

    assert code == 0
    assert json.loads(text)["scopes"] == ["admin", "read", "submit"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "ann", "--scope", "root"), "one of read, submit, admin"),
        (("revoke", "nobody"), "no token"),
    ],
)
def test_wrong_requests_are_refused(arguments: tuple[str, ...], says: str) -> None:
    code, text = etalon("token", *arguments)

    assert code == 2
    assert says in " ".join(text.split())


def test_only_the_first_token_says_that_the_service_is_locked_from_now_on() -> None:
    first, second = (plain(etalon("token", "create", name)[1]) for name in ("ann", "bob"))

    assert "from now on every request to this service needs one" in first
    assert "ETALON_TOKEN" in first
    assert "Authorization: Bearer" in first
    assert "from now on" not in second
    assert "ETALON_TOKEN" in second


def test_a_program_gets_the_token_alone_and_people_the_notice_beside_it() -> None:
    result = CliRunner().invoke(app, ["token", "create", "ann", "--json"])

    assert json.loads(result.stdout)["name"] == "ann"
    assert "from now on every request" in plain(result.stderr)


@pytest.mark.parametrize(
    "command", [("token", "list"), ("db", "upgrade"), ("serve", "--port", "1"), ("demo",)]
)
def test_a_home_that_cannot_be_written_is_reported_plainly(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ETALON_HOME", str(tmp_path / "file" / "home"))
    keep = ("--keep", str(tmp_path / "file" / "home")) if command == ("demo",) else ()

    code, text = etalon(*command, *keep)

    assert code == 2
    assert "cannot be written: Not a directory" in plain(text)
    assert "ETALON_HOME" in text


def test_upgrading_twice_does_no_harm(home: Path) -> None:
    assert etalon("db", "upgrade")[0] == 0
    assert etalon("db", "upgrade")[0] == 0
    assert (home / "etalon.db").is_file()


@pytest.mark.usefixtures("url_of_another_version")
@pytest.mark.parametrize("command", [("db", "upgrade"), ("serve",), ("token", "list")])
def test_a_database_of_another_version_is_refused_with_what_to_do(command: tuple[str, ...]) -> None:
    code, text = etalon(*command)

    assert code == 2
    assert "revision '0002'" in plain(text)
    assert "set ETALON_HOME" in plain(text)
