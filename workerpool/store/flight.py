"""Statements under way on a connection, while their sender does something else.

Owns: sending prepared statements and taking their answers later, over libpq's asynchronous calls. (psycopg's own
pipeline waits for the
answer when it synchronises, so that nothing would overlap.) Invariant: parameters go as text and their types are
those of the casts in
the statement, so that one preparation fits every call.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors, pq
from psycopg.abc import Transformer
from psycopg.rows import TupleRow

#: Seconds to wait for the server; its own statement_timeout ends everything sooner, this is for a server that is
#: silent.
SILENCE = 30.0


#: Types whose text needs no quotes in an array.
_UNQUOTED = {int, float, bool, UUID, type(None)}
#: The name of a prepared statement, and its parameters.
Sent = tuple[str, Sequence[Any]]


class Flight:
    """Statements that were sent at once, each a transaction of its own; the last one's rows are wanted.

    ``refused``: why the server refused one before the last, known with the answer.
    """

    def __init__(self, connection: psycopg.Connection[TupleRow], transformer: Transformer, *statements: Sent) -> None:
        """Send prepared statements; *transformer*, made once for a connection, knows how rows are read.

        Raises psycopg.OperationalError where the connection is gone, DataError for a parameter that is no text.
        """
        self._connection, self._transformer = connection, transformer
        self._count = len(statements)
        self.refused: psycopg.Error | None = None
        server = connection.pgconn
        if self._count > 1:
            server.enter_pipeline_mode()
        for name, parameters in statements:
            server.send_query_prepared(name.encode(), [as_text(value) for value in parameters])
            if self._count > 1:
                server.pipeline_sync()
        while server.flush():
            ready, _, _ = select.select([server.socket], [server.socket], [], SILENCE)
            if ready:  # the server may be sending before it takes more
                server.consume_input()

    def answer(self) -> list[TupleRow]:
        """Wait for the rows. Raises psycopg.Error where the last statement failed or the connection broke."""
        piped = self._count > 1
        try:
            for _ in range(self._count - 1):
                try:
                    self._result(piped=True)
                except psycopg.Error as error:
                    if error.sqlstate is None:  # not the server's word: the connection is gone
                        raise
                    self.refused = error
            result = self._result(piped=piped)
        finally:
            if piped:
                self._connection.pgconn.exit_pipeline_mode()
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def _result(self, *, piped: bool) -> pq.abc.PGresult:
        """Wait for what one statement gave, up to its end; in a pipe that is a mark after it."""
        results = []
        while (result := self._next()) is not None:
            results.append(result)
        if piped:
            mark = self._next()
            if mark is None or mark.status != pq.ExecStatus.PIPELINE_SYNC:
                raise psycopg.OperationalError("the server closed the connection")
        for result in results:
            if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                raise errors.error_from_result(result, encoding="utf-8")
        if not results:
            raise psycopg.OperationalError("the server closed the connection")
        return results[0]

    def _next(self) -> pq.abc.PGresult | None:
        server = self._connection.pgconn
        while server.is_busy():
            ready, _, _ = select.select([server.socket], [], [], SILENCE)
            if not ready:
                raise psycopg.OperationalError(f"the server is silent for {SILENCE:.0f} s")
            server.consume_input()
        return server.get_result()


def as_text(value: Any) -> bytes | None:
    """Return a parameter as the server reads it: a text, a number, a boolean, a UUID, or a list of one of these.

    The driver would look up how to write each element; there are few kinds, and a turn has hundreds. Raises DataError.
    """
    if value is None:
        return None
    text = array_literal(value) if isinstance(value, list) else str(value)
    if "\0" in text:
        raise psycopg.DataError("a text with a NUL cannot be sent")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise psycopg.DataError(f"a text cannot be sent: {error}") from error


def array_literal(values: list[Any]) -> str:
    """Return *values* as the text of an array."""
    if set(map(type, values)) <= _UNQUOTED:
        return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"
    return "{" + ",".join(["NULL" if value is None else _in_quotes(str(value)) for value in values]) + "}"


def _in_quotes(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def prepare(connection: psycopg.Connection[TupleRow], name: str, text: bytes) -> None:
    """Prepare a statement whose parameters are ``$1``, ``$2`` …; raises psycopg.Error where the server refuses it."""
    result = connection.pgconn.prepare(name.encode(), text)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise errors.error_from_result(result, encoding="utf-8")
