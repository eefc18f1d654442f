"""``workerpool logs``: the execution log of a revision, or of all, and what is written to it.

Invariant: ``-f`` on a revision ends when the revision has, with all of its lines shown.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from workerpool.cli.errors import no_such
from workerpool.cli.options import Duration, RevisionId, session, with_json, with_settings
from workerpool.cli.tables import log_line, write_json
from workerpool.cli.watching import LOOK, NewLines
from workerpool.config import Settings
from workerpool.core.revision import TERMINAL

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session


@click.command()
@click.argument("revision", metavar="[ID]", required=False, type=RevisionId())
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written; of a revision until it has ended.")
@click.option("--since", type=Duration(), help="Only what is younger than this.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=None,
    help="The last so many lines. [default: 1000 of a revision, else 100]",
)
@with_json
@with_settings
def logs(
    settings: Settings, as_json: bool, revision: int | None, follow: bool, since: timedelta | None, lines: int | None
) -> None:
    """Show the execution log of the revision ID, or the last lines of all."""
    if as_json and follow:
        raise click.UsageError("--json writes one array, at once: it does not go with --follow.")
    most = lines if lines is not None else 100 if revision is None else 1000
    with session(settings, "logs") as opened:
        if revision is not None and not opened.rows("poll", ids=[revision]):
            raise no_such(f"there is no revision {revision}", "`workerpool items` lists what there is")
        found = opened.rows("log_tail", revision=revision, since=since, how_many=most)
        if as_json:
            write_json(found)
            return
        _show(found, revision)
        if follow:
            _follow(opened, revision, found)
        elif not found:
            click.echo("nothing was logged" + (f" in the last {since}" if since else ""), err=True)


def _show(found: list[Row], revision: int | None) -> None:
    for row in found:
        click.echo(log_line(row, with_revision=revision is None))


def _follow(opened: Session, revision: int | None, shown: list[Row]) -> None:
    if revision is None and not shown:
        shown = opened.rows("log_tail", revision=None, since=None, how_many=1)
    new = NewLines(opened, revision, shown)
    try:
        while True:
            # Looked at before the lines: what was written before the end is there by then.
            state = opened.rows("poll", ids=[revision]) if revision is not None else [{"status": ""}]
            _show(new.look(), revision)
            if not state or state[0]["status"] in TERMINAL:
                return
            time.sleep(LOOK)
    except KeyboardInterrupt:
        return
