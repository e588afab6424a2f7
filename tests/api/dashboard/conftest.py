"""A store with sweeps in every state, an application over it, a real server and a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from starlette.testclient import TestClient

from api.app import create_app
from orchestrator.settings import Settings
from orchestrator.states import SweepState
from orchestrator.store import Store
from tests.api.dashboard.registered import register
from tests.api.dashboard.seeding import Service
from tests.api.servers import serving

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> & a-name-' + "long-" * 24
CHROMIUMS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Seeded:
    """A database, a copy of it that no test changes, and the ids of its sweeps by what they show."""

    url: str
    untouched: Path
    ids: dict[str, str]


@pytest.fixture(scope="session")
def seeded(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """Sweeps in every state."""
    path = tmp_path_factory.mktemp("dashboard") / "etalon.db"
    shutil.copy(_sqlite_template, path)
    url = f"sqlite:///{path}"
    with Store.open(url) as store:
        service = Service(store)
        ids = {
            "completed": service.run(service.submit(name="completed").id).id,
            "refused": service.run(
                service.submit(name="refused", target={"params": 1e12, "tokens": 2e15}).id, batches=1
            ).id,
            "running": service.run(service.submit(name="running").id, batches=2, leave_open=6).id,
            "failed": service.run(service.submit(name="failed").id, batches=1).id,
            "queued": service.submit(name=HOSTILE).id,
        }
        store.sweeps.move(ids["failed"], SweepState.FAILED, reason="<b>the driver</b> lost the Ray cluster")
    untouched = path.with_name("untouched.db")
    shutil.copy(path, untouched)
    return Seeded(url=url, untouched=untouched, ids=ids)


@pytest.fixture
def copy(seeded: Seeded, tmp_path: Path) -> Iterator[Store]:
    """A copy of the seeded store for one test, without the changes of other tests."""
    path = tmp_path / "etalon.db"
    shutil.copy(seeded.untouched, path)
    with Store.open(f"sqlite:///{path}") as store:
        yield store


@pytest.fixture
def client(copy: Store, tmp_path: Path) -> Iterator[TestClient]:
    """A browser without scripts, on this machine."""
    app = create_app(settings=Settings(home=tmp_path), store=copy)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as opened:
        yield opened


@pytest.fixture(scope="session")
def site(seeded: Seeded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server over the seeded database."""
    home = tmp_path_factory.mktemp("site")
    register(home)
    with serving(seeded.url, home) as server:
        yield server.url


def chromium() -> str:
    """The browser to drive: ``ETALON_CHROMIUM``, or Debian's."""
    named = os.environ.get("ETALON_CHROMIUM")
    found = next((path for path in ([named] if named else CHROMIUMS) if Path(path).is_file()), None)
    if found is not None:
        return found
    message = (
        f"no Chromium at {named or ' or '.join(CHROMIUMS)}; install one or set ETALON_CHROMIUM to run the "
        "browser tests"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests."""
    executable = chromium()
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield launched
        launched.close()


@dataclass
class Tab:
    """A page and what went wrong in it."""

    page: Page
    troubles: list[str]


OpenTab = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser, site: str) -> Iterator[OpenTab]:
    """Open a tab at a width; a test ends badly if a script failed or the console has an error."""
    contexts: list[BrowserContext] = []
    tabs: list[Tab] = []

    def opened(*, width: int = 1440, scheme: str = "light") -> Tab:
        phone = width < 600
        context = browser.new_context(
            base_url=site,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            has_touch=phone,
            is_mobile=phone,
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        tab = Tab(page=context.new_page(), troubles=[])
        tab.page.on("pageerror", lambda error: tab.troubles.append(str(error)))
        tab.page.on("console", lambda line: tab.troubles.append(line.text) if line.type == "error" else None)
        tab.page.on("dialog", lambda dialog: tab.troubles.append(dialog.message))
        tabs.append(tab)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for tab in tabs for trouble in tab.troubles] == []
