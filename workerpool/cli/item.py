"""``halt``, ``unhalt``, ``history``, ``revert``, ``purge`` and ``export``: what people do with an item as a whole.

Owns: how a history looks. Does not own: the verbs (``api.service.items``). Invariant: nothing is
deleted without ``--yes``.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from workerpool.api.service import items
from workerpool.api.service.refusals import NotInThisState
from workerpool.cli.errors import EXIT_REFUSED, Refused
from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.config import Settings
from workerpool.core.wording import counted, length, safe, shorten
from workerpool.store.changing import actor

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session


@click.command()
@click.argument("item")
@click.option("--reason", default="halted by hand", show_default=True, metavar="TEXT", help="Why; people will read it.")
@with_settings
def halt(settings: Settings, item: str, reason: str) -> None:
    """Start nothing of ITEM until it is unhalted; what runs goes on."""
    with session(settings, "halt") as opened:
        found = items.halt(opened, item, reason, actor())
    unknown = "" if found["known"] else " (nothing is known of this item yet)"
    click.echo(f"{safe(item)} is halted{unknown}; `workerpool unhalt {shlex.quote(safe(item))}` lets it go on")


@click.command()
@click.argument("item")
@with_settings
def unhalt(settings: Settings, item: str) -> None:
    """Let ITEM go on, past what failed; `workerpool retry ID` runs the failed one again first."""
    with session(settings, "unhalt") as opened:
        items.unhalt(opened, item, actor())
    click.echo(f"{safe(item)} goes on")


@click.command()
@click.argument("item")
@click.option("--diff", is_flag=True, help="What each changed in the result.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The latest so many.")
@with_json
@with_settings
def history(settings: Settings, as_json: bool, item: str, diff: bool, limit: int) -> None:
    """Show the history of ITEM: number, when, who, what, and how long it took."""
    with session(settings, "history") as opened:
        found = items.history(opened, item, limit, with_result=diff or as_json)
    shown = found.rows
    if as_json:
        write_json(shown)
    elif diff and shown:
        if not found.is_cut and shown[0]["number"] > 1:
            click.echo(
                f"number {shown[0]['number']} is compared with the original: those between were pruned", err=True
            )
        _write_diffs(found.before, shown)
    else:
        columns = ("number", "revision", "completed", "who", "handler", "took", "summary")
        rows = [
            (r["number"], r["id"], r["completed_at"], r["who"], r["handler"], length(r["duration"]), _summary(r))
            for r in shown
        ]
        write_table(columns, rows, "no revision of it has completed yet")
    if found.is_cut:
        click.echo(f"the latest {limit}; --limit shows more", err=True)


def _summary(row: Row) -> str:
    told = shorten(safe(row["summary"] or ""), 60)
    return f"revert to {row['reverted_to']}" + (f": {told}" if told else "") if row["reverted_to"] else told


def _write_diffs(before: object, rows: list[Row]) -> None:
    for row in rows:
        who = f" by {safe(row['who'])}" if row["who"] else ""
        when = row["completed_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.secho(f"number {row['number']}, revision {row['id']}, {when}{who} {_summary(row)}".rstrip(), bold=True)
        for line in items.difference(before, row["result"]) or [" the result is the same"]:
            click.secho(f"  {safe(line)}", fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))
        before = row["result"]


@click.command()
@click.argument("item")
@click.option(
    "--to",
    type=click.IntRange(0, 2**31 - 1),
    required=True,
    metavar="N",
    help="A number of `history`; 0 is the original.",
)
@with_json
@with_settings
def revert(settings: Settings, as_json: bool, item: str, to: int) -> None:
    """Add a revision of ITEM whose result is that of number N; it comes after whatever is queued."""
    with session(settings, "revert") as opened:
        revision = items.revert(opened, item, to, actor())
    if as_json:
        write_json({"id": revision, "item_key": item, "to": to})
        return
    click.echo(f"revision {revision} of {safe(item)} will revert it to {to}, after whatever is queued")


@click.command()
@click.argument("item")
@click.option("--yes", is_flag=True, help="Delete; without it only say what would be deleted.")
@with_settings
def purge(settings: Settings, item: str, yes: bool) -> None:
    """Delete everything of ITEM: its revisions, their logs, its original. `workerpool export ITEM` keeps a copy."""
    with session(settings, "purge") as opened:
        opened.patience(0)
        about = items.known(opened, item)
        if not yes:
            click.echo(
                f"{counted(about['revisions'], 'revision')} of {safe(item)} would be deleted; --yes deletes them"
            )
            return
        try:
            deleted = items.purge(opened, item, actor())
        except NotInThisState as error:
            hint = (
                f"`workerpool halt {shlex.quote(safe(item))}` starts no more of it; then `workerpool cancel` what runs"
            )
            raise Refused(error.detail, EXIT_REFUSED, hint) from None
    click.echo(f"{counted(deleted, 'revision')} of {safe(item)} deleted, with their logs")


@click.command()
@click.argument("item")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that does not exist yet; else standard output.",
)
@with_settings
def export(settings: Settings, item: str, output: Path | None) -> None:
    """Write everything of ITEM as JSON lines: the item, then each revision with its log."""
    with session(settings, "export") as opened:
        opened.patience(0)
        with opened.snapshot():
            about = items.known(opened, item)
            if output is None:
                _export(opened, about, sys.stdout)
                return
            with output.open("x", encoding="utf-8") as file:
                count = _export(opened, about, file)
    click.echo(f"{counted(count, 'revision')} of {safe(item)} written to {output}")


def _export(opened: Session, about: Row, file: TextIO) -> int:
    head = {name: about[name] for name in ("item_key", "original", "halted_at", "halt_reason", "revisions")}
    file.write(json.dumps(head, default=str, ensure_ascii=False) + "\n")
    count = 0
    for document in items.export(opened, about["item_key"]):
        file.write(document + "\n")
        count += 1
    return count
