"""What comes from outside in a form of its own: edits as the seed system writes them, and deliveries of webhooks.

Owns: that they are added all or none, and a delivery once. Does not own: the forms (``edits``, ``webhooks``).
Invariant: a delivery and its revisions are committed together; whoever repeats it, however parallel, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from workerpool.api.edits import ORIGINAL, Entry, originals
from workerpool.api.service.refusals import NotValid
from workerpool.store.enqueueing import CannotEnqueue, Enqueued, NewRevision, enqueue, keep_originals
from workerpool.store.session import Session


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook's delivery: from which source, and the name that the sender gave it."""

    source: str
    id: str


def add(session: Session, entries: Sequence[Entry]) -> tuple[list[Enqueued], int]:
    """Add the revisions of *entries* in one transaction; return what became of each, and how many originals
    were kept.
    """
    with session.transaction():
        kept = keep_originals(session.connection, session.schema, originals(entries))
        return enqueue(session.connection, session.schema, list(_revisions(entries, kept))), len(kept)


def _revisions(entries: Iterable[Entry], kept: set[str]) -> list[NewRevision]:
    """Return the revisions; the page that became an item's original is not kept in the payload a second time."""
    waiting, revisions = set(kept), []
    for entry in entries:
        new = entry.new
        if entry.html is not None and new.item in waiting and isinstance(new.payload, dict):
            waiting.discard(new.item)
            new = replace(new, payload={k: v for k, v in new.payload.items() if k != ORIGINAL})
        revisions.append(new)
    return revisions


def deliver(session: Session, delivery: Delivery, new: NewRevision | None) -> tuple[int | None, bool]:
    """Add the revision of a delivery (None: it asks for none); return its id, and whether it was new.

    Raises NotValid.
    """
    with session.transaction():
        if not _is_new(session, delivery):
            return known(session, delivery), False
        if new is None:
            return None, True
        try:
            (done,) = enqueue(session.connection, session.schema, [new])
        except CannotEnqueue as error:
            raise NotValid(str(error)) from None
        session.rows("fill_delivery", source=delivery.source, delivery=delivery.id, revision=done.id)
        return done.id, True


def deliver_edits(session: Session, delivery: Delivery | None, entries: Sequence[Entry]) -> tuple[list[int], bool]:
    """Add the edits of a delivery (None: it has no name, and counts each time).

    Returns the ids (of one that was seen before the first), and whether it was seen before.
    """
    with session.transaction():
        if delivery is not None and not _is_new(session, delivery):
            revision = known(session, delivery)
            return [revision] if revision is not None else [], True
        done, _ = add(session, entries)
        if delivery is not None and done:
            session.rows("fill_delivery", source=delivery.source, delivery=delivery.id, revision=done[0].id)
        return [each.id for each in done], False


def known(session: Session, delivery: Delivery) -> int | None:
    """Return the revision that a delivery became; None: none, or it is not known."""
    row = session.row("delivery", source=delivery.source, delivery=delivery.id)
    return row["revision_id"] if row is not None else None


def _is_new(session: Session, delivery: Delivery) -> bool:
    return session.row("add_delivery", source=delivery.source, delivery=delivery.id) is not None
