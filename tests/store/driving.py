"""A worker's view of the queue for tests: its statements on connections whose transactions the test opens and ends.

Owns: calling the statements of ``store/sql`` exactly as a worker does, and seeing that somebody waits for a lock. Does
not own: what is right. Invariant: nothing here sleeps in hope; waiting is for a fact, with a limit.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import TupleRow

from workerpool.core.outcome import Outcome
from workerpool.store.connection import connect, statement
from workerpool.store.line import FIRST, STEADY, Answer, Place, answer_of, outcome_arrays

LIMIT = 20.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """A revision that a test's worker has claimed."""

    id: int
    item: str
    token: UUID
    attempt: int
    payload: str | None
    crash_count: int
    fence: int


class Session:
    """One connection that speaks as a worker does; every call is a transaction of its own unless one is open."""

    def __init__(self, url: str, name: str = "w1", schema: str = "workerpool") -> None:
        self.name, self.schema = name, schema
        self.connection = connect(url, role=f"test-{name}")
        self.connection.execute(STEADY)
        self.connection.prepare_threshold = 0
        self.pid = self.connection.info.backend_pid
        self.answer = ""

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        # After a failure a thread may be inside a call: closing under it would lend its descriptor to somebody else.
        if not self.connection.lock.acquire(blocking=False):
            self.connection.cancel()
            self.connection.lock.acquire(timeout=LIMIT)
        self.connection.lock.release()
        self.connection.close()

    def sql(self, text: str, *parameters: Any) -> list[TupleRow]:
        """Run any SQL; names are found without the schema."""
        query = text.replace("{schema}", '"' + self.schema.replace('"', '""') + '"').encode()
        cursor = self.connection.execute(query, parameters or None, prepare=False)
        return cursor.fetchall() if cursor.description else []

    def call(self, name: str, **parameters: Any) -> list[TupleRow]:
        """Run the statement *name* of ``store/sql``."""
        cursor = self.connection.execute(statement(name, self.schema), parameters)
        return cursor.fetchall() if cursor.description else []

    def numbered(self, name: str, parameters: list[Any], before: bytes = b"") -> list[TupleRow]:
        """Run the statement *name*, whose parameters are numbered."""
        query = before + statement(name, self.schema).as_bytes(self.connection)
        return psycopg.RawCursor(self.connection).execute(query, parameters, prepare=not before).fetchall()

    def insert(self, *items: str, **columns: Any) -> list[int]:
        """Insert a revision for each item, all in one statement; returns their ids in order."""
        names = ", ".join(["item_key", *columns])
        row = ", ".join(["%s"] * (1 + len(columns)))
        values = ", ".join([f"({row})"] * len(items))
        given = [each for item in items for each in (item, *columns.values())]
        return [
            row[0]
            for row in self.sql(f"INSERT INTO {{schema}}.revisions ({names}) VALUES {values} RETURNING id", *given)
        ]

    def turn(
        self,
        *outcomes: Outcome,
        how_many: int = 1,
        handlers: tuple[str, ...] = ("default",),
        sharers: int = 1,
        lease: float = 60.0,
        limits: tuple[int | None, ...] | None = None,
        begin: Place = FIRST,
    ) -> list[Held]:
        """Settle *outcomes* and claim; ``answer`` is then claimed, empty or contended, ``begin`` where to look next."""
        token = uuid4()
        most = list(limits) if limits is not None else [None] * len(handlers)
        asked = [self.name, token, list(handlers), most, how_many, sharers, f"{lease} seconds", *begin]
        rows = self.numbered("turn", [*outcome_arrays(outcomes).values(), *asked])
        answer: Answer = answer_of(rows)
        self.answer, self.settled, self.begin_at = answer.state, answer.settled, answer.begin
        return [Held(c[0], c[1], token, c[4], c[3], c[6], c[8]) for c in answer.claims]

    def settle(self, *outcomes: Outcome, only_expired: bool = False) -> set[int]:
        """Settle *outcomes* without claiming; returns the ids that were written."""
        return set(self.call("settle", **outcome_arrays(outcomes), only_expired=only_expired)[0][0])

    def dismiss(self, *ids: int) -> set[int]:
        """Cancel what has not started; returns the ids that were ended."""
        return set(
            self.call(
                "dismiss", ids=list(ids), verdict="cancelled", message="not wanted", kind="cancelled", halts=False
            )[0][0]
        )

    def heal(self) -> list[int]:
        """Return the heads that were stranded: in our own tests there may be none."""
        return self.call("heal", after="", how_many=1000)[0][1]

    def rows(self) -> dict[int, tuple[str, str | None]]:
        """Return status and parking of every revision."""
        return {
            row[0]: (row[1], row[2])
            for row in self.sql("SELECT id, status, parked FROM {schema}.revisions ORDER BY id")
        }

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold everything that happens inside in one transaction, committed at the end."""
        with self.connection.transaction():
            yield

    def begin(self) -> None:
        """Open a transaction that the test ends itself."""
        self.sql("BEGIN")

    def commit(self) -> None:
        """Commit it."""
        self.sql("COMMIT")


def done(held: Held, result: str = "{}") -> Outcome:
    """The outcome of a revision that succeeded."""
    return Outcome(held.id, held.token, "completed", result=result)


class Waiting:
    """A call in a thread, that somebody makes wait."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._result = call()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        """Tell whether the call has not returned."""
        return self._thread.is_alive()

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the call still waits"
        if self._error is not None:
            raise self._error
        return self._result


def until(fact: Callable[[], T], what: str) -> T:
    """Wait until *fact* is true and return it."""
    end = time.monotonic() + LIMIT
    while not (value := fact()):
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.005)
    return value


def blocked(observer: psycopg.Connection, session: Session) -> str:
    """Wait until *session* waits for a lock, and return the kind of that lock."""

    def seen() -> str | None:
        row = observer.execute(
            "SELECT a.wait_event FROM pg_stat_activity a WHERE a.pid = %s AND a.wait_event_type = 'Lock' "
            "AND EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND NOT l.granted)",
            [session.pid],
        ).fetchone()
        return row[0] if row else None

    found = until(seen, "a wait for a lock")
    assert found is not None
    return found
