"""What another program uses: enqueue revisions, wait for them, look at them.

Owns: the face of the queue to Python programs. Does not own: statements (``store``). A client is for one thread; it
keeps one connection.
Invariant: ``enqueue`` on the caller's own connection writes in the caller's transaction and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from workerpool import config
from workerpool.core.durations import as_length
from workerpool.core.revision import TERMINAL
from workerpool.pool import Pool
from workerpool.store import changing, enqueueing, pausing, quiet
from workerpool.store.address import address, reached
from workerpool.store.changing import Answer, CannotRevert, Continuation, FiresOn
from workerpool.store.enqueueing import CannotEnqueue, Enqueued, NewRevision
from workerpool.store.pausing import BadPause, Mode, NotSafe, Safety
from workerpool.store.quiet import NotIdle
from workerpool.store.session import Connection, Session

__all__ = [
    "Answer",
    "BadPause",
    "CannotEnqueue",
    "CannotRevert",
    "Client",
    "Continuation",
    "Enqueued",
    "NewRevision",
    "NoSuchRevision",
    "NotIdle",
    "NotSafe",
    "Revision",
    "Safety",
    "WaitedTooLong",
    "address",
]

#: Between two looks at a revision that is waited for.
LOOK = timedelta(milliseconds=100)


class NoSuchRevision(LookupError):
    """There is no revision with that id."""

    def __init__(self, revision_id: int) -> None:
        self.revision_id = revision_id
        super().__init__(f"there is no revision {revision_id}")


class WaitedTooLong(TimeoutError):
    """A revision has not ended in time."""

    def __init__(self, revision: Revision, waited: timedelta) -> None:
        self.revision, self.waited = revision, waited
        super().__init__(f"revision {revision.id} is {revision.status} after {waited.total_seconds():g} s")


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision as it was when it was looked at; instants are aware."""

    id: int
    item_key: str
    handler: str
    status: str
    payload: Any
    result: Any
    attempt: int
    worker_id: str | None
    progress_percentage: float | None
    current_step: str | None
    error_kind: str | None
    error_message: str | None
    revision_number: int | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None

    @property
    def ended(self) -> bool:
        """Tell whether it is completed, failed or cancelled."""
        return self.status in TERMINAL


class Client:
    """A connection to a pool's queue; use it as a context manager, or close it."""

    def __init__(self, url: str | None = None, schema: str | None = None) -> None:
        """Connect to *url*; without one as WORKERPOOL_DATABASE_URL or WORKERPOOL_HOME say, starting the embedded
        server if need be.

        Raises config.BadSettings, what `embedded.running` raises, psycopg.OperationalError, and SchemaTooOld or
        SchemaTooNew.
        """
        self._kept = ExitStack()
        self._pool: Pool | None = None
        self._given_url = url
        with ExitStack() as opened:
            found, schema = opened.enter_context(reached(url, schema))
            self._session = opened.enter_context(Session(found, schema, "client"))
            self._session.require()
            self._kept = opened.pop_all()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; workers that `queue` started stop, and an embedded server that nobody else uses."""
        if self._pool is not None:
            self._pool.stop()
        self._kept.close()

    def enqueue(
        self,
        item: str,
        payload: Mapping[str, object] | None = None,
        *,
        handler: str = "default",
        priority: int = 0,
        run_at: datetime | None = None,
        dedupe_key: str | None = None,
        draft: bool = False,
        connection: Connection | None = None,
    ) -> Enqueued:
        """Add a revision of *item*.

        *run_at* (aware) is the earliest start; *priority* orders items among each other, higher first; *draft* waits
        to be queued.
        *connection* is a psycopg connection of the caller's: the revision is then part of the caller's transaction.
        With *dedupe_key* an
        unfinished revision of the item with that key is returned instead, `inserted` False. Raises CannotEnqueue,
        psycopg.Error.
        """
        new = NewRevision(item, dict(payload or {}), handler, priority, run_at, dedupe_key, draft)
        return self.enqueue_many([new], connection=connection)[0]

    def enqueue_many(self, new: Iterable[NewRevision], *, connection: Connection | None = None) -> list[Enqueued]:
        """Add revisions in this order, all or none, and return what became of each. Raises as `enqueue`."""
        used = self._session.connection if connection is None else connection
        return enqueueing.enqueue(used, self._session.schema, list(new))

    def cancel(self, *revisions: int, reason: str = "") -> list[Answer]:
        """End what has not started, ask what runs to stop; return what became of each.

        `answer` is 'cancelled', 'asked', 'ended' (it was over before: `status` says how) or 'missing'. Of what was
        asked `wait` tells how it ended: what completed all the same has won.
        """
        return changing.cancel(self._session, revisions, changing.actor(), reason)

    def retry(self, *revisions: int, append: bool = False) -> list[Answer]:
        """Let what failed or was cancelled run again in its place, or with *append* as a copy at the end of its item.

        `answer` is 'retried', 'appended' (`new_id`), 'has_successors' (later ones of its item have run: its place is
        gone), 'completed', 'not_ended' or 'missing'.
        """
        return changing.retry(self._session, revisions, changing.actor(), append=append)

    def queue(self, *revisions: int, ensure_workers: bool = False) -> list[Answer]:
        """Let drafts take part: 'queued', 'not_a_draft' or 'missing'.

        *ensure_workers*: where no worker is alive on the database, start some, with the settings of the environment, as
        long as this client is open. Raises pool.PoolFailed.
        """
        answers = changing.queue(self._session, revisions, changing.actor())
        if ensure_workers:
            settings = config.load()
            listed = self._session.rows("worker_list", silence=settings.lease, gone=False)
            if all(row["state"] == "silent" for row in listed):
                self._pool = self._pool or Pool(self._given_url, settings.workers, schema=self._session.schema)
                self._pool.start()
        return answers

    def edit(
        self,
        revision: int,
        *,
        payload: Mapping[str, object] | None = None,
        priority: int | None = None,
        run_at: datetime | Literal["now"] | None = None,
    ) -> Answer:
        """Change what has not started; None: as it was. `answer` is 'edited', 'started', 'ended' or 'missing'.

        Raises CannotEnqueue.
        """
        who = changing.actor()
        return changing.edit(self._session, revision, who, payload=payload, priority=priority, run_at=run_at)

    def halt(self, item: str, reason: str) -> bool:
        """Start nothing of an item until `unhalt`; False: it was halted already."""
        return changing.halt(self._session, item, reason, changing.actor())

    def unhalt(self, item: str) -> bool:
        """Let an item go on, past what failed; False: it was not halted."""
        return changing.unhalt(self._session, item, changing.actor())

    def revert(self, item: str, to: int) -> int:
        """Enqueue a revision of *item* whose result will be that of its number *to* (0: the original); return its id.

        Raises CannotRevert.
        """
        return changing.revert(self._session, item, to, changing.actor())

    def then(
        self,
        revision: int,
        item: str,
        payload: Mapping[str, object] | None = None,
        *,
        handler: str = "default",
        on: FiresOn = "completed",
    ) -> Continuation:
        """Enqueue a revision of *item* when *revision* ends so: in the transaction of its outcome, at once if it has.

        Raises NoSuchRevision, CannotEnqueue.
        """
        new = NewRevision(item, dict(payload or {}), handler)
        if (added := changing.follow(self._session, revision, new, on)) is None:
            raise NoSuchRevision(revision)
        return added

    def show(self, revision_id: int) -> Revision:
        """Return a revision as it is now. Raises NoSuchRevision."""
        row = self._session.row("revision", id=revision_id)
        if row is None:
            raise NoSuchRevision(revision_id)
        return Revision(**{name: row[name] for name in Revision.__dataclass_fields__})

    def wait(self, revision_id: int, timeout: timedelta | None = None) -> Revision:
        """Wait until a revision has ended, at most *timeout* (None: for ever), and return it.

        Raises NoSuchRevision, WaitedTooLong.
        """
        deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
        while not (revision := self.show(revision_id)).ended:
            if deadline is not None and timeout is not None and time.monotonic() >= deadline:
                raise WaitedTooLong(revision, timeout)
            time.sleep(LOOK.total_seconds())
        return revision

    def pause(
        self,
        reason: str,
        mode: Mode = "drain",
        *,
        scope: str = "all",
        until: datetime | None = None,
        holder: str | None = None,
    ) -> int:
        """Let nothing of *scope* begin, with mode 'quiesce' nothing pass a checkpoint; return the version in force.

        *until* (aware): it ends by itself. *holder*: whose pause it is, else this user's on this host. Raises BadPause.
        """
        return quiet.pause(self._session, reason, mode, scope=scope, until=until, holder=holder)

    def resume(
        self, reason: str = "", *, scope: str | None = None, holder: str | None = None, everybody: bool = False
    ) -> int:
        """Take away own pauses, or those of *holder*, or of *everybody*; return how many there were."""
        return quiet.resume(self._session, reason, scope=scope, holder=holder, everybody=everybody)

    def wait_for_safe_state(
        self, timeout: timedelta | float | None = None, *, reason: str = "", mode: Mode = "drain", keep: bool = False
    ) -> Safety:
        """Pause, and wait until nothing runs outside a hold: return the proof. `resume` ends the pause.

        Raises NotSafe, which says what still runs; its pause is then taken away again, unless *keep*.
        """
        return quiet.wait_for_safe_state(self._session, as_length(timeout), reason=reason, mode=mode, keep=keep)

    def metrics(self) -> dict[str, Any]:
        """Return the figures of the pause, by the names of the view `pause_metrics`."""
        return pausing.metrics(self._session)

    def any_active(self) -> bool:
        """Tell whether a revision runs or a work token is active."""
        return any(quiet.active(self._session).values())

    def wait_for_idle(self, timeout: timedelta | float | None = None) -> None:
        """Wait until nothing is active, at most *timeout*; what waits in the queue is not. Raises NotIdle."""
        quiet.wait_for_idle(self._session, as_length(timeout))
