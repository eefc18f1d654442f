"""The connection of a host that listens for NOTIFY.

Invariant: whoever has an open ear is subscribed; after ``open`` the caller looks once, because what was sent before
is not heard.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from workerpool.core.origin import Origin
from workerpool.store.connection import connect
from workerpool.store.line import LineLost
from workerpool.store.origin import reach_server


class Ear:
    """A connection that only listens."""

    def __init__(self, url: str, schema: str, known: Callable[[], Origin | None] = lambda: None) -> None:
        """*known*: the server that the pool works on; one that it has replaced is not listened to."""
        self._url, self._schema, self._known = url, schema, known
        self._connection: psycopg.Connection[TupleRow] | None = None
        self.is_deaf = False
        """Whether a pooler stands between: nothing can be heard through it, and whoever would listen looks instead."""

    def open(self) -> None:
        """Connect and listen. Raises LineLost."""
        self.close()
        try:
            connection, _ = reach_server(lambda url: connect(url, role="keeper listens"), self._url, self._known())
            self.is_deaf = connection.pooled
            if self.is_deaf:
                connection.close()
                return
            self._connection = connection
            self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._schema)))
        except psycopg.Error as error:
            self.close()
            raise LineLost(error) from error

    @property
    def hears(self) -> bool:
        """Tell whether it is open and something may be heard."""
        return self._connection is not None

    @property
    def is_missing(self) -> bool:
        """Tell whether it should be open and is not."""
        return self._connection is None and not self.is_deaf

    def fileno(self) -> int:
        """Return the descriptor, to wait on."""
        assert self._connection is not None, "open first"
        return self._connection.fileno()

    def heard(self) -> bool:
        """Take in what was sent, and tell whether something was. Raises LineLost."""
        assert self._connection is not None, "open first"
        try:
            return any(True for _ in self._connection.notifies(timeout=0))
        except psycopg.Error as error:
            raise LineLost(error) from error

    def check(self) -> None:
        """Find out whether the server still knows us as a listener.

        A half-open connection is deaf and says nothing. Raises LineLost.
        """
        if self._connection is None:
            return
        try:
            row = self._connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone()
        except psycopg.Error as error:
            raise LineLost(error) from error
        if row is None or row[0] == 0:
            raise LineLost(ConnectionError("the server does not know that this connection listens"))

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
