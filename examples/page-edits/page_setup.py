"""What the service finds at its start: its tables, and where there are none yet, the people and pages of the demo.

Owns: the set-up; it may run any number of times, and by several at once. Does not own: what is asked of the tables
(`page_store`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from page_store import Connection, item_of, row, rows

HERE = Path(__file__).parent
PEOPLE = {"ada": "Ada", "ben": "Ben"}
PAGES = {"bakery": "ada", "snake": "ben", "choir": "ada"}


def set_up(connection: Connection) -> None:
    """Make the tables where they are missing, and the demo's people and pages where there are none."""
    rows(connection, "SELECT pg_advisory_xact_lock(hashtext('page_edits'))")
    connection.execute((HERE / "schema.sql").read_bytes())
    if row(connection, "SELECT 1 FROM page_edits.people LIMIT 1"):
        return
    for name, full_name in PEOPLE.items():
        rows(connection, "INSERT INTO page_edits.people (name, full_name) VALUES (%s, %s)", name, full_name)
    for slug, owner in PAGES.items():
        add_page(connection, slug, owner, (HERE / "site" / f"{slug}.html").read_text(encoding="utf-8"))


def add_page(connection: Connection, slug: str, owner: str, html: str) -> None:
    """Add a page, and its content as the original of its item: what the first edit stacks on."""
    titled = re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    title = titled[1].strip() if titled else slug
    rows(connection, "INSERT INTO page_edits.pages (slug, owner, title) VALUES (%s, %s, %s)", slug, owner, title)
    original = "INSERT INTO page_edits.versions (slug, number, html, request, author) VALUES (%s, 0, %s, %s, %s)"
    rows(connection, original, slug, html, "The page as it was", owner)
    rows(connection, "UPDATE page_edits.pages SET current_version = 0 WHERE slug = %s", slug)
    known = "INSERT INTO workerpool.items (item_key, original) VALUES (%s, %s) ON CONFLICT (item_key) DO NOTHING"
    rows(connection, known, item_of(slug), json.dumps({"output": html}))
