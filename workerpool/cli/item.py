"""``halt``, ``unhalt``, ``history``, ``revert``, ``purge`` and ``export``: what people do with an item as a whole.

Owns: how a history looks. Does not own: the verbs (``store.changing``). Invariant: nothing is
deleted without ``--yes``.
"""

from __future__ import annotations

import difflib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from workerpool.cli.errors import EXIT_NO_SUCH, EXIT_REFUSED, Refused, no_such
from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.tables import counted, length, safe, shorten, write_json, write_table
from workerpool.config import Settings

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session

#: How many revisions are read at once by an export.
PAGE = 200
NO_ITEM = "`workerpool items` lists what there is"


@click.command()
@click.argument("item")
@click.option("--reason", default="halted by hand", show_default=True, metavar="TEXT", help="Why; people will read it.")
@with_settings
def halt(settings: Settings, item: str, reason: str) -> None:
    """Start nothing of ITEM until it is unhalted; what runs goes on."""
    from workerpool.store import changing

    with session(settings, "halt") as opened:
        found = _item(opened, item)
        if not changing.halt(opened, item, reason, changing.actor()):
            raise Refused(f"{safe(item)} is halted already: {safe(found['halt_reason'] or '')}", EXIT_REFUSED)
    unknown = "" if found["known"] else " (nothing is known of this item yet)"
    click.echo(f"{safe(item)} is halted{unknown}; `workerpool unhalt {shlex.quote(safe(item))}` lets it go on")


@click.command()
@click.argument("item")
@with_settings
def unhalt(settings: Settings, item: str) -> None:
    """Let ITEM go on, past what failed; `workerpool retry ID` runs the failed one again first."""
    from workerpool.store import changing

    with session(settings, "unhalt") as opened:
        if not changing.unhalt(opened, item, changing.actor()):
            if not _item(opened, item)["known"]:
                raise no_such(f"nothing is known of an item {safe(item)}", NO_ITEM)
            raise Refused(f"{safe(item)} is not halted", EXIT_REFUSED)
    click.echo(f"{safe(item)} goes on")


def _item(opened: Session, item: str) -> Row:
    row = opened.row("item", item=item)
    assert row is not None, "item answers one row"
    return row


@click.command()
@click.argument("item")
@click.option("--diff", is_flag=True, help="What each changed in the result.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The latest so many.")
@with_json
@with_settings
def history(settings: Settings, as_json: bool, item: str, diff: bool, limit: int) -> None:
    """Show the history of ITEM: number, when, who, what, and how long it took."""
    with session(settings, "history") as opened:
        found = opened.rows("history", item=item, how_many=limit + 1, with_result=diff or as_json)
        original = opened.row("numbered", item=item, number=0) if diff or not found else None
    if not found and original is not None and not original["known"]:
        raise no_such(f"nothing is known of an item {safe(item)}", NO_ITEM)
    shown = found[-limit:]
    if as_json:
        write_json(shown)
    elif original is not None and shown:
        if len(found) <= limit and shown[0]["number"] > 1:
            click.echo(
                f"number {shown[0]['number']} is compared with the original: those between were pruned", err=True
            )
        _write_diffs(found[0]["result"] if len(found) > limit else json.loads(original["result"] or "null"), shown)
    else:
        columns = ("number", "revision", "completed", "who", "handler", "took", "summary")
        rows = [
            (r["number"], r["id"], r["completed_at"], r["who"], r["handler"], length(r["duration"]), _summary(r))
            for r in shown
        ]
        write_table(columns, rows, "no revision of it has completed yet")
    if len(found) > limit:
        click.echo(f"the latest {limit}; --limit shows more", err=True)


def _summary(row: Row) -> str:
    told = shorten(safe(row["summary"] or ""), 60)
    return f"revert to {row['reverted_to']}" + (f": {told}" if told else "") if row["reverted_to"] else told


def _write_diffs(before: object, rows: list[Row]) -> None:
    for row in rows:
        who = f" by {safe(row['who'])}" if row["who"] else ""
        when = row["completed_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.secho(f"number {row['number']}, revision {row['id']}, {when}{who} {_summary(row)}".rstrip(), bold=True)
        diff = list(difflib.unified_diff(_lines(before), _lines(row["result"]), lineterm="", n=2))[2:]
        for line in diff or [" the result is the same"]:
            click.secho(f"  {safe(line)}", fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))
        before = row["result"]


def _lines(result: Any) -> list[str]:
    """Return a result as lines: its text where it is or has one, else its JSON."""
    if isinstance(result, dict) and isinstance(result.get("output"), str):
        return str(result["output"]).splitlines()
    if isinstance(result, dict) and set(result) == {"html"}:
        return str(result["html"]).splitlines()  # the original of a page
    if isinstance(result, str):
        return result.splitlines()
    return [] if result is None else json.dumps(result, indent=2, ensure_ascii=False).splitlines()


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
    from workerpool.store import changing

    with session(settings, "revert") as opened:
        try:
            revision = changing.revert(opened, item, to, changing.actor())
        except changing.CannotRevert as error:
            hint = f"`workerpool history {shlex.quote(safe(item))}` shows what is there" if error.known else NO_ITEM
            raise Refused(safe(str(error)), EXIT_REFUSED if error.pruned else EXIT_NO_SUCH, hint) from None
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
    from workerpool.store import changing

    with session(settings, "purge") as opened:
        opened.patience(0)
        about = _item(opened, item)
        if not about["known"]:
            raise no_such(f"nothing is known of an item {safe(item)}", NO_ITEM)
        if not yes:
            click.echo(
                f"{counted(about['revisions'], 'revision')} of {safe(item)} would be deleted; --yes deletes them"
            )
            return
        deleted = changing.purge(opened, item, changing.actor())
    if deleted < 0:
        hint = f"`workerpool halt {shlex.quote(safe(item))}` starts no more of it; then `workerpool cancel` what runs"
        raise Refused(f"a revision of {safe(item)} is processing: nothing was deleted", EXIT_REFUSED, hint)
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
            about = _item(opened, item)
            if not about["known"]:
                raise no_such(f"nothing is known of an item {safe(item)}", NO_ITEM)
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
    for row in _revisions(opened, about["item_key"]):
        file.write(row["document"] + "\n")
        count += 1
    return count


def _revisions(opened: Session, item: str) -> Iterator[Row]:
    after = 0
    while page := opened.rows("export_revisions", item=item, after=after, how_many=PAGE):
        yield from page
        after = page[-1]["id"]
