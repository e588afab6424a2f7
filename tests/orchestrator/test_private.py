"""Etalon's files belong to its user alone, whatever the umask and whatever an earlier version left open."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import private
from orchestrator.errors import BadInput
from orchestrator.private import close_folder, close_home, make_empty_folder, make_folder
from orchestrator.settings import Settings
from orchestrator.store import Store


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Every file is open to all unless its maker closes it."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The modes of a folder and of everything in it, links left out, by relative path."""
    places = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in places}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def open_home(home: Path) -> None:
    """A home as earlier versions made it, under no umask."""
    for folder in ("logs", "checkpoints/sweep/trunks", "corpora/c4"):
        (home / folder).mkdir(parents=True)
    for file in ("etalon.db", "etalon.db-wal", "etalon.db-shm", "logs/api.log", "corpora/c4/tokens.bin"):
        (home / file).touch()
    (home / "checkpoints/sweep/trunks/1.trunk").touch()


def test_a_folder_and_its_missing_parents_are_made_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert modes(tmp_path / "a") == {".": 0o700, "b": 0o700}


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(0o775)
    make_folder(tmp_path / "shared" / "own")
    assert modes(tmp_path / "shared") == {".": 0o775, "own": 0o700}


def test_an_empty_folder_is_made_and_found_again(settings: Settings) -> None:
    make_empty_folder(settings.empty_folder)
    make_empty_folder(settings.empty_folder)
    assert modes(settings.empty_folder) == {".": 0o700}


@pytest.mark.parametrize(("mode", "content"), [(0o700, "api.py"), (0o755, None), (0o770, None)])
def test_an_empty_folder_that_others_can_enter_or_that_holds_something_is_refused(
    settings: Settings, mode: int, content: str | None
) -> None:
    settings.empty_folder.mkdir(mode, parents=True)
    if content is not None:
        (settings.empty_folder / content).touch()
    with pytest.raises(BadInput, match=rf"{settings.empty_folder}.*then remove the folder"):
        make_empty_folder(settings.empty_folder)


def test_a_link_or_another_users_folder_does_not_count_as_empty(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    settings.home.mkdir()
    settings.empty_folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="yours alone"):
        make_empty_folder(settings.empty_folder)
    monkeypatch.setattr(private.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(BadInput, match="yours alone"):
        make_empty_folder(tmp_path / "elsewhere")


def test_a_database_and_its_log_are_private(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'new' / 'etalon.db'}") as store:
        store.migrate()
        assert modes(tmp_path / "new") == {
            ".": 0o700,
            "etalon.db": 0o600,
            "etalon.db-wal": 0o600,
            "etalon.db-shm": 0o600,
        }


def test_an_open_database_outside_the_home_is_closed(tmp_path: Path) -> None:
    (tmp_path / "etalon.db").touch()
    Store.open(f"sqlite:///{tmp_path / 'etalon.db'}").close()
    assert modes(tmp_path)["etalon.db"] == 0o600


def test_an_open_home_is_closed_and_named_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    open_home(settings.home)
    close_home(settings)
    places = [settings.home, *settings.home.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in places if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in places if path.is_file()} == {0o600}
    close_home(settings)
    (said,) = caplog.messages
    assert str(settings.home) in said
    assert "closed now" in said


def test_of_a_home_that_holds_other_things_only_etalons_own_are_closed_one_by_one(settings: Settings) -> None:
    open_home(settings.home)
    (settings.home / "thesis.tex").touch()
    close_home(settings)
    assert modes(settings.home)["thesis.tex"] == 0o666
    assert modes(settings.home)["."] == 0o700


def test_a_closed_home_with_an_open_log_folder_is_closed_further(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    open_home(settings.home)
    settings.home.chmod(0o700)
    close_home(settings)
    assert modes(settings.home)["logs/api.log"] == 0o600
    (said,) = caplog.messages
    assert f"{settings.home}/logs" in said
    assert f"{settings.home}," not in said


def test_a_home_that_all_users_share_stays_as_it_is_with_a_warning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.home.mkdir()
    settings.home.chmod(0o1777)
    close_home(settings)
    assert modes(settings.home) == {".": 0o1777}
    assert "not Etalon's to close" in caplog.text


def test_a_home_of_another_user_stays_as_it_is(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.home.mkdir(0o755)
    monkeypatch.setattr(private.os, "geteuid", lambda: os.getuid() + 1)
    close_home(settings)
    assert modes(settings.home) == {".": 0o755}
    assert "ETALON_HOME" in caplog.text


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o755)
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "own").mkdir(0o777)
    (tmp_path / "own" / "link").symlink_to(tmp_path / "elsewhere" / "file")
    (tmp_path / "own" / "folder").symlink_to(tmp_path / "elsewhere")
    close_folder(tmp_path / "own")
    close_folder(tmp_path / "own" / "folder")
    assert modes(tmp_path / "elsewhere") == {".": 0o755, "file": 0o666}


def test_a_home_that_is_not_there_is_not_made(settings: Settings) -> None:
    close_home(settings)
    assert not settings.home.exists()


ETALON = "from etalon.cli.main import main; main()"
WRITERS = {
    "a command": ["-c", ETALON, "db", "upgrade"],
    "a first token": ["-c", ETALON, "token", "create", "me"],
    "the API alone": ["-c", "from api.app import create_app; create_app()"],
    "an orchestrator alone": ["-c", "from orchestrator.__main__ import main; main()"],
}


@pytest.mark.parametrize("writer", WRITERS)
def test_each_process_that_writes_keeps_others_out_and_closes_an_open_home(
    settings: Settings, writer: str, open_to_others: Callable[[Path], list[Path]]
) -> None:
    (settings.home / "logs").mkdir(parents=True)
    (settings.home / "logs" / "api.log").touch()
    environment = os.environ | {"ETALON_HOME": str(settings.home)}
    process = subprocess.Popen(
        [sys.executable, *WRITERS[writer]], env=environment, stderr=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr or ():
        said.append(line)
        if '"leading"' in line:
            process.terminate()
    process.communicate(timeout=60)
    assert len([line for line in said if f"of this machine: {settings.home}" in line]) == 1
    assert not open_to_others(settings.home)
