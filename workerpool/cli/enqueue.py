"""``workerpool enqueue``: one revision from the command line, and the wait for it.

Owns: how a payload is given by hand. Invariant: with ``--wait`` the exit code says what became of the revision: 0
completed, 1 failed or
cancelled, 75 not yet.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workerpool.cli.errors import EXIT_FAILED, EXIT_TIMED_OUT, Refused
from workerpool.cli.options import Duration, Instant, session, with_json, with_settings
from workerpool.cli.tables import write_json
from workerpool.cli.watching import states, watch
from workerpool.config import Settings
from workerpool.core.revision import TERMINAL
from workerpool.core.wording import length, safe, shorten

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session


@click.command()
@click.argument("item")
@click.option(
    "--payload", metavar="JSON|@FILE|-", help="The input, a JSON object; @FILE reads a file, - standard input."
)
@click.option("--handler", default="default", show_default=True, help="Which handler performs it.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher first, between items.")
@click.option("--run-at", type=Instant(), help="Not before: 2026-01-31T09:00, or +10m.")
@click.option("--dedupe-key", help="Add nothing where an unfinished revision of the item has this key.")
@click.option("--draft", is_flag=True, help="Add it as a draft, which does not run until it is queued.")
@click.option("--wait", is_flag=True, help="Wait until it has ended, and show how it goes.")
@click.option("--timeout", type=Duration(), help="With --wait: how long at most.")
@with_json
@with_settings
def enqueue(
    settings: Settings,
    as_json: bool,
    item: str,
    payload: str | None,
    wait: bool,
    timeout: timedelta | None,
    **given: Any,
) -> None:
    """Add a revision of ITEM."""
    from workerpool.store.changing import actor
    from workerpool.store.enqueueing import NewRevision
    from workerpool.store.enqueueing import enqueue as add

    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait.")
    if given["draft"] and wait:
        raise click.UsageError("A draft does not run: --draft does not go with --wait.")
    new = NewRevision(item, read_payload(payload), metadata={"actor": actor()}, **given)
    with session(settings, "enqueue") as opened:
        done = add(opened.connection, settings.db_schema, [new])[0]
        row = opened.rows("poll", ids=[done.id])[0]
        if not wait:
            _tell(row, done.inserted, new.run_at, as_json)
            return
        ended = _wait(settings, opened, row, done.inserted, timeout, as_json)
    sys.exit(0 if ended["status"] == "completed" else EXIT_FAILED)


def read_payload(text: str | None) -> dict[str, Any]:
    """Return the payload that *text* gives. Raises click.BadParameter with what is allowed."""
    if text is None:
        return {}
    where = "standard input" if text == "-" else text[1:] if text.startswith("@") else "the payload"
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8-sig")
        found = json.loads(text)
    except OSError as error:
        raise click.BadParameter(f"{where} cannot be read: {error.strerror}.", param_hint="--payload") from None
    except (ValueError, RecursionError) as error:
        said = f'{where} is not JSON ({error}). Allowed: an object such as \'{{"colour": "blue"}}\', @FILE, or -.'
        raise click.BadParameter(said, param_hint="--payload") from None
    if not isinstance(found, dict):
        said = f'{where} is {shorten(json.dumps(found), 40)}. Allowed: an object such as \'{{"colour": "blue"}}\'.'
        raise click.BadParameter(said, param_hint="--payload")
    return found


def _tell(row: Row, inserted: bool, run_at: datetime | None, as_json: bool) -> None:
    if as_json:
        write_json({"id": row["id"], "item_key": row["item_key"], "status": row["status"], "inserted": inserted})
        return
    what = f"revision {row['id']} of {safe(row['item_key'])}"
    if not inserted:
        click.echo(f"{what} is {row['status']} and has this dedupe key: nothing added")
    elif row["status"] == "scheduled" and run_at is not None:
        click.echo(f"{what} is scheduled for {run_at.astimezone():%Y-%m-%d %H:%M:%S}")
    else:
        click.echo(f"{what} is {row['status']}")


def _wait(
    settings: Settings, opened: Session, row: Row, inserted: bool, timeout: timedelta | None, as_json: bool
) -> Row:
    revision = row["id"]
    pool = opened.row("pool", silence=settings.lease)
    if pool is not None and not pool["workers_alive"]:
        click.echo("workerpool: no worker is alive yet; `workerpool start` starts some", err=True)
    try:
        if as_json:
            state = list(states(opened, revision, timeout))[-1]
            ended = state if state["status"] in TERMINAL else None
        else:
            ended = watch(opened, revision, timeout)
    except KeyboardInterrupt:
        raise Refused(f"not waiting any longer; revision {revision} stays in the queue", 130) from None
    whole = opened.row("revision", id=revision)
    if whole is None:
        raise Refused(f"revision {revision} was deleted while it was waited for", EXIT_FAILED)
    if as_json:
        write_json({**whole, "inserted": inserted})
    if ended is None:
        hint = f"it stays in the queue; `workerpool explain {revision}` says why it has not ended"
        raise Refused(
            f"revision {revision} is {whole['status']} after {length(_seconds(timeout))}", EXIT_TIMED_OUT, hint
        )
    if not as_json:
        _tell_end(whole)
    return whole


def _seconds(timeout: timedelta | None) -> float:
    return timeout.total_seconds() if timeout is not None else 0.0


def _tell_end(row: Row) -> None:
    if row["status"] == "completed":
        click.echo(
            f"revision {row['id']} completed in {length(row['actual_duration'])}, as number {row['revision_number']}"
        )
        click.echo(f"`workerpool show {row['id']}` shows its result")
        return
    click.echo(
        f"revision {row['id']} {row['status']} ({row['error_kind']}): {safe(row['error_message'] or '')}", err=True
    )
