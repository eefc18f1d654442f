"""The service's own tables (`schema.sql`): what is asked of them and what is written.

Owns: every statement on the schema `page_edits`, and those on the pool's tables that belong into the same transaction.
Does not own: connections and commits: each function works in its caller's transaction, in the service and in a handler
alike.

Invariant: an edit and its revision are written together; a version and the page's pointer too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from page_limits import Limits, Refused
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
#: Enqueues a revision in the caller's transaction and returns its id: item, handler, payload.
Enqueue = Callable[[str, str, dict[str, object]], int]

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
LATEST = 200  # edits that are shown of a page, notices of a person

SHOWN = """
    SELECT p.slug, p.title, p.owner, o.full_name AS owner_name, p.current_version, p.created_at,
           (SELECT count(*) FROM page_edits.edits e JOIN workerpool.revisions r ON r.id = e.revision
            WHERE e.slug = p.slug AND r.completed_at IS NULL) AS busy
    FROM page_edits.pages p JOIN page_edits.people o ON o.name = p.owner
"""
EDITS = """
    SELECT e.id, e.slug, e.kind, e.request, e.requester, coalesce(w.full_name, 'somebody') AS requester_name, e.source,
           e.revision, e.created_at, coalesce(r.completed_at, e.ended_at) AS ended_at,
           coalesce(r.status::text, e.outcome, CASE WHEN v.number IS NULL THEN 'unknown' ELSE 'completed' END) AS state,
           r.current_step AS step, coalesce(r.progress_percentage, 0)::float AS percentage, r.attempt,
           r.cancel_requested_at IS NOT NULL AS stopping,
           coalesce(r.error_message, e.message) AS message, v.number, v.repaired, v.tokens
    FROM page_edits.edits e
    LEFT JOIN workerpool.revisions r ON r.id = e.revision
    LEFT JOIN page_edits.versions v ON v.revision = e.revision
    LEFT JOIN page_edits.people w ON w.name = e.requester
"""
#: An entry for each end: the requester is told also of an edit that was cancelled before it ran.
FOLLOW = """
    INSERT INTO workerpool.continuations (revision_id, fires_on, item_key, handler, payload)
    VALUES (%s, 'any', %s, 'notify', %s)
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants: an edit of a page in words, or a revert *to* one of its versions."""

    slug: str
    person: str
    request: str = ""
    to: int | None = None
    source: str = "form"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A content that is to become a page's next version, and which revision makes it."""

    slug: str
    revision: int
    html: str
    request: str
    kind: str = "edit"
    author: str = ""
    repaired: bool = False
    tokens: int = 0


def rows(connection: Connection, query: str, *values: object) -> list[Row]:
    """Run a statement and return its rows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        # (a statement comes once or twice in a transaction: to prepare it would not pay)
        cursor.execute(query.encode(), values, prepare=False)
        return cursor.fetchall() if cursor.description else []


def row(connection: Connection, query: str, *values: object) -> Row | None:
    """Run a statement and return its first row."""
    found = rows(connection, query, *values)
    return found[0] if found else None


def item_of(slug: str) -> str:
    """Return the pool's item of a page: its revisions run one at a time and in order."""
    return f"pages/{slug}"


# -- what is asked for -------------------------------------------------------------------------------------------------


def take(connection: Connection, wish: Wish, limits: Limits, enqueue: Enqueue) -> Row:
    """Accept a wish: its edit, its revision and the notice that is to follow, all in this transaction.

    Returns the edit. Raises Refused with a sentence.
    """
    page = row(connection, "SELECT * FROM page_edits.pages WHERE slug = %s FOR NO KEY UPDATE", wish.slug)
    person = row(connection, "SELECT * FROM page_edits.people WHERE name = %s", wish.person)
    if page is None:
        raise Refused(404, f"There is no page {wish.slug!r}; there are: {_names(connection, 'pages', 'slug')}.")
    if person is None:
        raise Refused(422, f"Nobody is called {wish.person!r} here; there are: {_names(connection, 'people', 'name')}.")
    payload: dict[str, object] = {"person": wish.person, "page": page["title"]}
    if wish.to is None:
        payload["request"] = limits.wording(wish.request)
        _let(connection, wish, page["title"], limits)
        kind, handler, text = "edit", "page-edit", str(payload["request"])
    else:
        payload["to"] = _version_for(connection, wish, page)
        kind, handler, text = "revert", "page-revert", f"Back to version {wish.to}"
    revision = enqueue(item_of(wish.slug), handler, payload)
    rows(connection, FOLLOW, revision, f"inbox/{wish.person}", json.dumps({"person": wish.person, "slug": wish.slug}))
    added = """
        INSERT INTO page_edits.edits (slug, kind, request, requester, source, revision)
        VALUES (%s, %s, %s, %s, %s, %s) RETURNING *
    """
    edit = row(connection, added, wish.slug, kind, text, wish.person, wish.source, revision)
    assert edit is not None
    return edit


def enqueued_by_sql(connection: Connection) -> Enqueue:
    """Return the way to enqueue for who has no `workerpool.Client`: one INSERT is all it takes."""

    def enqueue(item: str, handler: str, payload: dict[str, object]) -> int:
        added = "INSERT INTO workerpool.revisions (item_key, handler, payload) VALUES (%s, %s, %s) RETURNING id"
        new = row(connection, added, item, handler, json.dumps(payload))
        assert new is not None
        return int(new["id"])

    return enqueue


def _names(connection: Connection, table: str, column: str) -> str:
    return ", ".join(each[column] for each in rows(connection, f"SELECT {column} FROM page_edits.{table} ORDER BY 1"))


def _let(connection: Connection, wish: Wish, title: str, limits: Limits) -> None:
    ages, own = counted(connection, wish.slug, wish.person)
    limits.let(title, ages, own)


def _version_for(connection: Connection, wish: Wish, page: Row) -> int:
    if wish.person != page["owner"]:
        raise Refused(403, f"Only the owner of a page takes it back to an earlier version; that is {page['owner']!r}.")
    there = "SELECT number FROM page_edits.versions WHERE slug = %s AND number = %s"
    found = row(connection, there, wish.slug, wish.to)
    if found is None:
        raise Refused(404, f"The page {page['title']!r} has no version {wish.to}.")
    return int(found["number"])


def counted(connection: Connection, slug: str, person: str | None) -> tuple[list[float], float | None]:
    """Return how long ago the edits of the last day were asked for, the oldest first, and that of *person*'s last."""
    found = rows(connection, "SELECT requester, age FROM page_edits.counted WHERE slug = %s ORDER BY age DESC", slug)
    own = [each["age"] for each in found if each["requester"] == person]
    return [each["age"] for each in found], own[-1] if own else None


# -- what is done ------------------------------------------------------------------------------------------------------


def deploy(connection: Connection, new: Deployed) -> int:
    """Store a version, move the page's pointer to it, and return its number. Raises LookupError: there is no page."""
    # A revision that an operator enqueued past the service has no edit yet.
    noted = """
        INSERT INTO page_edits.edits (slug, kind, request, requester, source, revision)
        SELECT slug, %s, %s, (SELECT name FROM page_edits.people WHERE name = %s), 'pool', %s
        FROM page_edits.pages WHERE slug = %s ON CONFLICT (revision) DO NOTHING
    """
    rows(connection, noted, new.kind, new.request, new.author, new.revision, new.slug)
    stored = """
        INSERT INTO page_edits.versions (slug, number, html, request, author, revision, repaired, tokens)
        SELECT slug, (SELECT max(number) + 1 FROM page_edits.versions v WHERE v.slug = p.slug), %s, %s,
               (SELECT name FROM page_edits.people WHERE name = %s), %s, %s, %s
        FROM (SELECT slug FROM page_edits.pages WHERE slug = %s FOR NO KEY UPDATE) p
        RETURNING number
    """
    values = (new.html, new.request, new.author, new.revision, new.repaired, new.tokens, new.slug)
    version = row(connection, stored, *values)
    if version is None:
        raise LookupError(f"there is no page {new.slug!r}")
    rows(connection, "UPDATE page_edits.pages SET current_version = %s WHERE slug = %s", version["number"], new.slug)
    ended = "UPDATE page_edits.edits SET outcome = 'completed', message = NULL, ended_at = now() WHERE revision = %s"
    rows(connection, ended, new.revision)
    return int(version["number"])


def tell(connection: Connection, revision: int, person: str, slug: str) -> str:
    """Write a notice on how a revision ended, and keep that with its edit; return its text."""
    ended = row(connection, "SELECT status::text, error_message FROM workerpool.revisions WHERE id = %s", revision)
    page = row(connection, "SELECT title FROM page_edits.pages WHERE slug = %s", slug)
    edit = row(connection, f"{EDITS} WHERE e.revision = %s", revision)
    outcome = ended["status"] if ended else "completed"
    message = ended["error_message"] if ended else None
    text = _told(outcome, page["title"] if page else slug, edit, message)
    kept = """
        UPDATE page_edits.edits SET outcome = %s, message = %s, ended_at = now()
        WHERE revision = %s AND outcome IS NULL
    """
    rows(connection, kept, outcome, message, revision)
    added = """
        INSERT INTO page_edits.notices (person, slug, outcome, text, revision)
        SELECT name, %s, %s, %s, %s FROM page_edits.people WHERE name = %s ON CONFLICT (revision) DO NOTHING
    """
    rows(connection, added, slug, outcome, text, revision, person)
    return text


def _told(outcome: str, title: str, edit: Row | None, message: str | None) -> str:
    what = f"“{edit['request']}”" if edit else "your request"
    match outcome:
        case "completed" if edit:
            return f"{title}, version {edit['number']}: {what} is done."
        case "cancelled":
            return f"{title}: {what} was cancelled; the page is as it was."
        case _:
            why = (message or "")[:1].upper() + (message or "")[1:]
            return f"{title}: {what} was not done; the page is as it was. {why}".strip()


# -- what is shown -----------------------------------------------------------------------------------------------------


def people(connection: Connection) -> list[Row]:
    """Return everybody, with how many unread notices they have."""
    query = """
        SELECT p.*, (SELECT count(*) FROM page_edits.notices n WHERE n.person = p.name AND n.read_at IS NULL) AS unread
        FROM page_edits.people p ORDER BY p.name
    """
    return rows(connection, query)


def pages(connection: Connection) -> list[Row]:
    """Return every page."""
    return rows(connection, f"{SHOWN} ORDER BY p.created_at, p.slug")


def page(connection: Connection, slug: str) -> Row | None:
    """Return one page."""
    return row(connection, f"{SHOWN} WHERE p.slug = %s", slug)


def html_of(connection: Connection, slug: str, number: int | None = None) -> Row | None:
    """Return a version of a page with its HTML; None: the one that the page points to."""
    query = """
        SELECT v.*, coalesce(w.full_name, 'somebody') AS author_name FROM page_edits.versions v
        JOIN page_edits.pages p ON p.slug = v.slug LEFT JOIN page_edits.people w ON w.name = v.author
        WHERE v.slug = %s AND v.number = coalesce(%s, p.current_version)
    """
    return row(connection, query, slug, number)


def edits(connection: Connection, slug: str) -> list[Row]:
    """Return what was asked for of a page, the latest first."""
    return rows(connection, f"{EDITS} WHERE e.slug = %s ORDER BY e.id DESC LIMIT {LATEST}", slug)


def edit(connection: Connection, number: int) -> Row | None:
    """Return one edit."""
    return row(connection, f"{EDITS} WHERE e.id = %s", number)


def inbox(connection: Connection, person: str) -> list[Row]:
    """Return the notices of a person, the latest first, and take them as read."""
    found = rows(
        connection, f"SELECT * FROM page_edits.notices WHERE person = %s ORDER BY id DESC LIMIT {LATEST}", person
    )
    rows(connection, "UPDATE page_edits.notices SET read_at = now() WHERE person = %s AND read_at IS NULL", person)
    return found
