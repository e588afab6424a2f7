"""Settings, and what child processes in another folder read of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.processes import service_folder
from orchestrator.settings import Settings


def child_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """The settings of a child process that starts in another folder."""
    for name, value in settings.child_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return Settings()


def test_relative_settings_mean_the_same_in_a_child_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETALON_HOME", "state")
    monkeypatch.setenv("ETALON_DATABASE_URL", "sqlite:///runs.db")
    monkeypatch.setenv("ETALON_CHECKPOINTS", "trunks")
    monkeypatch.setenv("ETALON_CORPORA", json.dumps({"novels": "novels.txt"}))
    monkeypatch.setenv("ETALON_CORPORA_FOLDER", "prepared")

    settings = Settings()
    found = child_settings(settings, monkeypatch, tmp_path / "elsewhere")

    assert found == settings
    assert found.home == tmp_path / "state"
    assert found.database_url == f"sqlite:///{tmp_path / 'runs.db'}"
    assert found.checkpoints == tmp_path / "trunks"
    assert found.corpora["novels"].path == tmp_path / "novels.txt"
    assert found.corpora_folder == tmp_path / "prepared"


@pytest.mark.parametrize("url", ["postgresql://me@host/name", "sqlite://", "sqlite:///:memory:"])
def test_a_database_without_a_file_keeps_its_url(url: str) -> None:
    assert Settings(database_url=url).database_url == url


@pytest.mark.parametrize("url", ["sqlite+pysqlite:///runs.db", "sqlite:runs.db"])
def test_another_spelling_of_sqlite_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="is written sqlite:///FILE"):
        Settings(database_url=url)


def test_a_child_process_asks_no_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org,localhost")
    monkeypatch.delenv("no_proxy", raising=False)

    environment = Settings().child_environment()

    assert environment["NO_PROXY"] == "127.0.0.1,localhost,::1,example.org"
    assert environment["no_proxy"] == "127.0.0.1,localhost,::1"


@pytest.mark.parametrize("users", ["/somewhere", f"/somewhere{os.pathsep}{service_folder()}"])
def test_a_child_process_finds_the_service_before_a_users_packages(
    monkeypatch: pytest.MonkeyPatch, users: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", users)

    first, *others = Settings().child_environment()["PYTHONPATH"].split(os.pathsep)

    assert (Path(first) / "workers" / "__main__.py").is_file()
    assert others == ["/somewhere"]
