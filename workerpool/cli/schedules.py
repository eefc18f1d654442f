"""``workerpool schedule``: revisions that are enqueued again and again.

Owns: how schedules look. Does not own: them (``store.schedules``), or when they are due (``core.cron``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from workerpool.cli.enqueue import read_payload
from workerpool.cli.errors import EXIT_REFUSED, Refused, no_such
from workerpool.cli.options import session, with_json, with_settings
from workerpool.cli.tables import write_facts, write_json, write_table
from workerpool.config import Settings
from workerpool.core.wording import printable, safe

if TYPE_CHECKING:
    from workerpool.store.session import Row

UPCOMING = 5
NO_SCHEDULE = "`workerpool schedule list` shows what there is"


@click.group()
def schedule() -> None:
    """Enqueue revisions at recurring times: add, list, show, remove."""


@schedule.command()
@click.argument("name")
@click.argument("item")
@click.option("--cron", required=True, metavar="TEXT", help="When, such as '30 4 * * mon-fri' or @daily.")
@click.option("--timezone", default="UTC", show_default=True, metavar="NAME", help="Where, such as Europe/Berlin.")
@click.option("--handler", default="default", show_default=True, help="Which handler performs it.")
@click.option("--payload", metavar="JSON|@FILE|-", help="The input, a JSON object.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher first, between items.")
@click.option(
    "--missed",
    type=click.Choice(["skip", "once", "all"]),
    default="once",
    show_default=True,
    help="Of the times at which no pool ran: none, the latest, or each is made up for.",
)
@click.option("--replace", is_flag=True, help="Take the place of the schedule with that name.")
@with_json
@with_settings
def add(settings: Settings, as_json: bool, replace: bool, payload: str | None, **given: Any) -> None:
    """Enqueue a revision of ITEM whenever --cron says so; NAME is the schedule's."""
    from workerpool.core import cron
    from workerpool.store import schedules

    new = schedules.NewSchedule(payload=read_payload(payload), **given)
    with session(settings, "schedule") as opened:
        try:
            first = schedules.add(opened, new, replace=replace)
        except schedules.ScheduleExists as error:
            raise Refused(safe(str(error)), EXIT_REFUSED, "--replace puts this one in its place") from None
        except (cron.BadCron, cron.BadTimezone) as error:
            name = "--cron" if isinstance(error, cron.BadCron) else "--timezone"
            raise click.BadParameter(safe(str(error)), param_hint=name) from None
    when = cron.parse(new.cron, new.timezone)
    if as_json:
        write_json({"name": new.name, "next_run": first})
        return
    click.echo(f"schedule {safe(new.name)}: {when} ({new.timezone}), first {_local(first, when)}")


def _local(instant: datetime, when: Any) -> str:
    return str(instant.astimezone(when.zone).strftime("%Y-%m-%d %H:%M:%S %Z"))


@schedule.command(name="list")
@with_json
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List the schedules, with when each is due next."""
    from workerpool.store import schedules

    with session(settings, "schedule") as opened:
        found = schedules.found(opened)
    if as_json:
        write_json(found)
        return
    columns = ("name", "cron", "timezone", "item", "handler", "missed", "next", "last")
    rows = [
        (r["name"], r["cron"], r["timezone"], r["item_key"], r["handler"], r["missed"], r["next_run"], r["last_run"])
        for r in found
    ]
    write_table(columns, rows, "no schedules; `workerpool schedule add` makes one")


@schedule.command()
@click.argument("name")
@with_json
@with_settings
def show(settings: Settings, as_json: bool, name: str) -> None:
    """Show the schedule NAME and its next runs."""
    from workerpool.core import cron
    from workerpool.store import schedules

    with session(settings, "schedule") as opened:
        found = schedules.found(opened, name)
    if not found:
        raise no_such(f"there is no schedule {safe(name)}", NO_SCHEDULE)
    try:
        when = cron.parse(found[0]["cron"], found[0]["timezone"])
    except (cron.BadCron, cron.BadTimezone) as error:  # written by SQL
        raise Refused(f"schedule {safe(name)} is broken: {safe(str(error))}", hint=NO_SCHEDULE) from None
    upcoming = when.upcoming(datetime.now(UTC), UPCOMING)
    if as_json:
        write_json({**found[0], "meaning": str(when), "upcoming": upcoming})
        return
    _write(found[0], str(when), [_local(each, when) for each in upcoming])


def _write(row: Row, meaning: str, upcoming: list[str]) -> None:
    facts = [(name.replace("_", " "), printable(value)) for name, value in row.items() if value is not None]
    write_facts([*facts, ("meaning", meaning), *(("upcoming", each) for each in upcoming)])


@schedule.command()
@click.argument("name")
@with_settings
def remove(settings: Settings, name: str) -> None:
    """Forget the schedule NAME; what it enqueued stays."""
    from workerpool.store import schedules

    with session(settings, "schedule") as opened:
        if not schedules.remove(opened, name):
            raise no_such(f"there is no schedule {safe(name)}", NO_SCHEDULE)
    click.echo(f"schedule {safe(name)} is removed")
