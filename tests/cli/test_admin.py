"""Tokens and the database from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETALON_HOME", str(tmp_path))
    return tmp_path


def etalon(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


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


def test_upgrading_twice_does_no_harm(home: Path) -> None:
    assert etalon("db", "upgrade")[0] == 0
    assert etalon("db", "upgrade")[0] == 0
    assert (home / "etalon.db").is_file()
