"""The dashboard as people use it: a real Chromium, a real daemon, real rows."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import PICTURES, TOKEN
from tests.process.conftest import free_port, up
from tests.process.daemon import Daemon, gone, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate
from workerpool.store.session import Session

Pool = Callable[..., Daemon]
Look = Callable[..., Page]
#: Two browsers see each other's actions within so many milliseconds, on a machine that is busy with other tests.
SOON = 3_000
PAUSED = "INSERT INTO pauses (scope, mode, reason, actor, holder) VALUES ('all', 'drain', 'by sql', 'eve', 'eve')"


def badge(page: Page, words: str, within: float = 15_000) -> None:
    """Wait until the badge says so."""
    expect(page.locator("#badge")).to_have_text(f"Workers: {words}", timeout=within)


def press_pause(page: Page, mode: str, reason: str) -> None:
    """Pause by the form."""
    page.get_by_role("radio", name=re.compile(mode, re.IGNORECASE)).check()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Pause", exact=True).click()


def test_pause_drain_and_resume_seen_by_two_browsers(pool: Pool, look: Look) -> None:
    """A drain pressed in one is seen in the other, until it is safe; the other resumes; what waited runs."""
    daemon = up(pool())
    stop = daemon.folder / "stop"
    running = daemon.insert("page", "steps", {"steps": 2, "until": str(stop)})
    daemon.begun(running)
    first, second = look(daemon), look(daemon)
    for page in (first, second):
        badge(page, "Running")
    press_pause(first, "drain", "upgrade to 2.1")
    badge(second, "Paused (Drain)", SOON)
    badge(first, "Paused (Drain)", SOON)
    waiting = daemon.insert("page", "work")
    expect(second.get_by_text(f"revision {running} of page runs")).to_be_visible()
    expect(second.get_by_text("drain by local")).to_contain_text("upgrade to 2.1")
    assert daemon.sql("SELECT actor, reason FROM pauses") == [{"actor": "local", "reason": "upgrade to 2.1"}]
    stop.touch()
    for page in (first, second):
        expect(page.get_by_text("Safe to upgrade")).to_be_visible()
    assert daemon.row(waiting)["status"] == "pending"
    second.get_by_role("button", name="Resume").click()
    badge(first, "Running", SOON)
    assert daemon.ended(waiting)["status"] == "completed"
    expect(first.get_by_role("row", name=re.compile("pause \\(drain\\).*upgrade to 2.1"))).to_be_visible()
    assert daemon.stop() == 0


def test_quiesce_holds_and_a_pause_without_a_reason_is_refused(pool: Pool, look: Look) -> None:
    """The reason is asked for by the page and by the server; a held handler is counted, and it is safe."""
    daemon = up(pool())
    stop = daemon.folder / "stop"
    running = daemon.insert("page", "steps", {"steps": 2, "until": str(stop)})
    daemon.begun(running)
    page = look(daemon)
    page.get_by_role("button", name="Pause", exact=True).click()
    assert page.evaluate("document.querySelector('input[name=reason]').validity.valueMissing")
    assert daemon.sql("SELECT * FROM pauses") == []
    press_pause(page, "quiesce", "   ")
    expect(page.locator("#told")).to_contain_text("a pause needs a reason")
    press_pause(page, "quiesce", "backup")
    badge(page, "Paused (Quiesce)", SOON)
    expect(page.get_by_text("Safe to upgrade")).to_be_visible()
    expect(page.locator(".figures div", has_text="Held")).to_contain_text("1")
    assert daemon.row(running)["status"] == "processing"
    page.get_by_role("button", name="Resume").click()
    badge(page, "Running", SOON)
    stop.touch()
    assert (daemon.ended(running)["status"], daemon.row(running)["attempt"]) == ("completed", 1)
    assert daemon.stop() == 0


def test_a_revision_is_followed_cancelled_and_retried(pool: Pool, look: Look) -> None:
    """Progress, step and log lines appear while it runs; a cancel that was confirmed ends it; a retry runs it again."""
    daemon = up(pool())
    stop = daemon.folder / "stop"
    revision = daemon.insert("page", "steps", {"steps": 20, "seconds": 0.05, "until": str(stop)})
    daemon.begun(revision)
    page = look(daemon, f"/revisions/{revision}")
    expect(page.locator("progress")).to_have_attribute("value", re.compile(r"^90"))
    expect(page.get_by_text("step 18").first).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_contain_text("cancelled")
    assert daemon.ended(revision)["status"] == "cancelled"
    expect(page.locator("#log")).to_contain_text("cancel")
    stop.touch()
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("h1")).to_contain_text("completed")
    assert daemon.row(revision)["status"] == "completed"
    page.get_by_role("button", name="Once more, at the end").click()
    expect(page.locator("#told")).to_contain_text("was added, a copy of")
    assert daemon.stop() == 0


def test_a_killed_worker_is_seen_to_be_back(pool: Pool, look: Look) -> None:
    """Another process stands in the slot, one generation and one restart later."""
    daemon = up(pool(workers=1))
    page = look(daemon)
    row = page.get_by_role("row", name=re.compile("^W1"))
    expect(row).to_contain_text(str(worker := daemon.child("W1")))
    os.kill(worker, signal.SIGKILL)
    until(lambda: gone(worker), what="the worker gone")
    other = daemon.pid_of_child("W1", other_than=worker)
    expect(row).to_contain_text(str(other))
    expect(row).to_contain_text("W1.2")
    assert daemon.stop() == 0


def test_items_history_diff_revert_halt(pool: Pool, look: Look) -> None:
    """An item's page shows what each number changed, reverts, halts and lets go on; its key may have a slash."""
    daemon = up(pool())
    for text in ("one", "two"):
        daemon.ended(daemon.insert("pages/home", "work", {"text": text}))
    page = look(daemon, "/items/pages%2Fhome")
    page.on("dialog", lambda dialog: dialog.accept())
    expect(page.locator("h1")).to_have_text("pages/home")
    page.locator("summary", has_text="Number 1").click()
    page.get_by_role("button", name="Revert to 1").click()
    expect(page.locator("summary", has_text="a revert to 1")).to_be_visible()
    page.get_by_role("button", name="Halt").click()
    expect(page.get_by_text("halted on the dashboard")).to_be_visible()
    waiting = daemon.insert("pages/home", "work")
    page.get_by_role("button", name="Unhalt").click()
    assert daemon.ended(waiting)["status"] == "completed"
    assert daemon.stop() == 0


def test_filters_and_pages_stand_in_the_address(pool: Pool, look: Look) -> None:
    """Status, item pattern and error narrow the list; the address can be sent to somebody; older ones are a page on."""
    daemon = up(pool())
    daemon.sql("INSERT INTO revisions (item_key, status) SELECT 'draft-' || g, 'draft' FROM generate_series(1, 30) g")
    bad = daemon.insert("page", "nobody")
    daemon.ended(bad)
    page = look(daemon)
    page.get_by_label("Status").select_option("failed")
    rows = page.locator("#revisions tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("nobody")
    page.wait_for_url("**/?status=failed")
    other = look(daemon, "/?status=draft&item=draft-*")
    expect(other.locator("#revisions tbody tr")).to_have_count(25)
    other.get_by_role("link", name="Earlier ones").click()
    expect(other.locator("#revisions tbody tr")).to_have_count(5)
    other.get_by_role("textbox", name="Item").fill("nothing like this")
    other.get_by_role("button", name="Show").click()
    expect(other.get_by_text("Nothing matches.")).to_be_visible()
    assert daemon.stop() == 0


def test_who_may_look_and_who_may_press(pool: Pool, look: Look, database: str) -> None:
    """Without a token there is the login; a wrong one is told; a viewer has no buttons; a log-out ends it."""
    from workerpool.api.service import access

    daemon = up(pool(api_token=TOKEN))
    with Session(database, "workerpool", "test") as session:
        secret, _ = access.add(session, "eve", "viewer", "test")
    stranger = look(daemon)
    assert stranger.url.endswith("/login")
    stranger.get_by_label("Token").fill("wrong")
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("alert")).to_contain_text("not known")
    viewer = look(daemon, token=secret)
    badge(viewer, "Running")
    expect(viewer.locator(".who")).to_have_text("eve (viewer)")
    assert viewer.get_by_role("button", name=re.compile("Pause|Halt|Resume|Cancel")).count() == 0
    operator = look(daemon, token=TOKEN)
    press_pause(operator, "drain", "by the operator")
    badge(viewer, "Paused (Drain)", SOON)
    assert daemon.sql("SELECT actor FROM pauses") == [{"actor": "api"}]
    cookie = operator.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"], TOKEN in cookie["value"]) == (True, "Strict", False)
    operator.get_by_role("button", name="Log out").click()
    operator.wait_for_url("**/login")
    with Session(database, "workerpool", "test") as session:
        access.revoke(session, "eve")
    viewer.reload()
    viewer.wait_for_url("**/login")
    assert daemon.stop() == 0


def test_what_is_lost_is_said_and_comes_back(pool: Pool, look: Look) -> None:
    """The API killed: the page says so, keeps what it showed, and is live again when the API is back."""
    daemon = up(pool())
    page = look(daemon)
    badge(page, "Running")
    api = daemon.child("api")
    os.kill(api, signal.SIGKILL)
    expect(page.locator("#connection")).to_contain_text("Not connected")
    expect(page.locator("#badge")).to_have_text("Workers: Running")
    daemon.pid_of_child("api", other_than=api)
    expect(page.locator("#connection")).to_be_hidden(timeout=20_000)
    daemon.sql(PAUSED)
    badge(page, "Paused (Drain)")
    assert daemon.stop() == 0


def test_a_database_that_is_away_is_said_and_comes_back(look: Look, tmp_path: Path) -> None:
    """PostgreSQL stopped under it: the page says so and stays; when it is back, so is what is live."""
    server = OwnServer()
    try:
        server.start()
        migrate.upgrade(server.url)
        daemon = Daemon(server.url, tmp_path, http=f"127.0.0.1:{free_port()}", lease="40s", heartbeat="500ms")
        page = look(up(daemon))
        badge(page, "Running")
        server.stop()
        expect(page.locator("#connection")).to_contain_text("what you see is as it was", timeout=20_000)
        assert page.request.get("/readyz").status == 503
        assert page.request.get("/healthz").status == 200
        answer = page.request.get("/api/queue")
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        expect(page.locator("#badge")).to_have_text("Workers: Running")
        server.start()
        expect(page.locator("#connection")).to_be_hidden(timeout=20_000)
        daemon.sql(PAUSED)
        badge(page, "Paused (Drain)")
        until(lambda: daemon.sql("SELECT is_safe FROM safe_state")[0]["is_safe"], 20, "every worker heard of the pause")
        assert daemon.stop() == 0
        daemon.clear()
    finally:
        server.remove()


EVIL = """<img src=x onerror="document.title='broken in'"><script>document.title='broken in'</script>'"`{{7919*7907}}"""
#: Every text that somebody else may have written, and that a page shows.
POISON = """
INSERT INTO items (item_key, original, halted_at, halt_reason) VALUES (:e, to_jsonb(:e::text), now(), :e);
INSERT INTO workers (id, manager_id, host, slot, generation, worker_pid, handlers, state)
VALUES (:e, :e, :e, :e, 1, 1, ARRAY[:e], 'idle');
INSERT INTO revisions (item_key, handler, payload, status, attempt, worker_id, claim_token, current_step,
                       progress_percentage, result, error_message, error_kind, dedupe_key, metadata, revision_number,
                       started_at, completed_at)
VALUES (:e, :e, jsonb_build_object(:e, :e), 'completed', 1, :e, gen_random_uuid(), :e,
        50, jsonb_build_object('summary', :e, 'output', :e), :e, 'error', :e,
        jsonb_build_object('actor', :e, 'source', :e), 1, now(), now());
INSERT INTO revisions (item_key, handler, payload, status, attempt, worker_id, claim_token, lease_expires_at,
                       current_step, progress_percentage, error_message, started_at)
VALUES (:e, :e, '{}', 'processing', 1, :e, gen_random_uuid(), now() + interval '1 hour', :e, 50, :e, now());
INSERT INTO revisions (item_key, handler, error_message) VALUES (:e, :e, :e);
INSERT INTO execution_log (revision_id, attempt, level, message, data)
SELECT id, 1, 'info', :e, jsonb_build_object(:e, :e) FROM revisions;
INSERT INTO pauses (scope, mode, reason, actor, holder) VALUES ('handler:' || :e, 'drain', :e, :e, :e);
INSERT INTO pauses (scope, mode, reason, actor, holder) VALUES ('all', 'drain', :e, :e, 'x' || :e);
INSERT INTO control_events (control, action, mode, reason, actor, target) VALUES ('revision', :e, :e, :e, :e, :e);
INSERT INTO llm_providers (name, type, default_model, key_file) VALUES (:e, :e, :e, :e);
INSERT INTO agents (name, role, backstory, instructions, provider, model, model_parameters, tools)
VALUES (:e, :e, :e, :e, :e, :e, jsonb_build_object(:e, :e), ARRAY[:e]);
INSERT INTO work_tokens (kind, holder, host, pid, expires_at)
VALUES ('orchestrator', :e, :e, 1, now() + interval '1 hour')
"""


def poison(daemon: Daemon) -> list[int]:
    """Put the evil text everywhere; returns the revisions."""
    for statement in POISON.strip().split(";\n"):
        daemon.sql(
            statement.replace(":e", "%s::text").replace("::text::text", "::text"), *[EVIL] * statement.count(":e")
        )
    return [row["id"] for row in daemon.sql("SELECT id FROM revisions ORDER BY id")]


def links(page: Page) -> set[str]:
    """Return every address of this server that a page links to or loads."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('[href], [src], [hx-get]')]"
        ".map(e => e.getAttribute('href') || e.getAttribute('src') || e.getAttribute('hx-get'))"
    )
    return {each.partition("#")[0] for each in found if each.startswith("/")}


def everything(daemon: Daemon) -> list[str]:
    """Return all rows of all tables but the signs of life of running processes, as text."""
    tables = [
        row["t"]
        for row in daemon.sql("SELECT tablename AS t FROM pg_tables WHERE schemaname = 'workerpool' ORDER BY 1")
    ]
    left_out = {"workers", "tallies"}  # signs of life and counts, which are sent when they are due
    return [str(daemon.sql(f"SELECT r::text FROM {name} r ORDER BY 1")) for name in tables if name not in left_out]


def test_stored_text_is_text_on_every_page(pool: Pool, look: Look) -> None:
    """S10: with evil text in every column that is shown no script runs, no element is made, on any page or part."""
    daemon = up(pool(unhandled_after="1h"))
    ids = poison(daemon)
    page = look(daemon)
    todo, seen = {"/", *(f"/revisions/{id}" for id in ids), *(f"/ui/revisions/{id}/log" for id in ids)}, set[str]()
    while todo:
        address = todo.pop()
        seen.add(address)
        if address.startswith("/static"):
            continue
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        assert "script-src" in answer.headers.get("content-security-policy", ""), address
        todo |= links(page) - seen - {"/logout"}
        page.wait_for_timeout(50)
        assert page.title() != "broken in", address
        assert page.locator("img").count() == 0, address
        assert "62615533" not in page.locator("body").inner_text(), address
    assert len(seen) > 12, seen
    page.goto("/")
    expect(page.locator("#main")).to_contain_text(EVIL[:20])
    assert daemon.stop() == 0


def test_no_get_changes_a_row(pool: Pool, look: Look) -> None:
    """S11: every page, part and path of the API that answers a GET leaves all rows as they were."""
    daemon = up(pool())
    daemon.ended(daemon.insert("page", "work"))
    draft = daemon.insert("page", "work", status="draft")
    page = look(daemon)
    before = everything(daemon)
    openapi: dict[str, Any] = page.request.get("/openapi.json").json()
    paths = {path for path, verbs in openapi["paths"].items() if "get" in verbs and path != "/api/events"}
    todo = {"/", f"/revisions/{draft}", "/items/page", "/login"} | {
        p.replace("{id}", "1").replace("{key}", "page").replace("{name}", "writer") for p in paths
    }
    seen: set[str] = set()
    while todo:
        address = todo.pop()
        seen.add(address)
        answer = page.request.get(address)
        assert answer.status in (200, 404), address
        if "html" in answer.headers["content-type"]:
            page.goto(address)
            todo |= links(page) - seen
    assert len(seen) > 25
    assert everything(daemon) == before
    assert daemon.stop() == 0


def test_a_hundred_thousand_pending_are_shown_at_once(pool: Pool, look: Look) -> None:
    """What is watched costs the database the same however much waits, and the page says that it did not count all."""
    daemon = up(pool())
    daemon.sql(PAUSED)
    daemon.sql("INSERT INTO revisions (item_key) SELECT 'item-' || g %% 50000 FROM generate_series(1, 100000) g")
    daemon.sql("ANALYZE revisions")
    page = look(daemon)
    expect(page.locator(".figures div", has_text="Queued")).to_contain_text("10,000+")
    plan = daemon.sql("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + watch_statement())[0]["QUERY PLAN"][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 2_000, (
        "bounded: 100,000 rows have more blocks than that"
    )
    assert daemon.stop() == 0


def watch_statement() -> str:
    """The statement behind what is watched, on this test's schema."""
    import workerpool.store

    text = (Path(workerpool.store.__file__).parent / "sql" / "watch.sql").read_text()
    return text.replace("{schema}", "workerpool").replace("%(silence)s", "'1 minute'")


def pictures_for_the_documentation(pool: Pool, look: Look) -> None:
    """Three pictures: the overview in light, a revision in dark, a phone."""
    daemon = up(pool())
    for number in range(9):
        daemon.insert(f"pages/{number % 5}", "steps", {"steps": 80, "seconds": 0.2, "text": "make the snake blue"})
    folder, pages = Path(str(PICTURES)).absolute(), []
    pages.append((look(daemon, viewport={"width": 1180, "height": 900}), "overview.png"))
    first = daemon.sql("SELECT min(id) AS id FROM revisions WHERE status = 'processing'")[0]["id"]
    pages.append(
        (
            look(daemon, f"/revisions/{first}", viewport={"width": 1000, "height": 760}, color_scheme="dark"),
            "revision.png",
        )
    )
    pages.append((look(daemon, viewport={"width": 380, "height": 800}), "phone.png"))
    pages[0][0].wait_for_timeout(11_000)
    for page, name in pages:
        page.screenshot(path=folder / name)
    assert daemon.stop(signal.SIGQUIT) in (0, 5)


if PICTURES:
    test_pictures_for_the_documentation = pictures_for_the_documentation
