"""``cancel``, ``retry``, ``queue`` and ``edit``: what people do to revisions.

Owns: what they are told of it. Does not own: what a verb does (the functions of the schema, ``store.changing``).
Invariant: whatever is refused is told with the reason, and with the command that would do.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import click

from workerpool.api.service import revisions as service
from workerpool.api.service.revisions import DONE, sentence
from workerpool.cli import filters
from workerpool.cli.enqueue import read_payload
from workerpool.cli.errors import EXIT_NO_SUCH, EXIT_REFUSED, EXIT_TIMED_OUT
from workerpool.cli.options import Duration, InstantOrNow, RevisionId, session, with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.cli.watching import states
from workerpool.config import Settings
from workerpool.core.durations import format_duration
from workerpool.core.wording import counted, length, safe, shorten

if TYPE_CHECKING:
    from workerpool.store.changing import Answer, Filter
    from workerpool.store.session import Session

#: How many of those that a filter means are shown.
SHOWN = 20
OPEN = ("draft", "scheduled", "pending", "processing")
RETRIABLE = ("failed", "cancelled")
Do = Callable[["Session", list[int]], "list[Answer]"]


@click.command()
@filters.with_filter
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the log.")
@click.option("--wait", is_flag=True, help="Wait until what runs has ended, and say how.")
@click.option("--timeout", type=Duration(), help="With --wait: how long at most.")
@with_json
@with_settings
def cancel(
    settings: Settings,
    as_json: bool,
    revisions: tuple[int, ...],
    where: tuple[str, ...],
    yes: bool,
    reason: str,
    wait: bool,
    timeout: timedelta | None,
) -> None:
    """Cancel revisions: what has not started ends at once, what runs is asked to stop.

    What runs on after WORKERPOOL_CANCEL_GRACE is killed. A revision that completes all the same has won.
    """
    from workerpool.store.changing import actor

    filters.check(revisions, where, yes=yes)
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait.")
    who, grace = actor(), format_duration(settings.cancel_grace)

    def do(opened: Session, ids: list[int]) -> list[Answer]:
        return service.cancel_all(opened, ids, who, reason)

    with session(settings, "cancel") as opened:
        if where:
            _do_matching(opened, "cancel", filters.read(where, OPEN, OPEN), do, yes=yes, as_json=as_json)
            return
        told = do(opened, list(revisions))
        if wait:
            told = _ends(opened, told, timeout)
    _tell(told, as_json, grace)
    if wait and any(each.answer == "asked" for each in told):
        sys.exit(EXIT_TIMED_OUT)


def _ends(opened: Session, told: list[Answer], timeout: timedelta | None) -> list[Answer]:
    """Wait for what was asked, and return how it ended: a cancellation or, where it was too late, another end."""
    ended = []
    for each in told:
        if each.answer == "asked":
            status = list(states(opened, each.id, timeout))[-1]["status"]
            answer = "asked" if status in OPEN else "cancelled" if status == "cancelled" else "ended"
            ended.append(replace(each, status=status, answer=answer))
        else:
            ended.append(each)
    return ended


@click.command()
@filters.with_filter
@click.option("--append", is_flag=True, help="Add a copy at the end of the item instead.")
@with_json
@with_settings
def retry(
    settings: Settings, as_json: bool, revisions: tuple[int, ...], where: tuple[str, ...], yes: bool, append: bool
) -> None:
    """Run failed or cancelled revisions again, in their places, before what waits behind them.

    One whose successors have run has no place any more: --append adds a copy at the end of its item.
    """
    from workerpool.store.changing import actor

    filters.check(revisions, where, yes=yes)
    who = actor()

    def do(opened: Session, ids: list[int]) -> list[Answer]:
        return service.retry_all(opened, ids, who, append=append)

    with session(settings, "retry") as opened:
        if where:
            wanted = filters.read(where, RETRIABLE, ("failed",))
            _do_matching(opened, "retry", wanted, do, yes=yes, as_json=as_json)
            return
        told = do(opened, list(revisions))
    _tell(told, as_json)


@click.command()
@click.argument("revisions", metavar="ID...", type=RevisionId(), nargs=-1, required=True)
@with_json
@with_settings
def queue(settings: Settings, as_json: bool, revisions: tuple[int, ...]) -> None:
    """Queue drafts: from now on they take part, each at its place among its item's."""
    from workerpool.store.changing import actor

    with session(settings, "queue") as opened:
        told = service.queue_all(opened, revisions, actor())
    _tell(told, as_json)


@click.command()
@click.argument("revision", metavar="ID", type=RevisionId())
@click.option("--payload", metavar="JSON|@FILE|-", help="The new input, as a whole.")
@click.option("--priority", type=int, help="Higher first, between items.")
@click.option("--run-at", type=InstantOrNow(), help="Not before: 2026-01-31T09:00, +10m, or now.")
@with_json
@with_settings
def edit(
    settings: Settings,
    as_json: bool,
    revision: int,
    payload: str | None,
    priority: int | None,
    run_at: datetime | Literal["now"] | None,
) -> None:
    """Change the revision ID, which must not have started; what is not named stays as it is."""
    from workerpool.store.changing import actor

    if payload is None and priority is None and run_at is None:
        raise click.UsageError("Nothing to change: --payload, --priority or --run-at is wanted.")
    document = read_payload(payload) if payload is not None else None
    with session(settings, "edit") as opened:
        told = service.try_edit(opened, revision, actor(), payload=document, priority=priority, run_at=run_at)
    _tell([told], as_json)


def _do_matching(opened: Session, verb: str, wanted: Filter, do: Do, *, yes: bool, as_json: bool) -> None:
    """Do to all that a filter means, a page at a time; without *yes* only say which they are."""

    opened.patience(60)
    if not yes:
        _preview(opened, verb, wanted, as_json)
        return
    tally: Counter[str] = Counter()
    refused: list[Answer] = []
    for page in service.pages(opened, wanted):
        told = do(opened, page)
        tally.update(each.answer for each in told)
        refused += [each for each in told if each.answer not in DONE][: SHOWN - len(refused)]
    if as_json:
        write_json({"answers": dict(tally), "refused": [asdict(each) for each in refused]})
        return
    click.echo(", ".join(f"{count} {_word(answer)}" for answer, count in tally.most_common()) or "nothing matches")
    for each in refused:
        click.echo(f"  {sentence(each)}", err=True)


def _preview(opened: Session, verb: str, wanted: Filter, as_json: bool) -> None:

    count, (found, _) = service.count(opened, wanted), service.find(opened, wanted, SHOWN)
    if as_json:
        write_json({f"would_{verb}": count, "first": found})
        return
    rows = [
        (
            row["id"], row["item_key"], row["handler"], row["status"], f"{length(row['age'])} ago",
            shorten(safe(row["error_message"] or ""), 60),
        )
        for row in found
    ]  # fmt: skip
    write_table(("id", "item", "handler", "status", "since", "error"), rows, "nothing matches; nothing was done")
    if count:
        more = f" (the first {SHOWN} are shown)" if count > SHOWN else ""
        click.echo(f"{verb} would concern {counted(count, 'revision')}{more}; nothing was done, --yes does it")


def _word(answer: str) -> str:
    words = {
        "asked": "asked to stop",
        "has_successors": "refused, later ones of their items have run",
        "retried": "pending again",
        "appended": "added at the end of their items",
        "ended": "had ended",
        "not_ended": "have not ended",
    }
    return words.get(answer, answer)


def _tell(told: Iterable[Answer], as_json: bool, grace: str = "") -> None:
    """Say what became of each, and leave with the exit code of the worst."""
    told = list(told)
    if as_json:
        write_json([asdict(each) for each in told])
    for each in told:
        if not as_json or each.answer not in DONE:
            click.echo(sentence(each, grace), err=each.answer not in DONE)
    answers = {each.answer for each in told}
    if not answers <= DONE:
        sys.exit(EXIT_NO_SUCH if "missing" in answers else EXIT_REFUSED)
