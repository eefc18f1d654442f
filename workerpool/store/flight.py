"""One statement under way on a connection, while its sender does something else.

Owns: sending a prepared statement and taking its answer later, over libpq's asynchronous calls. (psycopg's own
pipeline waits for the
answer when it synchronises, so that nothing would overlap.) Invariant: parameters go as text and their types are
those of the casts in
the statement, so that one preparation fits every call.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.rows import TupleRow

#: Seconds to wait for the server; its own statement_timeout ends everything sooner, this is for a server that is
#: silent.
SILENCE = 30.0


class Flight:
    """A statement that was sent."""

    def __init__(self, connection: psycopg.Connection[TupleRow], name: str, parameters: Sequence[Any]) -> None:
        """Send the prepared statement *name*. Raises psycopg.OperationalError where the connection is gone."""
        self._connection = connection
        self._transformer = Transformer.from_context(connection)
        values = self._transformer.dump_sequence(parameters, [PyFormat.TEXT] * len(parameters))
        server = connection.pgconn
        server.send_query_prepared(name.encode(), values)
        while server.flush():
            ready, _, _ = select.select([server.socket], [server.socket], [], SILENCE)
            if ready:  # the server may be sending before it takes more
                server.consume_input()

    def answer(self) -> list[TupleRow]:
        """Wait for the rows. Raises psycopg.Error where the statement failed or the connection broke."""
        server = self._connection.pgconn
        results = []
        while True:
            while server.is_busy():
                ready, _, _ = select.select([server.socket], [], [], SILENCE)
                if not ready:
                    raise psycopg.OperationalError(f"the server is silent for {SILENCE:.0f} s")
                server.consume_input()
            result = server.get_result()
            if result is None:
                break
            results.append(result)
        for result in results:
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise errors.error_from_result(result, encoding="utf-8")
        if not results:
            raise psycopg.OperationalError("the server closed the connection")
        self._transformer.set_pgresult(results[0])
        return self._transformer.load_rows(0, results[0].ntuples, tuple)


def prepare(connection: psycopg.Connection[TupleRow], name: str, text: bytes) -> None:
    """Prepare a statement whose parameters are ``$1``, ``$2`` …; raises psycopg.Error where the server refuses it."""
    result = connection.pgconn.prepare(name.encode(), text)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result, encoding="utf-8")
