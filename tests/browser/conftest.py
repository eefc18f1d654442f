"""A real daemon with its API, and a real Chromium that looks at it.

Where there is no Chromium the whole folder is left out, with one line that says why.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.process.conftest import free_port
from tests.process.daemon import Daemon

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HERE = Path(__file__).parent
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
TOKEN = "the operator's token of this test"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser's tests out where there is no browser."""
    ours = [item for item in items if HERE in item.path.parents]
    if CHROMIUM is None and ours:
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)
        why = "left out: the tests of the dashboard, because there is no Chromium (as root on Debian it is installed)"
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all of a module; closed with it, because an event loop runs in this thread while it is open."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon with an API, not yet started; at the end nothing of it may be left."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        folder = tmp_path / f"pool{len(made)}"
        folder.mkdir()
        made.append(Daemon(database, folder, http=f"127.0.0.1:{free_port()}", **settings))
        return made[-1]

    yield make
    for each in made:
        each.clear()


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page in a browser of its own; whatever it complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_(daemon: Daemon, path: str = "/", token: str | None = None, **how: object) -> Page:
        context = browser.new_context(base_url=f"http://{daemon.settings['http']}", **how)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        if token is not None:
            page.goto("/login")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url("/")
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


#: For pictures: `WORKERPOOL_TEST_PICTURES=docs/dashboard` writes those of the documentation anew.
PICTURES = os.environ.get("WORKERPOOL_TEST_PICTURES")
