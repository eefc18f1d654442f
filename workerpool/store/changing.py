"""What operators do to revisions and items: cancel, retry, queue, edit, halt, unhalt, revert, purge.

Owns: who asks, batches, and which revisions a filter means. Does not own: what a verb does (functions of the database)
or how it is told. Invariant: at most 128 items are locked by one transaction (R5); each call of a verb is committed
when it returns, unless the caller has opened a transaction.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from workerpool.store.enqueueing import CannotEnqueue, NewRevision, enqueue, problems
from workerpool.store.session import Row, Session

#: How many revisions one transaction may change: each may be of another item (R5).
BATCH = 128
#: With which end a continuation is enqueued.
FiresOn = Literal["completed", "failed", "cancelled", "any"]
FIRES_ON: tuple[FiresOn, ...] = ("completed", "failed", "cancelled", "any")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a verb for one revision.

    *answer* is a word of the verb's; *status* (None: there is no such revision) and *item_key* are as of just after
    it; *new_id* is the copy that a retry appended.
    """

    id: int
    answer: str
    status: str | None = None
    item_key: str | None = None
    new_id: int | None = None


@dataclass(frozen=True, slots=True)
class Continuation:
    """What is to follow a revision; *enqueued_id* is the revision that it became already, where the other had ended."""

    id: int
    enqueued_id: int | None


class CannotRevert(ValueError):
    """A number of an item's history that is not there (any more)."""

    def __init__(self, item: str, to: int, latest: int, *, known: bool) -> None:
        self.item, self.to, self.latest, self.known = item, to, latest, known
        if not known:
            why = "nothing is known of this item"
        elif to > latest:
            why = f"its history goes to {latest}"
        elif to == 0:
            why = "it has no original"
        else:
            why = "it was pruned"
        super().__init__(f"{item} cannot be reverted to {to}: {why}")

    @property
    def pruned(self) -> bool:
        """Tell whether the number was there once."""
        return self.known and self.to <= self.latest


@dataclass(frozen=True, slots=True)
class Filter:
    """Which revisions are meant; None: any.

    *items* may hold ``*`` for any characters; *error* is a part of the message;
    *older* and *newer* are measured from the end of what has ended, else from its insertion.
    """

    statuses: tuple[str, ...]
    items: tuple[str, ...] | None = None
    handlers: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    error: str | None = None
    older: timedelta | None = None
    newer: timedelta | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of `matching.sql`."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return listed | {"items": [_like(pattern) for pattern in self.items] if self.items is not None else None}


def _like(pattern: str) -> str:
    plain = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%")


def actor() -> str:
    """Return who asks, for the record: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def cancel(session: Session, ids: Sequence[int], who: str, why: str = "") -> list[Answer]:
    """End what has not started ('cancelled') and ask what runs ('asked'); also 'ended' (it was over) and 'missing'."""
    return [each for batch in _batches(ids) for each in _told(session, "cancel", batch, who=who, why=why)]


def retry(session: Session, ids: Sequence[int], who: str, *, append: bool = False) -> list[Answer]:
    """Let what failed or was cancelled run again, in its place, or as a copy at the end of its item.

    Answers 'retried', 'appended', 'has_successors' (later ones of the item have run), 'completed', 'not_ended',
    'missing'. Of several of one item give the later ones first, or all of them at once.
    """
    latest_first = _batches(sorted(ids, reverse=not append))
    told = [each for batch in latest_first for each in _told(session, "retry", batch, who=who, append=append)]
    return sorted(told, key=lambda each: ids.index(each.id))


def queue(session: Session, ids: Sequence[int], who: str) -> list[Answer]:
    """Let drafts take part from now on: 'queued', 'not_a_draft', 'missing'."""
    return [each for batch in _batches(ids) for each in _told(session, "queue_drafts", batch, who=who)]


def edit(
    session: Session,
    revision: int,
    who: str,
    *,
    payload: Mapping[str, object] | None = None,
    priority: int | None = None,
    run_at: datetime | Literal["now"] | None = None,
) -> Answer:
    """Change what has not started; None: as it was. Answers 'edited', 'started', 'ended', 'missing'.

    Raises CannotEnqueue where a value is not what the queue can hold.
    """
    new = NewRevision("-", dict(payload or {}), priority=priority if priority is not None else 0)
    if wrong := list(problems(new)):
        raise CannotEnqueue(wrong)
    row = session.row(
        "edit",
        id=revision,
        who=who,
        payload=json.dumps(payload, ensure_ascii=False) if payload is not None else None,
        priority=priority,
        run_at=run_at.isoformat() if isinstance(run_at, datetime) else run_at,
    )
    assert row is not None, "edit answers one row"
    return _with_rows(session, [{"id": revision, **row}])[0]


def halt(session: Session, item: str, reason: str, who: str) -> bool:
    """Start nothing of an item until it is unhalted; False: it was halted already."""
    return _done(session.row("halt", item=item, reason=reason, who=who))


def unhalt(session: Session, item: str, who: str) -> bool:
    """Let an item go on, past what failed; False: it was not halted."""
    return _done(session.row("unhalt", item=item, who=who))


def purge(session: Session, item: str, who: str) -> int:
    """Delete everything of an item and return how many revisions that was; -1: none, because one is processing."""
    row = session.row("purge", item=item, who=who)
    assert row is not None, "purge answers one row"
    return int(row["deleted"])


def revert(session: Session, item: str, to: int, who: str) -> int:
    """Enqueue a revision of *item* whose result will be that of its number *to* (0: the original); return its id.

    It comes after whatever is queued. Raises CannotRevert.
    """
    row = session.row("numbered", item=item, number=to)
    assert row is not None, "numbered answers one row"
    if not row["found"]:
        raise CannotRevert(item, to, row["latest"], known=row["known"])
    new = NewRevision(item, {"to": to}, "revert", metadata={"actor": who})
    return enqueue(session.connection, session.schema, [new])[0].id


def _done(row: Row | None) -> bool:
    return row is not None and bool(row["done"])


def follow(session: Session, revision: int, new: NewRevision, on: FiresOn) -> Continuation | None:
    """Enqueue *new* (its item, handler and payload) when a revision ends as *on* says; at once if it has.

    None: there is no such revision. Raises CannotEnqueue.
    """
    if wrong := list(problems(new)):
        raise CannotEnqueue(wrong)
    payload = json.dumps(new.payload, ensure_ascii=False)
    with session.transaction():
        added = session.row("follow", id=revision, fires_on=on, item=new.item, handler=new.handler, payload=payload)
        if added is None:
            return None
        if added["ended"]:
            session.row("fire", id=revision)
        row = session.row("followed", id=added["id"])
    return Continuation(added["id"], row["enqueued_id"] if row is not None else None)


def matching(session: Session, wanted: Filter, how_many: int, before: int | None = None) -> list[Row]:
    """Return the revisions that a filter means, the latest first, at most *how_many* with an id below *before*."""
    return session.rows("matching", **wanted.parameters(), before=before, how_many=how_many)


def count(session: Session, wanted: Filter) -> int:
    """Return how many revisions a filter means."""
    return sum(row["revisions"] for row in session.rows("matching_count", **wanted.parameters()))


def pages(session: Session, wanted: Filter) -> Iterator[list[int]]:
    """Yield the ids that a filter means, 128 at most in a page, the latest first.

    So a cancel starts nothing that it is about to end, and a retry finds later failures of an item retried already.
    """
    before = None
    while found := [row["id"] for row in matching(session, wanted, BATCH, before)]:
        yield found
        before = found[-1]


def _batches(ids: Sequence[int]) -> Iterator[list[int]]:
    once = list(dict.fromkeys(ids))
    for start in range(0, len(once), BATCH):
        yield once[start : start + BATCH]


def _told(session: Session, verb: str, ids: list[int], **parameters: Any) -> list[Answer]:
    return _with_rows(session, session.rows(verb, ids=ids, **parameters))


def _with_rows(session: Session, told: list[Row]) -> list[Answer]:
    """Return answers with the items of their revisions, and with their statuses where the verb does not tell."""
    there = {row["id"]: row for row in session.rows("poll", ids=[each["id"] for each in told])}
    answers = []
    for each in told:
        row = there.get(each["id"], {"status": None, "item_key": None})
        status = each.get("status") or row["status"]
        answers.append(Answer(each["id"], each["answer"], status, row["item_key"], each.get("new_id")))
    return answers
