"""A worker's one connection: a turn may be under way on it while handlers run.

Owns: the connection, the order of what is sent on it, and its loss. Does not own: what to claim, or what to do with
an answer. Invariant: at most one turn is under way; whoever needs the connection for something else takes that turn's
answer first and keeps it for the one who asked (``collect``). Safe to be used from two threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.rows import TupleRow

from workerpool.core.origin import Origin
from workerpool.core.outcome import Outcome
from workerpool.core.revision import Claim
from workerpool.link.failpoints import reach
from workerpool.store.connection import PATIENCE, Reached, connect, statement
from workerpool.store.errand import Errand, of_the_transaction
from workerpool.store.flight import Flight, Sent, prepare
from workerpool.store.origin import reach_server


class LineLost(Exception):
    """The connection broke; what was under way may or may not have happened."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the database connection was lost: {cause}")


class StatementRefused(Exception):
    """The database refused one statement; the connection is as good as before.

    ``passing``: the same statement may succeed later (a lock, a deadlock, a full lock table, a full disk); ``full``:
    the disk of the server is full, so that whatever writes is refused, and not for a moment only.
    """

    def __init__(self, cause: psycopg.Error) -> None:
        self.passing, self.full = isinstance(cause, SURVIVED), isinstance(cause, errors.DiskFull)
        self.reason = f"{type(cause).__name__}: {cause.diag.message_primary or cause}"
        super().__init__(self.reason)


#: A place among the candidates: (-priority, id).
Place = tuple[int, int]
FIRST: Place = (-(2**31), 0)


@dataclass(frozen=True, slots=True)
class Order:
    """What to claim in a turn; ``lease`` in seconds."""

    worker: str
    token: UUID
    handlers: tuple[str, ...]
    how_many: int
    sharers: int
    lease: float
    limits: tuple[int | None, ...] = ()
    begin: Place = FIRST


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn did.

    The outcomes written, the revisions claimed, whether more may be there (``claimed``, ``empty``, ``contended``,
    ``paused``), and where the next look at the candidates may begin: before that place there is nothing just now.
    """

    settled: frozenset[int]
    claims: tuple[tuple[Any, ...], ...]
    state: str
    begin: Place = FIRST


#: The plans of the queue's functions are fixed by its indexes, whatever the statistics say at this moment: a plan
#: made for an empty table would walk a full one.
STEADY = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; "
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_sort = off; SET jit = off"
)
#: Errors after which the same connection is of no use: also a server that became read-only under us (a failover).
LOST = (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction)
#: Errors of one statement that the connection survives.
SURVIVED = (
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.DeadlockDetected,
    errors.OutOfMemory,
    errors.DiskFull,
    errors.SerializationFailure,
)


def understood(error: psycopg.Error) -> LineLost | StatementRefused:
    """Return what *error* means for the connection."""
    if isinstance(error, LOST) and not isinstance(error, SURVIVED):
        return LineLost(error)
    return StatementRefused(error)


def outcome_arrays(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the parallel arrays of settle for *outcomes*."""
    return {
        "ids": [o.revision_id for o in outcomes],
        "tokens": [o.token for o in outcomes],
        "verdicts": [o.verdict for o in outcomes],
        "results": [o.result for o in outcomes],
        "messages": [o.message for o in outcomes],
        "kinds": [o.kind for o in outcomes],
        "delays": [o.delay.total_seconds() for o in outcomes],
        "crashes": [o.crashed for o in outcomes],
    }


class Line:
    """The connection of one worker."""

    def __init__(self, url: str, schema: str, role: str, known: Callable[[], Origin | None] = lambda: None) -> None:
        """*known*: the server that the pool works on; one that it has replaced is not worked on."""
        self._url, self._schema, self._role, self._known = url, schema, role, known
        self.origin: Origin | None = None
        self.met: Callable[[Line], object] = lambda _: None  # called after each connection
        self._lock = threading.RLock()
        self._connection: Reached | None = None
        self._transformer = Transformer()
        self._prepared: set[str] = set()
        self._flight: Flight | Errand | None = None
        self.pooled = False  # whether a pooler stands between, so that nothing can be prepared or set in the session
        self._manners = of_the_transaction(f"{PATIENCE}; {STEADY}")
        self._kept: Answer | BaseException | None = None
        self.refused: StatementRefused | None = None  # why what was said in front of the last turn was not taken

    def open(self) -> None:
        """Connect, or connect again; raises LineLost where that fails. What was under way is forgotten."""
        with self._lock:
            self.close()
            try:
                reached = reach_server(lambda url: connect(url, role=self._role), self._url, self._known())
                self._connection, self.origin = reached
                self.pooled = self._connection.pooled
                self._manners = of_the_transaction(f"{PATIENCE}; {STEADY}")
                if not self.pooled:
                    self._connection.execute(STEADY)
                    self._connection.prepare_threshold = 0
                self._transformer = Transformer.from_context(self._connection)
                self._prepared.clear()
            except psycopg.Error as error:
                raise LineLost(error) from error
            self.met(self)

    def forget(self) -> None:
        """Forget the answer of a turn that was lost: its sender knows."""
        with self._lock:
            self._kept = None

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        with self._lock:
            connection, self._connection = self._connection, None
            if self._flight is not None:  # whoever submitted a turn learns that its answer is lost
                self._kept = LineLost(ConnectionError("closed with a turn under way"))
            self._flight = None
            if connection is not None:
                connection.close()

    def submit(self, outcomes: Sequence[Outcome], order: Order, told: Sequence[Any] = ()) -> None:
        """Send a turn and return at once; ``collect`` has the answer. One turn at a time.

        *told*, the parameters of `told`, goes in front of it, in a transaction of its own.
        Raises LineLost or StatementRefused: nothing was sent, or nobody knows.
        """
        with self._lock:
            if told and not psycopg.Pipeline.is_supported():
                self.tell(told)
                told = ()
            limits = list(order.limits or [None] * len(order.handlers))
            asked = [order.worker, order.token, list(order.handlers), limits, order.how_many, order.sharers]
            asked += [f"{order.lease} seconds", *order.begin]
            name = "turn" if outcomes else "claim"
            if outcomes:
                reach("before_settle")
            try:
                settling = outcome_arrays(outcomes).values() if outcomes else ()
                self._flight = self._send(*([("told", told)] if told else []), (name, [*settling, *asked]))
            except psycopg.Error as error:
                raise understood(error) from error
            if outcomes:
                reach("during_settle")

    def tell(self, told: Sequence[Any]) -> None:
        """Write what attempts said, by the parameters of `told`. Raises LineLost or StatementRefused."""
        with self._lock:
            if self._flight is not None:
                self._finish()
            try:
                self._send(("told", told)).answer()
            except psycopg.Error as error:
                raise understood(error) from error

    def _send(self, *statements: Sent) -> Flight | Errand:
        if self.pooled:
            texts = [(statement(name, self._schema).as_bytes(), parameters) for name, parameters in statements]
            return Errand(self._live(), self._transformer, self._manners, *texts)
        return Flight(self._live(), self._transformer, *(self._prepare(*each) for each in statements))

    def _prepare(self, name: str, parameters: Sequence[Any]) -> Sent:
        if name not in self._prepared:
            prepare(self._live(), name, statement(name, self._schema).as_bytes())
            self._prepared.add(name)
        return name, parameters

    def collect(self) -> Answer:
        """Wait for the answer of the turn under way.

        Raises LineLost, or StatementRefused where nothing of it happened.
        """
        with self._lock:
            if self._kept is None:
                self._finish()
            kept, self._kept = self._kept, None
            if isinstance(kept, BaseException):
                raise kept
            assert kept is not None, "a turn is under way"
            if kept.settled:
                reach("after_settle")
            if kept.claims:
                reach("after_claim")
            return kept

    @property
    def under_way(self) -> bool:
        """Tell whether a turn was submitted whose answer nobody has collected."""
        return self._flight is not None or self._kept is not None

    def call(self, name: str, /, **parameters: Any) -> list[TupleRow]:
        """Run the statement *name* and return its rows. Raises LineLost or StatementRefused."""
        with self._lock:
            if self._flight is not None:
                self._finish()
            try:
                with self._live().transaction() if self.pooled else contextlib.nullcontext():
                    if self.pooled:
                        self._live().execute(self._manners)
                    cursor = self._live().execute(statement(name, self._schema), parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                raise understood(error) from error

    def patience(self, seconds: float) -> None:
        """Wait for nobody's lock longer than this. Raises LineLost or StatementRefused."""
        if self.pooled:
            self._manners += f"; SET LOCAL lock_timeout = '{seconds * 1000:.0f}ms'".encode()
        else:
            self.call("patience", seconds=seconds)

    def settle(self, outcomes: Sequence[Outcome], *, only_expired: bool = False) -> frozenset[int]:
        """Write *outcomes* and return the revisions for which that succeeded."""
        reach("before_settle")
        rows = self.call("settle", **outcome_arrays(outcomes), only_expired=only_expired)
        reach("after_settle")
        return frozenset(rows[0][0])

    def _live(self) -> Reached:
        if self._connection is None:
            raise LineLost(ConnectionError("not connected"))
        return self._connection

    def _finish(self) -> None:
        flight, self._flight = self._flight, None
        assert flight is not None, "a turn is under way"
        try:
            self._kept = answer_of(flight.answer())
        except psycopg.Error as error:
            self._kept = understood(error)
        self.refused = StatementRefused(flight.refused) if flight.refused is not None else None


def answer_of(rows: Sequence[TupleRow]) -> Answer:
    """Sort the rows of a turn into what was settled and what was claimed."""
    settled = frozenset(row[1] for row in rows if row[0] == "settled")
    claims = tuple(tuple(row[1:]) for row in rows if row[0] == "claimed")
    state = rows[-1][0] if rows else "claimed"
    begin = next(((row[5], row[1]) for row in reversed(rows[-2:]) if row[0] == "next"), FIRST)
    return Answer(settled, claims, state if state in {"empty", "contended", "paused"} else "claimed", begin)


def claim_of(row: tuple[Any, ...], token: UUID, now: float) -> Claim:
    """Return the claim of one row of a turn, received at *now*."""
    revision, item, handler, payload, attempt, most, crashes, timeout, fence, metadata = row
    return Claim(revision, item, handler, payload, attempt, most, crashes, timeout, fence, metadata, token, now)
