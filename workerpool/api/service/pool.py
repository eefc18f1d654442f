"""What one asks of the pool: its workers, its queue, its pause, what operators did.

Does not own: the pause (``store.pausing``). Invariant: a change that names a version is made on that version or not at
all.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from workerpool.api import holders
from workerpool.api.service.refusals import NotInThisState, NotValid, VersionChanged
from workerpool.store import pausing
from workerpool.store.pausing import Mode, Safety
from workerpool.store.session import Row, Session

__all__ = [
    "PauseState", "Safety", "events", "lift", "look", "note", "pause", "pause_state", "pauses", "queue", "resume",
    "safe_state", "system", "wake", "workers",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PauseState:
    """The pause as one moment showed it: its state, who asked for it, its figures, and what was done lately."""

    state: Row
    asked: list[Row]
    metrics: Row
    events: list[Row]


def pause_state(session: Session, how_many_events: int = 10) -> PauseState:
    """Return the pause."""
    with session.snapshot():
        return PauseState(
            system(session),
            pauses(session),
            pausing.metrics(session),
            session.rows("events", control="pool", after=None, how_many=how_many_events),
        )


def pauses(session: Session) -> list[Row]:
    """Return who asked for which pauses, each with the fate of its holder."""
    return [each | {"fate": holders.fate(each["holder"])} for each in pausing.pauses(session)]


def look(session: Session, silence: timedelta) -> Row:
    """Return what people watch, in one look whose cost does not grow with the queue: see `watch.sql`."""
    row = session.row("watch", silence=silence)
    assert row is not None, "watch answers one row"
    return row


def system(session: Session) -> Row:
    """Return what every answer to a worker says of the pause: paused, mode, reason, version, when it changed."""
    row = session.row("system")
    assert row is not None, "system answers one row"
    return row


def pause(
    session: Session,
    mode: Mode,
    why: str,
    who: str,
    *,
    scope: str = "all",
    until: datetime | None = None,
    version: int | None = None,
    holder: str | None = None,
) -> int:
    """Pause, and return the version in force; *version*: only if it is still that. Raises VersionChanged, NotValid."""
    try:
        with session.transaction() if version is not None else nullcontext():
            _only_at(session, version)
            return pausing.pause(session, mode, why, who, scope=scope, until=until, holder=holder)
    except pausing.BadPause as error:
        raise NotValid(str(error), field=error.field) from None


def resume(
    session: Session,
    why: str,
    who: str,
    *,
    scope: str | None = None,
    version: int | None = None,
    holder: str | None = None,
    everybody: bool = False,
) -> int:
    """Take away the pauses of *who*, of *holder*, or of *everybody*; return how many there were.

    *version*: only if it is still that. Raises VersionChanged, NotInThisState (others' pauses are in force).
    """
    with session.transaction() if version is not None else nullcontext():
        _only_at(session, version)
        lifted, left = lift(session, why, who, scope=scope, holder=holder, everybody=everybody)
    if not lifted and left:
        told = "; ".join(holders.sentence(each) for each in left)
        raise NotInThisState(f"there is no such pause; in force: {told}", holders=[each["holder"] for each in left])
    return lifted


def lift(
    session: Session,
    why: str,
    who: str,
    *,
    scope: str | None = None,
    holder: str | None = None,
    everybody: bool = False,
) -> tuple[int, list[Row]]:
    """Do the same, and return how many there were, be it none, and the pauses that are left."""
    lifted = pausing.resume(session, who, why, holder=None if everybody else holder or who, scope=scope)
    return lifted, pauses(session)


def _only_at(session: Session, version: int | None) -> None:
    if version is not None:
        session.rows("take_pause")
        found = system(session)["version"]  # in a new statement: newer than the lock
        if found != version:
            raise VersionChanged(version, found)


def safe_state(session: Session, scope: str = "all") -> Safety:
    """Return whether it is safe, and what keeps it from being so."""
    return pausing.look(session).within(scope)


def workers(session: Session, silence: timedelta, *, gone: bool = False) -> list[Row]:
    """Return the worker processes of every host; one that was not seen for *silence* is silent."""
    return session.rows("worker_list", silence=silence, gone=gone)


def queue(session: Session) -> list[Row]:
    """Return how many revisions there are by status and handler, and the oldest of each."""
    return session.rows("queue_counts")


def events(session: Session, control: str | None, after: int | None, how_many: int) -> list[Row]:
    """Return what operators did: after the event *after*, else the latest."""
    return session.rows("events", control=control, after=after, how_many=how_many)


def note(session: Session, control: str, action: str, why: str, who: str, target: str) -> None:
    """Record why something was done, where the verb itself does not take a reason."""
    session.rows("add_event", control=control, action=action, reason=why, who=who, target=target)


def wake(session: Session) -> None:
    """Wake idle workers: whatever waits for them is looked at now."""
    session.rows("wake", channel=session.schema)
