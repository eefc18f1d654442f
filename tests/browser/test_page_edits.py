"""The page-edit service in a browser: a real pool, the real service, a model that answers by script."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.process.daemon import Daemon, until
from tests.process.page_service import EXAMPLE, Editor, add_editor, service
from workerpool import Client
from workerpool.rehearsal import ModelServer

Pool = Callable[..., Daemon]
#: Ten edits: page, who asks, what for. They are asked for in this order.
EDITS = (
    ("snake", "Ben", "go on for ever"),
    ("choir", "Ada", "slowly add a tenor"),
    ("bakery", "Ada", "add rolls"),
    ("bakery", "Ben", "carelessly add <b>buns</b>"),
    ("choir", "Ben", "add a bass"),
    ("bakery", "Ada", "add cake"),
    ("snake", "Ada", "add an apple"),
    ("bakery", "Ben", "add tea"),
    ("choir", "Ada", "add an alto"),
    ("snake", "Ben", "add a pear"),
)
LATE = "go on for ever"
#: One whose worker is killed while the model answers, and one whose worker is killed while the page changes.
KILLED = ("slowly add a tenor", "add rolls")


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the service in a browser of somebody's own; whatever it complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_(address: str, name: str, **how: object) -> Page:
        context = browser.new_context(base_url=address, **how)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto("/")
        page.get_by_label("You are").select_option(label=name)
        page.get_by_role("button", name="Switch").click()
        expect(page.get_by_label("You are").locator("option:checked")).to_have_text(name)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def ask(page: Page, slug: str, request: str) -> None:
    """Ask for an edit by the form."""
    page.goto(f"/pages/{slug}")
    page.get_by_label("What is to change?").fill(request)
    page.get_by_role("button", name="Ask for the edit").click()
    expect(page.locator(".request").first).to_be_visible()


def paragraphs(page: Page, slug: str) -> list[str]:
    """Return what edits have written into a page, at its own address."""
    page.goto(f"/p/{slug}")
    return page.locator("p.edit").all_inner_texts()


def wanted(slug: str) -> list[str]:
    """Return the edits that a page is to have in the end."""
    return [request for each, _, request in EDITS if each == slug and request != LATE]


def test_ten_edits_of_three_pages_by_two_people(
    pool: Pool, person: Callable[..., Page], database: str, tmp_path: Path
) -> None:
    """One is refused and repaired, one cancelled, one reverted; workers are killed in the middle of two. Each page has
    its edits in order, and none is lost or there twice.
    """
    with ExitStack() as kept:
        model = kept.enter_context(ModelServer(Editor()))
        daemon = pool(handlers=EXAMPLE / "page_edit_handlers.py").start()
        address = kept.enter_context(service(database, tmp_path, daemon.mark))
        add_editor(daemon, model)
        ada = person(address, "Ada", viewport={"width": 1280, "height": 860})
        # Ben is on a phone, and his browser runs no script.
        ben = person(address, "Ben", viewport={"width": 390, "height": 800}, java_script_enabled=False)
        for slug, who, request in EDITS:
            ask(ada if who == "Ada" else ben, slug, request)
        ada.goto("/pages/choir")
        bar = ada.locator("li.processing progress")
        expect(bar).to_be_visible()
        until(lambda: float(bar.get_attribute("value") or 0) > 10, what="the bar moves by itself")
        with psycopg.connect(database) as other:
            # Nobody changes the bakery's page for now: the first worker that wants to stays in the middle of that.
            other.execute("SELECT FROM page_edits.pages WHERE slug = 'bakery' FOR UPDATE")
            os.kill(_worker_of(daemon, KILLED[0]), signal.SIGKILL)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
            until(lambda: daemon.sql(waiting, "%INTO page_edits.versions%"), what="a version is being written")
            os.kill(_worker_of(daemon, KILLED[1]), signal.SIGKILL)
        ben.goto("/pages/snake")
        ben.get_by_role("button", name=f"Cancel: {LATE}").click()

        history = ada.locator("li.completed")
        expect(history).to_have_count(len(wanted("choir")), timeout=30_000)
        assert ada.locator("li.completed .request").all_inner_texts() == wanted("choir")[::-1]
        ada.goto("/pages/snake")
        expect(ada.locator("li.completed")).to_have_count(2, timeout=30_000)
        expect(ada.locator("li.cancelled")).to_contain_text(LATE)
        ada.goto("/pages/bakery")
        expect(ada.locator("li.completed")).to_have_count(4, timeout=30_000)
        expect(ada.locator("li", has_text="carelessly")).to_contain_text("repaired after a refusal")
        for slug in ("bakery", "choir", "snake"):
            assert paragraphs(ada, slug) == wanted(slug)
        assert ada.evaluate("self.origin") == "null", "a page of people has no part in the service's origin"

        ada.goto("/pages/bakery")
        shown = ada.frame_locator("#preview").locator("p.edit")
        with Client(database) as operator:
            # (the driver loses sight of a frame that goes elsewhere while it loads: it is there before it changes)
            operator.pause("so that it is seen how the preview changes")
            ada.get_by_role("button", name="Back to version 2").click()
            expect(ada.locator("li.pending")).to_contain_text("Back to version 2")
            expect(shown).to_have_count(4)
            operator.resume()
        expect(ada.locator("li.current")).to_contain_text("Back to version 2")
        expect(shown).to_have_count(2, timeout=30_000)
        assert paragraphs(ada, "bakery") == wanted("bakery")[:2]
        ask(ada, "bakery", "add jam")
        expect(ada.locator("li.current .number")).to_have_text("6")
        assert paragraphs(ada, "bakery") == [*wanted("bakery")[:2], "add jam"]

        ada.goto("/pages/bakery/versions/2")
        expect(ada.locator(".diff .new")).to_have_text('<p class="edit">carelessly add &lt;b&gt;buns&lt;/b&gt;</p>')
        expect(ada.locator(".diff .gone")).to_have_count(0)
        told = "SELECT count(*) AS all, count(DISTINCT revision) AS different FROM page_edits.notices"
        until(lambda: daemon.sql(told) == [{"all": 12, "different": 12}], what="everybody is told of everything, once")
        ben.goto("/inbox")
        expect(ben.locator(".request")).to_have_count(5)
        expect(ben.locator("li.cancelled")).to_contain_text(f"Snake: “{LATE}” was cancelled; the page is as it was.")
        _is_whole(daemon)
        assert daemon.stop() == 0


def _worker_of(daemon: Daemon, request: str) -> int:
    query = """
        SELECT w.worker_pid FROM page_edits.edits e JOIN revisions r ON r.id = e.revision
        JOIN workers w ON w.id = r.worker_id WHERE e.request = %s AND r.status = 'processing'
    """
    return int(until(lambda: daemon.sql(query, request), what="it runs")[0]["worker_pid"])


def _is_whole(daemon: Daemon) -> None:
    """Check that versions have no gap, that each edit that was done made exactly one, and what the others came to."""
    versions = daemon.sql("SELECT slug, number, request FROM page_edits.versions ORDER BY slug, number")
    reverted = ["Back to version 2", "add jam"]
    for slug in ("bakery", "choir", "snake"):
        own = [row for row in versions if row["slug"] == slug]
        assert [row["number"] for row in own] == list(range(len(own)))
        assert [row["request"] for row in own[1:]] == wanted(slug) + (reverted if slug == "bakery" else [])
    ended = daemon.sql("SELECT request, outcome FROM page_edits.edits WHERE outcome <> 'completed' OR outcome IS NULL")
    assert ended == [{"request": LATE, "outcome": "cancelled"}]
    killed = daemon.sql(
        "SELECT r.attempt, r.crash_count FROM revisions r JOIN page_edits.edits e ON e.revision = r.id"
        " WHERE e.request = ANY (%s)",
        list(KILLED),
    )
    assert killed == [{"attempt": 2, "crash_count": 1}] * 2
