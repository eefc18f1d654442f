"""The transaction of a handler, which commits together with the outcome of its attempt (P9).

Owns: the connection, its reset between attempts, and the last statements of the transaction: the fenced settlement and
the commit. Does not own: what the handler writes. Invariant: the handler's writes are committed by exactly one
transaction, and that one also completes the revision under the token of this attempt; in every other case all of it is
rolled back. No lock of the queue is taken before the last statements (R9).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import psycopg
from psycopg import errors, pq
from psycopg.rows import TupleRow

from workerpool.core.origin import Origin
from workerpool.core.outcome import Outcome
from workerpool.core.revision import Claim
from workerpool.link.failpoints import reach
from workerpool.store.connection import LIVELY, statement
from workerpool.store.line import LineLost, outcome_arrays
from workerpool.store.origin import reach_server

#: How often a settlement that met somebody's lock is tried; each try waits up to three seconds for it.
TRIES = 10
#: A setting that lives exactly as long as the transaction, to find out whether it is still the same one.
MARK = "workerpool.transaction"
#: The server looks for a client that is silent in the transaction as the client looks for the server: a host that has
#: lost its power says no farewell, and what its handler had locked would stay so for the two hours of the system.
BEGIN = (
    "SELECT set_config(%s, %s, true), set_config('application_name', %s, true), pg_backend_pid(), "
    "set_config('tcp_keepalives_idle', %s, true), set_config('tcp_keepalives_interval', %s, true), "
    "set_config('tcp_keepalives_count', %s, true), set_config('tcp_user_timeout', %s, true)"
)
#: From the settlement on the transaction holds locks of the queue, and its commit is the next statement: whoever is
#: silent there, stopped or cut off, must not keep others from the rescue.
LAST = "SELECT set_config('lock_timeout', '3s', true), set_config('idle_in_transaction_session_timeout', %s, true)"
#: The longest such silence, in seconds, as for every other session of ours; a shorter lease is a shorter one.
SILENCE = 10.0


def _lively(url: str) -> tuple[str, ...]:
    """Return how a connection to *url* notices that its other end is dead."""
    given: dict[str, Any] = {**LIVELY, **psycopg.conninfo.conninfo_to_dict(url)}
    return tuple(
        str(given[name]) for name in ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    )


class TransactionMisused(RuntimeError):
    """A handler did something with its transaction that would part its writes from its outcome."""

    def __init__(self, what: str) -> None:
        super().__init__(f"job.transaction(): {what}")


class CommitRefused(Exception):
    """The transaction could not be committed, and all of it was rolled back."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"its transaction could not be committed: {type(cause).__name__}: {str(cause).strip()}")


class NoRoom(errors.DiskFull):
    """The disk of the server was full for what the transaction wrote; all of it was rolled back."""


class EffectsConnection(psycopg.Connection[TupleRow]):
    """A connection whose transaction ends with the attempt and not before."""

    lent = False
    pooled = False

    def commit(self) -> None:
        """Refuse: the commit comes with the return of the handler."""
        self._refuse("commit() is not allowed: the commit comes when the handler returns")

    def rollback(self) -> None:
        """Refuse: raising rolls back."""
        self._refuse("rollback() is not allowed: raise an error instead, or use connection.transaction() inside")

    def close(self) -> None:
        """Refuse, while a handler has it."""
        if self.lent:
            self._refuse("close() is not allowed: the connection belongs to the attempt")
        super().close()

    def _refuse(self, what: str) -> NoReturn:
        raise TransactionMisused(what)

    def really_commit(self) -> None:
        """Commit, with the outcome in it."""
        super().commit()

    def really_roll_back(self) -> None:
        """Roll everything back."""
        super().rollback()


class Effects:
    """The transactions of one worker's attempts, one after the other."""

    def __init__(
        self,
        url: str,
        schema: str,
        name: str,
        lease: float = SILENCE,
        known: Callable[[], Origin | None] = lambda: None,
    ) -> None:
        """*name*: the worker's, to be seen; *lease*: its claims', in seconds; *known*: the pool's server."""
        self._url, self._schema, self._name, self._known = url, schema, name, known
        self._silence = f"{int(1000 * min(SILENCE, lease))}ms"
        self._connection: EffectsConnection | None = None
        self._claim: Claim | None = None
        self.is_open = False

    @contextlib.contextmanager
    def transaction(self, claim: Claim) -> Iterator[EffectsConnection]:
        """Lend the connection for the attempt of *claim*.

        Raises TransactionMisused for a second one in an attempt, LineLost where no connection can be had, NoRoom where
        a statement of the handler meets a full disk.
        """
        if self._claim is not None and (self._claim.revision_id, self._claim.token) == (claim.revision_id, claim.token):
            raise TransactionMisused("there is one in an attempt; use connection.transaction() for parts of it")
        connection = self._begin(claim)
        self._claim, self.is_open, connection.lent = claim, True, True
        try:
            yield connection
            self._check(connection, claim)
        except errors.DiskFull as error:
            self.roll_back()
            raise NoRoom(str(error)) from error
        except BaseException:
            self.roll_back()
            raise

    def _begin(self, claim: Claim) -> EffectsConnection:
        for attempt in (1, 2):
            try:
                if self._connection is None or self._connection.closed:
                    self._connection, _ = reach_server(self._connect, self._url, self._known())
                    self._connection.autocommit = False
                    # The end of an attempt takes prepared statements away, and the driver would go on using them.
                    self._connection.prepare_threshold = None
                # The first statement begins the transaction; connection.transaction() inside is then a savepoint.
                row = self._connection.execute(
                    BEGIN,
                    (
                        MARK,
                        claim.token.hex,
                        f"workerpool: {self._name} revision {claim.revision_id}"[:63],
                        *_lively(self._url),
                    ),
                ).fetchone()
                self._connection.pooled = row is not None and row[2] != self._connection.info.backend_pid
                return self._connection
            except psycopg.OperationalError as error:
                self._drop()
                if attempt == 2:  # one that was kept from the attempt before may have died meanwhile
                    raise LineLost(error) from error
        raise AssertionError("either it is lent or it is lost")

    def _connect(self, url: str) -> EffectsConnection:
        given = psycopg.conninfo.conninfo_to_dict(url)
        options: dict[str, Any] = {key: value for key, value in LIVELY.items() if key not in given}
        options.setdefault("target_session_attrs", given.get("target_session_attrs") or "read-write")
        return EffectsConnection.connect(url, autocommit=True, **options)

    def _check(self, connection: EffectsConnection, claim: Claim) -> None:
        if connection.closed or connection.info.transaction_status == pq.TransactionStatus.UNKNOWN:
            raise LineLost(ConnectionError("the connection of job.transaction() broke"))
        if connection.info.transaction_status == pq.TransactionStatus.INERROR:
            raise TransactionMisused(
                "a statement in it failed, and its error was not passed on; nothing can be written"
            )
        row = connection.execute(
            "SELECT current_setting(%s, true), current_setting('transaction_isolation')", (MARK,)
        ).fetchone()
        if row is None or row[0] != claim.token.hex:
            raise TransactionMisused("it was ended by a statement (COMMIT, ROLLBACK); what that wrote is not undone")
        if row[1] != "read committed":
            raise TransactionMisused(f"its isolation is {row[1]}; the queue's own statements need read committed")

    def commit(self, claim: Claim, outcome: Outcome) -> bool:
        """Settle *outcome* and commit; False: the claim was lost, and everything was rolled back.

        Raises CommitRefused and NoRoom (rolled back), LineLost: nobody knows yet whether it was committed.
        """
        connection = self._connection
        assert connection is not None, "a transaction is open"
        try:
            self._check(connection, claim)
            written = self._settle(connection, outcome)
            if not written:
                self.roll_back()
                return False
            reach("before_commit")
            connection.really_commit()
            reach("after_commit")
        except LineLost:
            self._drop()
            raise
        except errors.DiskFull as error:
            self.roll_back()
            raise NoRoom(str(error)) from error
        except psycopg.OperationalError as error:
            if connection.closed:
                self._drop()
                raise LineLost(error) from error
            self.roll_back()
            raise CommitRefused(error) from error
        except (psycopg.Error, TransactionMisused) as error:
            self.roll_back()
            raise CommitRefused(error) from error
        self._give_back()
        return True

    def _settle(self, connection: EffectsConnection, outcome: Outcome) -> bool:
        arrays = outcome_arrays([outcome])
        connection.execute(LAST, (self._silence,))
        for attempt in range(1, TRIES + 1):
            try:
                with connection.transaction():
                    rows = connection.execute(
                        statement("settle", self._schema), {**arrays, "only_expired": False}
                    ).fetchone()
                return rows is not None and outcome.revision_id in rows[0]
            except errors.LockNotAvailable:
                if attempt == TRIES:
                    raise
        raise AssertionError("the last try returns or raises")

    def roll_back(self) -> None:
        """Undo everything that the handler wrote."""
        connection = self._connection
        if connection is not None and self.is_open:
            try:
                connection.really_roll_back()
            except psycopg.Error:
                self._drop()
                return
            self._give_back()

    def close(self) -> None:
        """Close the connection; what was not committed is rolled back."""
        self._drop()

    def _give_back(self) -> None:
        """Forget what a handler set in the session; the next attempt finds it as new."""
        connection = self._connection
        self.is_open = False
        if connection is None:
            return
        connection.lent = False
        if connection.pooled:  # the session that would be made as new is another client's by now
            return
        try:
            connection.autocommit = True
            connection.execute("DISCARD ALL", prepare=False)
            connection.autocommit = False
        except psycopg.Error:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self.is_open = self._connection, None, False
        if connection is not None:
            connection.lent = False
            with contextlib.suppress(psycopg.Error):
                connection.close()
