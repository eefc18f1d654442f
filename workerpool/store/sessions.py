"""A few connections that the threads of a program share, each lent for a moment.

Owns: how many there are, and that one which broke is replaced. Does not own: what is asked over them (``session``).
Invariant: a session that is lent answered just before; nobody waits for one longer than PATIENCE, or than AWAY once
others have waited in vain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from psycopg import errors
from psycopg_pool import ConnectionPool, PoolTimeout

from workerpool.store.connection import Reached, parameters, settle_in
from workerpool.store.session import Session

#: How long somebody waits for a connection: while the database is away, or all of them are lent.
PATIENCE = timedelta(seconds=5)
#: The same, once the database is known to be away: who asks hears so, instead of standing in a queue of threads.
AWAY = timedelta(seconds=0.5)
#: One that nobody has needed for so long is closed.
IDLE = timedelta(minutes=5)


class NoSession(Exception):
    """No connection in time: the database is away, or everybody else is using them."""

    def __init__(self, waited: timedelta) -> None:
        super().__init__(f"no connection to the database within {waited.total_seconds():g} s")


class Sessions:
    """At most *most* connections to one database and schema, made when they are first wanted."""

    def __init__(self, url: str, schema: str, role: str, most: int) -> None:
        self._schema = schema
        self._patience = PATIENCE
        self._pool: ConnectionPool[Reached] = ConnectionPool(
            "",
            connection_class=Reached,
            kwargs={**parameters(url, role), "autocommit": True},
            min_size=0,
            max_size=most,
            open=False,
            max_idle=IDLE.total_seconds(),
            # (a server that restarts is back sooner than the usual waits would try again)
            reconnect_timeout=PATIENCE.total_seconds(),
            reconnect_failed=self._in_vain,
            configure=settle_in,
            check=ConnectionPool.check_connection,
            name=role,
        )

    def open(self) -> None:
        """Begin; nothing is connected yet."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close(timeout=1.0)

    @contextmanager
    def lend(self) -> Iterator[Session]:
        """Lend a session. Raises NoSession."""
        patience = self._patience
        try:
            connection = self._pool.getconn(patience.total_seconds())
        except PoolTimeout:
            raise NoSession(patience) from None
        self._patience = PATIENCE
        try:
            yield Session.over(connection, self._schema)
        except errors.ReadOnlySqlTransaction:
            connection.close()  # another server of the URL may be the one that is written to by now
            raise
        finally:
            self._pool.putconn(connection)

    def _in_vain(self, pool: ConnectionPool[Reached]) -> None:
        # Where some are connected it is one more that the server does not take, and they come back to be lent.
        if pool.get_stats()["pool_size"] == 0:
            self._patience = AWAY
