"""Statements through a pooler, where each transaction may meet another server connection.

Owns: that a turn goes without prepared statements, and that its settings are the transaction's. Invariant: nothing is
left behind in the server's session, which is the next client's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.abc import Transformer
from psycopg.rows import TupleRow

from workerpool.store.flight import as_text

#: The text of a statement whose parameters are ``$1``, ``$2`` …, and these.
Text = tuple[bytes, Sequence[Any]]
GOOD = {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}


def of_the_transaction(settings: str) -> bytes:
    """Return statements that set something in a session as ones that set it until the end of the transaction."""
    return settings.replace("SET ", "SET LOCAL ").encode()


class Errand:
    """Statements that were sent one after the other, each a transaction of its own: a flight that has landed."""

    def __init__(
        self, connection: psycopg.Connection[TupleRow], transformer: Transformer, settings: bytes, *statements: Text
    ) -> None:
        """Run the statements and keep what the last one gave; ``refused``: why one before it was refused."""
        self._server, self._transformer = connection.pgconn, transformer
        self._begin = b"BEGIN; " + settings
        self.refused: psycopg.Error | None = None
        self._kept: pq.abc.PGresult | psycopg.Error
        for place, (text, parameters) in enumerate(statements, 1):
            try:
                self._kept = self._run(text, parameters)
            except psycopg.Error as error:
                self._kept = error
                if error.sqlstate is None:
                    return
                if place < len(statements):
                    self.refused = error

    def answer(self) -> list[TupleRow]:
        """Return the rows. Raises psycopg.Error where the last statement failed or the connection broke."""
        if isinstance(self._kept, psycopg.Error):
            raise self._kept
        self._transformer.set_pgresult(self._kept)
        return self._transformer.load_rows(0, self._kept.ntuples, tuple)

    def _run(self, text: bytes, parameters: Sequence[Any]) -> pq.abc.PGresult:
        values = [as_text(value) for value in parameters]
        _checked(self._server.exec_(self._begin))
        try:
            result = _checked(self._server.exec_params(text, values))
        except psycopg.Error:
            self._server.exec_(b"ROLLBACK")
            raise
        _checked(self._server.exec_(b"COMMIT"))
        return result


def _checked(result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status not in GOOD:
        raise errors.error_from_result(result, encoding="utf-8")
    return result
