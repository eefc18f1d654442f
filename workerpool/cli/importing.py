"""``workerpool import``: many revisions from a file, all or none.

Owns: the transaction of an import. Does not own: what a file may say (``edits``). Invariant: where one entry is bad
nothing is imported,
and every bad entry is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from workerpool.api.edits import Complaint, Entry, NotReadable, read
from workerpool.cli.errors import EXIT_USAGE, Refused
from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.tables import write_json
from workerpool.config import Settings
from workerpool.core.wording import counted, safe

#: How many complaints are shown; a file of the wrong kind has one for each of its lines.
SHOWN = 20


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "array", "lines", "csv"]),
    default="auto",
    show_default=True,
    help="A JSON array, JSON lines, or CSV.",
)
@with_json
@with_settings
def import_(settings: Settings, as_json: bool, file: str, form: str) -> None:
    """Add the revisions of FILE (- is standard input): a JSON array, JSON lines or CSV, all of them or none.

    Each entry names its item (item_key or app_slug). handler, priority, run_at, dedupe_key, max_attempts,
    timeout_seconds and metadata
    are what they are in the table; everything else becomes the payload. html_content becomes the original of an item
    that is seen for
    the first time.
    """
    from workerpool.api.service import intake

    entries = _read(file, form)
    with session(settings, "import") as opened:
        opened.patience(0)
        done, pages = intake.add(opened, entries)
    inserted, items = sum(each.inserted for each in done), len({entry.new.item for entry in entries})
    if as_json:
        ids = [each.id for each in done]
        write_json(
            {
                "revisions": inserted,
                "items": items,
                "already_there": len(done) - inserted,
                "originals": pages,
                "ids": ids,
            }
        )
        return
    already = f"; {len(done) - inserted} were there already (dedupe_key)" if inserted < len(done) else ""
    kept = f", {pages} of them with their original page" if pages else ""
    click.echo(f"imported {counted(inserted, 'revision')} for {counted(items, 'item')}{kept}{already}")


def _read(file: str, form: str) -> list[Entry]:
    name = "standard input" if file == "-" else file
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        if form == "auto" and file.lower().endswith(".csv"):
            form = "csv"
        entries, complaints = read(raw.decode("utf-8"), form)
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}", EXIT_USAGE) from None
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is not text in UTF-8 (byte {error.start})", EXIT_USAGE) from None
    except NotReadable as error:
        raise Refused(f"{name}: {error}", EXIT_USAGE) from None
    if complaints:
        raise _bad(name, complaints)
    if not entries:
        click.echo(f"workerpool: {name} holds no entries", err=True)
    return entries


def _bad(name: str, complaints: list[Complaint]) -> Refused:
    shown = [f"  {safe(str(each))}" for each in complaints[:SHOWN]]
    more = [f"  and {len(complaints) - SHOWN} more"] if len(complaints) > SHOWN else []
    count = len({each.where for each in complaints})
    what = "entry is" if count == 1 else "entries are"
    return Refused("\n".join([f"{name}: {count} {what} not right, so nothing was imported", *shown, *more]), EXIT_USAGE)
