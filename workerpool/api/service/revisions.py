"""What one asks of revisions: add, find, look at, cancel, retry, queue, edit, explain.

Owns: the sentence for each answer of a verb. Does not own: the verbs (``store.changing``).
Invariant: a request with a receipt adds its revisions once, however often and however parallel it arrives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from workerpool.api import holders
from workerpool.api.reasons import Facts, Reason, reason
from workerpool.api.service.refusals import KeyReused, NoSuchRevision, NotInThisState, NotValid
from workerpool.core.wording import safe
from workerpool.store import changing, enqueueing
from workerpool.store.changing import Answer, Filter
from workerpool.store.enqueueing import CannotEnqueue, Enqueued, NewRevision
from workerpool.store.session import Row, Session

__all__ = [
    "Answer", "Enqueued", "Filter", "NewRevision", "Receipt", "cancel", "cancel_all", "check", "edit", "enqueue",
    "explain", "find", "log", "queue", "queue_all", "retry", "retry_all", "sentence", "show", "state",
]  # fmt: skip

#: Answers of verbs that are no refusals.
DONE = {"cancelled", "asked", "retried", "appended", "queued", "edited"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request that counts once: whose, its key, and what it asked."""

    holder: str
    key: str
    body: bytes

    @property
    def digest(self) -> bytes:
        """Return what tells this request from another with the same key."""
        return hashlib.sha256(self.body).digest()


def enqueue(session: Session, new: Sequence[NewRevision], receipt: Receipt | None = None) -> list[Enqueued]:
    """Add revisions in this order, all or none, and return what became of each.

    With a *receipt* seen before: what became of them then, none of them inserted. Raises NotValid, KeyReused.
    """
    try:
        if receipt is None:
            return enqueueing.enqueue(session.connection, session.schema, new)
        with session.transaction():
            return _once(session, new, receipt)
    except CannotEnqueue as error:
        raise NotValid(
            str(error), problems=[{"field": p.field, "allowed": p.allowed} for p in error.problems]
        ) from None


def check(new: Sequence[NewRevision]) -> None:
    """Raise NotValid unless the queue could hold all of *new*."""
    wrong = [problem for each in new for problem in enqueueing.problems(each)]
    if wrong:
        raise NotValid("; ".join(map(str, wrong)))


def _once(session: Session, new: Sequence[NewRevision], receipt: Receipt) -> list[Enqueued]:
    about = {"holder": receipt.holder, "purpose": "enqueue", "key": receipt.key}
    if session.row("add_receipt", **about, digest=receipt.digest, revisions=[]) is None:
        known = session.row("receipt", **about)
        if known is None or known["digest"] != receipt.digest:
            raise KeyReused
        return [Enqueued(revision, False) for revision in known["revision_ids"]]
    done = enqueueing.enqueue(session.connection, session.schema, new)
    session.rows("fill_receipt", **about, revisions=[each.id for each in done])
    return done


def show(session: Session, revision: int) -> Row:
    """Return everything of a revision. Raises NoSuchRevision."""
    row = session.row("revision", id=revision)
    if row is None:
        raise NoSuchRevision(revision)
    return row


def state(session: Session, revision: int) -> Row | None:
    """Return how far a revision is, in short; None: there is none."""
    found = session.rows("poll", ids=[revision])
    return found[0] if found else None


def log(session: Session, revision: int | None, after: int | None, how_many: int) -> list[Row]:
    """Return lines of the execution log after the line *after*; None: the last ones. Raises NoSuchRevision."""
    if revision is not None and state(session, revision) is None:
        raise NoSuchRevision(revision)
    if after is None:
        return session.rows("log_tail", revision=revision, since=None, how_many=how_many)
    return session.rows("log_after", revision=revision, after=after, how_many=how_many)


def find(session: Session, wanted: Filter, how_many: int, before: int | None = None) -> tuple[list[Row], int | None]:
    """Return revisions that a filter means, the latest first, and the id below which the next page begins."""
    found = changing.matching(session, wanted, how_many + 1, before)
    return found[:how_many], found[how_many - 1]["id"] if len(found) > how_many else None


def count(session: Session, wanted: Filter) -> int:
    """Return how many revisions a filter means."""
    return changing.count(session, wanted)


def pages(session: Session, wanted: Filter) -> Iterator[list[int]]:
    """Yield the ids that a filter means, a page at a time, the latest first: to do something to all of them."""
    return changing.pages(session, wanted)


def cancel_all(session: Session, ids: Sequence[int], who: str, why: str = "") -> list[Answer]:
    """Do the same to several, and return what became of each, refusals too."""
    return changing.cancel(session, ids, who, why)


def retry_all(session: Session, ids: Sequence[int], who: str, *, append: bool = False) -> list[Answer]:
    """Do the same to several, and return what became of each, refusals too."""
    return changing.retry(session, ids, who, append=append)


def queue_all(session: Session, ids: Sequence[int], who: str) -> list[Answer]:
    """Do the same to several, and return what became of each, refusals too."""
    return changing.queue(session, ids, who)


def cancel(session: Session, revision: int, who: str, why: str = "") -> Answer:
    """End a revision that has not started, ask one that runs to stop. Raises NoSuchRevision, NotInThisState."""
    return _accepted(cancel_all(session, [revision], who, why)[0])


def retry(session: Session, revision: int, who: str, *, append: bool = False) -> Answer:
    """Let a failed or cancelled revision run again, or *append* a copy. Raises NoSuchRevision, NotInThisState."""
    return _accepted(retry_all(session, [revision], who, append=append)[0])


def queue(session: Session, revision: int, who: str) -> Answer:
    """Let a draft take part. Raises NoSuchRevision, NotInThisState."""
    return _accepted(queue_all(session, [revision], who)[0])


def edit(
    session: Session,
    revision: int,
    who: str,
    *,
    payload: Mapping[str, object] | None = None,
    priority: int | None = None,
    run_at: datetime | Literal["now"] | None = None,
) -> Answer:
    """Change what has not started; None: as it was. Raises NoSuchRevision, NotInThisState, NotValid."""
    return _accepted(try_edit(session, revision, who, payload=payload, priority=priority, run_at=run_at))


def try_edit(
    session: Session,
    revision: int,
    who: str,
    *,
    payload: Mapping[str, object] | None = None,
    priority: int | None = None,
    run_at: datetime | Literal["now"] | None = None,
) -> Answer:
    """Do the same, and return what became of it, a refusal too. Raises NotValid."""
    try:
        return changing.edit(session, revision, who, payload=payload, priority=priority, run_at=run_at)
    except CannotEnqueue as error:
        raise NotValid(str(error)) from None


def _accepted(answer: Answer) -> Answer:
    if answer.answer == "missing":
        raise NoSuchRevision(answer.id)
    if answer.answer not in DONE:
        raise NotInThisState(sentence(answer), id=answer.id, revisionStatus=answer.status, answer=answer.answer)
    return answer


def sentence(each: Answer, grace: str = "") -> str:
    """Return what became of a verb, for people; *grace* is how long one that was asked to stop may run on."""
    revision, item = f"revision {each.id} of {safe(each.item_key or '')}", safe(each.item_key or "")
    match each.answer:
        case "missing":
            return f"there is no revision {each.id}; `workerpool items` lists what there is"
        case "cancelled":
            return f"{revision} is cancelled"
        case "asked":
            return f"{revision} runs: it was asked to stop" + (
                f", and is killed if it runs on for {grace}" * bool(grace)
            )
        case "ended":
            return f"{revision} has ended: it is {each.status}"
        case "retried":
            return f"{revision} is pending again"
        case "appended":
            return f"revision {each.new_id} of {item} was added, a copy of {each.id}"
        case "has_successors":
            hint = f"`workerpool retry {each.id} --append` adds a copy at the end"
            return f"{revision} is not retried: later revisions of its item have run, its place is gone; {hint}"
        case "completed":
            return f"{revision} is completed; `workerpool retry {each.id} --append` does it once more, at the end"
        case "not_ended":
            return f"{revision} is {each.status}: it has not ended; `workerpool explain {each.id}` says why"
        case "not_a_draft":
            return f"{revision} is {each.status}, not a draft"
        case "started":
            return f"{revision} has started: it cannot be changed; `workerpool cancel {each.id}` stops it"
        case word:
            return f"{revision} is {word}, and {each.status}"


def explain(session: Session, revision: int, silence: timedelta) -> list[tuple[Facts, Reason]]:
    """Return why a revision is where it is, then why the one before it is, which it waits for, if it does.

    *silence*: a worker that was not seen for so long counts as gone. Raises NoSuchRevision.
    """
    found = session.rows("waiting", ids=[revision], silence=silence)
    if not found:
        raise NoSuchRevision(revision)
    before = found[0]["behind"] if found[0]["status"] == "pending" else None
    found += session.rows("waiting", ids=[before], silence=silence) if before is not None else []
    for facts in found:
        for pause in facts["pauses"] or ():
            pause["fate"] = holders.fate(pause["holder"])
    return [(facts, reason(facts)) for facts in found]
