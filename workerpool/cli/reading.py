"""``workerpool status``, ``workers``, ``items`` and ``show``: what is there.

Owns: which facts people see. Does not own: the facts (``store``). Invariant: these verbs change nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from workerpool.api import holders
from workerpool.api.service import pool as service
from workerpool.api.service import revisions
from workerpool.api.service.items import listing
from workerpool.cli.errors import Refused
from workerpool.cli.home import Home
from workerpool.cli.options import RevisionId, session, with_json, with_settings
from workerpool.cli.tables import log_line, write_facts, write_json, write_table
from workerpool.config import Settings, mask_url
from workerpool.core.revision import STATUSES
from workerpool.core.wording import counted, length, safe, shorten, size

if TYPE_CHECKING:
    from workerpool.store.session import Session

LOG_LINES = 20
#: How much of what keeps a pause from being safe is shown.
SHOWN = 20


@click.command()
@with_json
@with_settings
def status(settings: Settings, as_json: bool) -> None:
    """Show the queue and the pool: how many of each status, workers, the oldest, the daemon."""
    with session(settings, "status") as opened:
        opened.patience(60)
        version = opened.version()
        with opened.snapshot():
            pool = opened.row("pool", silence=settings.lease)
            pause = _pause(opened)
    assert pool is not None, "pool answers one row"
    counts = {name: pool["counts"].get(name, 0) for name in STATUSES}
    facts = {
        "daemon_pid": _daemon(settings),
        "home": str(settings.home),
        "database": mask_url(settings.database_url.get_secret_value()) if settings.database_url else "embedded",
        "schema": settings.db_schema,
        "schema_version": version,
        "revisions": counts,
        "workers_alive": pool["workers_alive"],
        "workers_idle": pool["workers_idle"],
        "oldest_pending": pool["oldest_pending"],
        "paused": pool["paused"],
        "pause_mode": pool["pause_mode"],
        "pause_reason": pool["pause_reason"],
        "pause": pause,
        "halted_items": pool["halted_items"],
        "lease_run_out": pool["lease_run_out"],
    }
    if as_json:
        write_json(facts)
        return
    write_table(("status", "revisions"), [(name, count) for name, count in counts.items() if count], "no revisions yet")
    click.echo()
    _say_pool(facts, pool)


def _pause(opened: Session) -> dict[str, Any]:
    """Return what is in force, who asked for it, and how safe it is."""
    found, seen = service.pause_state(opened, 1), service.safe_state(opened)
    return found.metrics | {"is_safe": seen.is_safe, "obstacles": seen.obstacles(), "asked": found.asked}


def _daemon(settings: Settings) -> int | None:
    try:
        return Home(settings.home).manager()
    except Refused:
        return None


def _say_pool(facts: dict[str, Any], pool: dict[str, Any]) -> None:
    running = (
        f"running, pid {facts['daemon_pid']}"
        if facts["daemon_pid"]
        else "not running on this home (`workerpool start`)"
    )
    oldest = f"{length(pool['oldest_pending_seconds'])} ago" if pool["oldest_pending"] else None
    write_facts(
        [
            ("daemon", f"{running}, home {facts['home']}"),
            ("workers", f"{pool['workers_alive']} alive, {pool['workers_idle']} idle"),
            ("oldest pending", oldest),
            *_say_pause(facts["pause"]),
            ("halted items", pool["halted_items"] or None),
            ("lease ran out", f"{pool['lease_run_out']} revisions" if pool["lease_run_out"] else None),
            ("schema", f"{facts['schema']}, version {facts['schema_version']}"),
            ("database", facts["database"]),
        ]
    )


def _say_pause(pause: dict[str, Any]) -> list[tuple[str, str]]:
    if not pause["asked"]:
        return [("paused", "no")]
    mode = f"yes, {pause['mode']}" if pause["paused"] else "in part"
    facts = [("paused", f"{mode}, version {pause['version']}")]
    for each in pause["asked"]:
        facts.append(("  asked", holders.sentence(each)))
        facts += [("", each["fate"])] if each["fate"] else []
        facts.append(("", f"`{holders.lifting([each])}` takes it away"))
    if pause["paused"]:
        left = f"{counted(pause['running'] - pause['held'], 'revision')} running, {pause['held']} held"
        facts.append(
            ("  drain", f"{left}, {pause['queued']} queued; {'safe' if pause['is_safe'] else 'not safe yet:'}")
        )
        facts += [("", safe(each)) for each in ([] if pause["is_safe"] else pause["obstacles"][:SHOWN])]
    return facts


@click.command()
@click.option("--all", "gone", is_flag=True, help="The dead ones too; they are remembered for a day.")
@with_json
@with_settings
def workers(settings: Settings, as_json: bool, gone: bool) -> None:
    """List the worker processes of every host."""
    with session(settings, "workers") as opened:
        found = opened.rows("worker_list", silence=settings.lease, gone=gone)
    if as_json:
        write_json(found)
        return
    columns = ("worker", "state", "revision", "item", "done", "crashes", "memory", "age", "seen", "handlers")
    rows = [
        (
            each["id"],
            each["state"],
            each["current_revision_id"],
            each["current_item"],
            each["processed_count"],
            each["restart_count"],
            size(each["rss_bytes"]),
            length(each["age_seconds"]),
            f"{length(each['seen_seconds'])} ago",
            shorten(", ".join(each["handlers"]), 30),
        )
        for each in found
    ]
    write_table(columns, rows, "no worker is alive; `workerpool start` starts some")


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@with_json
@with_settings
def items(settings: Settings, as_json: bool, limit: int) -> None:
    """List the items, those with work first, and what each waits for."""
    with session(settings, "items") as opened:
        found = listing(opened, limit, settings.lease)
    if as_json:
        write_json(found)
        return
    columns = ("item", "number", "waiting", "head", "what it waits for")
    rows = [
        (
            row["item_key"],
            row["current_revision_number"],
            row["depth"],
            row["processing_id"] or row["head_id"],
            _why(row),
        )
        for row in found
    ]
    write_table(columns, rows, "no items yet; `workerpool enqueue ITEM` adds a revision")
    if len(found) == limit:
        click.echo(f"the first {limit}; --limit shows more", err=True)


def _why(row: dict[str, Any]) -> str:
    if row["why"]:
        return str(row["why"])
    return f"halted: {row['halt_reason']}" if row["halted_at"] else ""


@click.command()
@click.argument("revision", metavar="ID", type=RevisionId())
@with_json
@with_settings
def show(settings: Settings, as_json: bool, revision: int) -> None:
    """Show everything of the revision ID: its payload, result, error, and the end of its log."""
    with session(settings, "show") as opened:
        row = revisions.show(opened, revision)
        log = opened.rows("log_tail", revision=revision, since=None, how_many=LOG_LINES)
    if as_json:
        write_json({**row, "log": log})
        return
    documents = ("payload", "result", "metadata")
    plain = [
        (name.replace("_", " "), value)
        for name, value in row.items()
        if name not in documents and value not in (None, 0)
    ]
    write_facts([(name, length(value) if name == "actual duration" else value) for name, value in plain])
    for name in documents:
        if row[name] is not None and (row[name] or name != "metadata"):
            _write_document(name, row[name])
    if log:
        click.secho(f"log (the last {LOG_LINES} lines)" if len(log) == LOG_LINES else "log", bold=True)
        for line in log:
            click.echo(f"  {log_line(line, with_revision=False)}")


def _write_document(name: str, value: object) -> None:
    click.secho(name, bold=True)
    for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines():
        click.echo(f"  {safe(line)}")
