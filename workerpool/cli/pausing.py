"""``pause``, ``resume`` and ``events``: the pause as operators use it.

Owns: what is said of a pause. Does not own: what it forbids (the functions of the schema), or when it is safe
(``store.pausing``). Invariant: nobody takes away another's pause without naming it, or all.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import click

from workerpool.api import holders
from workerpool.api.service import pool
from workerpool.cli import draining
from workerpool.cli.errors import EXIT_REFUSED, Refused
from workerpool.cli.options import Duration, Instant, Verb, session, with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.cli.watching import LOOK, OVERLAP
from workerpool.config import Settings
from workerpool.core.wording import counted, printable, safe

if TYPE_CHECKING:
    from workerpool.store.pausing import Safety
    from workerpool.store.session import Row, Session

EXIT_INTERRUPTED = 130
CONTROLS = ("pool", "revision", "item", "provider", "agent")
NO_REASON = "A pause needs a reason, which everybody who waits for it will read: --reason TEXT."


def with_scope(verb: Verb) -> Verb:
    """Give a verb `--handler` and `--host`: what is meant is one of them, not everything."""
    verb = click.option("--host", metavar="NAME", help="Only one host, as `workerpool workers` names it.")(verb)
    return click.option("--handler", metavar="NAME", help="Only revisions of one handler.")(verb)


def scope_of(handler: str | None, host: str | None) -> str | None:
    """Return the scope that the flags name; None: they name none."""
    if handler is not None and host is not None:
        raise click.UsageError("--handler and --host exclude each other: pause one, then the other.")
    if handler == "" or host == "":
        raise click.UsageError("--handler and --host want a name.")
    return f"handler:{handler}" if handler is not None else f"host:{host}" if host is not None else None


@click.command()
@click.option(
    "--mode",
    type=click.Choice(["drain", "quiesce"]),
    default="drain",
    show_default=True,
    help="What runs ends first; or is held at its next checkpoint.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; people will read it. Wanted.")
@with_scope
@click.option("--until", type=Instant(), help="Resumes by itself then: 2026-01-31T09:00, or +10m.")
@click.option("--wait", is_flag=True, help="Wait until it is safe: nothing runs, and every worker knows.")
@click.option("--timeout", type=Duration(), help="With --wait: how long at most.")
@with_json
@with_settings
def pause(
    settings: Settings,
    as_json: bool,
    mode: Literal["drain", "quiesce"],
    reason: str,
    handler: str | None,
    host: str | None,
    until: datetime | None,
    wait: bool,
    timeout: timedelta | None,
) -> None:
    """Start nothing more, on any host, until `workerpool resume`; what runs ends, or is held at a checkpoint.

    Pausing again changes one's mode, reason or end. Others' pauses are in force beside it.
    """
    from workerpool.store.changing import actor

    if not reason.strip():
        raise click.UsageError(NO_REASON)
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait.")
    if until is not None and until <= datetime.now().astimezone():
        raise click.UsageError(f"--until {printable(until)} is over already.")
    scope, who = scope_of(handler, host) or "all", actor()
    with session(settings, "pause") as opened:
        before = pool.system(opened)["version"]
        version = pool.pause(opened, mode, reason, who, scope=scope, until=until)
        mine = [each for each in pool.pauses(opened) if each["holder"] == who and each["scope"] == scope]
        found = pool.safe_state(opened, scope)
        if not as_json:
            was = " (as it was)" if version == before else ""
            for each in mine:
                click.echo(f"paused{was}: {holders.sentence(each)}; version {version}")
        if wait:
            hint = f"it stays paused; `{holders.lifting(mine)}` lets the pool go on" if mine else ""
            try:
                found = draining.wait(opened, timeout, hint, scope=scope, quiet_stdout=as_json)
            except KeyboardInterrupt:
                raise Refused("not waiting any longer", EXIT_INTERRUPTED, hint) from None
    if as_json:
        write_json({"version": version, "scope": scope, "mode": mode, **figures(found)})
    elif not wait:
        click.echo(draining.describe(found))


def figures(safety: Safety) -> dict[str, object]:
    """Return what is seen of a pause, for programs."""
    return {
        "is_safe": safety.is_safe,
        "running": len(safety.running),
        "held": len(safety.held),
        "lost": len(safety.lost),
        "active_tokens": len(safety.tokens),
        "unaware": [each["id"] for each in safety.unaware],
        "obstacles": safety.obstacles(),
    }


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the events.")
@click.option("--all", "everybody", is_flag=True, help="Others' pauses too.")
@click.option("--holder", metavar="NAME", help="The pauses of this holder, as `workerpool status` names it.")
@with_scope
@with_json
@with_settings
def resume(
    settings: Settings,
    as_json: bool,
    reason: str,
    everybody: bool,
    holder: str | None,
    handler: str | None,
    host: str | None,
) -> None:
    """Take one's own pauses away; the pool goes on when nobody else's is left."""
    from workerpool.store.changing import actor

    if everybody and holder is not None:
        raise click.UsageError("--all and --holder exclude each other.")
    scope = scope_of(handler, host)
    with session(settings, "resume") as opened:
        lifted, left = pool.lift(opened, reason, actor(), scope=scope, holder=holder, everybody=everybody)
    if as_json:
        write_json({"lifted": lifted, "paused": any(each["scope"] == "all" for each in left), "pauses": left})
    if not lifted:
        raise _not_lifted(left, scope, holder)
    if as_json:
        return
    click.echo(f"{counted(lifted, 'pause')} taken away; " + ("still paused:" if left else "the pool goes on"))
    for each in left:
        click.echo(f"  {holders.sentence(each)}")
    if left:
        click.echo(f"  `{holders.lifting(left)}` takes {'them' if len(left) > 1 else 'it'} away too")


def _not_lifted(left: list[Row], scope: str | None, holder: str | None) -> Refused:
    if not left:
        return Refused("nothing is paused", EXIT_REFUSED)
    what = f"there is no pause of {safe(holder)}" if holder else "there is no pause of yours"
    lines = "".join(f"\n  {holders.sentence(each)}{'; ' + each['fate'] if each['fate'] else ''}" for each in left)
    return Refused(
        f"{what}{' for ' + safe(scope) if scope else ''}; in force:{lines}",
        EXIT_REFUSED,
        f"`{holders.lifting(left)}` takes {'them' if len(left) > 1 else 'it'} away",
    )


@click.command()
@click.option("--control", type=click.Choice(CONTROLS), help="Only what was done to these.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The latest so many.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is done.")
@with_json
@with_settings
def events(settings: Settings, as_json: bool, control: str | None, limit: int, follow: bool) -> None:
    """Show what operators did: who, what, why, when."""
    if as_json and follow:
        raise click.UsageError("--json writes one array, at once: it does not go with --follow.")
    with session(settings, "events") as opened:
        found = opened.rows("events", control=control, after=None, how_many=limit)
        if as_json:
            write_json(found)
        elif not follow:
            columns = ("when", "who", "did", "to", "mode", "why")
            rows = [(r["created_at"], r["actor"], r["action"], _target(r), r["mode"], r["reason"]) for r in found]
            write_table(columns, rows, "nobody did anything yet")
        else:
            for each in found:
                click.echo(_line(each))
            _follow(opened, control, found)


def _target(event: Row) -> str:
    if event["control"] == "pool":
        return "the pool" if event["target"] in (None, "all") else str(event["target"])
    return f"{event['control']} {event['target'] or ''}".rstrip()


def _line(event: Row) -> str:
    mode = f" ({event['mode']})" if event["mode"] else ""
    why = f": {safe(event['reason'])}" if event["reason"] else ""
    when = printable(event["created_at"])
    return f"{when}  {safe(event['actor'])}  {safe(event['action'])} {safe(_target(event))}{mode}{why}"


def _follow(opened: Session, control: str | None, shown: list[Row]) -> None:
    """Show what is new, each once: an id is given before its commit, and may come late."""
    latest = shown or opened.rows("events", control=None, after=None, how_many=1)
    newest = max((each["id"] for each in latest), default=0)
    seen = {each["id"] for each in shown}
    first = min(seen, default=newest + 1)
    try:
        while True:
            after = max(first - 1, newest - OVERLAP)
            for each in opened.rows("events", control=control, after=after, how_many=10_000):
                if each["id"] not in seen:
                    click.echo(_line(each))
                    seen.add(each["id"])
                    newest = max(newest, each["id"])
            time.sleep(LOOK)
    except KeyboardInterrupt:
        return
