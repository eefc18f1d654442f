"""A connection for those who look and those who enqueue: one statement at a time, rows as dictionaries.

Owns: the connection. Does not own: what is asked (the statements) or what it means.
Invariant: a session that `require` let pass works on a schema of exactly this program's version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, dict_row

from workerpool.store import versions
from workerpool.store.connection import connect, statement

Row = dict[str, Any]
#: A connection of the caller's own, for those who may not import the driver.
Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a statement that somebody typed answered: its columns (none: it gives no rows), its rows, and what the
    server said of it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    status: str


class Session:
    """One connection and one schema.

    Its methods raise psycopg.Error, which `failures.describe` turns into sentences.
    """

    def __init__(self, url: str, schema: str, role: str) -> None:
        self.schema = schema
        self.connection: psycopg.Connection[TupleRow] = connect(url, role=role)

    @classmethod
    def over(cls, connection: psycopg.Connection[TupleRow], schema: str) -> Session:
        """Return a session on a connection that is somebody else's to close."""
        session = cls.__new__(cls)
        session.schema, session.connection = schema, connection
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def rows(self, name: str, /, **parameters: Any) -> list[Row]:
        """Run the statement *name* and return its rows."""
        return rows(self.connection, self.schema, name, **parameters)

    def row(self, name: str, /, **parameters: Any) -> Row | None:
        """Run the statement *name* and return its first row."""
        found = self.rows(name, **parameters)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let everything inside be committed together, or not at all."""
        with self.connection.transaction():
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let everything inside be read as of one moment."""
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield

    def patience(self, seconds: int) -> None:
        """Let statements take this long.

        0: for ever. Writing many rows, or counting all, may take longer than the usual ten seconds.
        """
        if not getattr(self.connection, "pooled", False):
            self.connection.execute(sql.SQL("SET statement_timeout = {}").format(seconds * 1000))

    def type_in(self, text: str) -> Told:
        """Run a statement that somebody typed."""
        cursor = self.connection.execute(text.encode())
        columns = tuple(column.name for column in cursor.description or ())
        return Told(columns, tuple(cursor.fetchall()) if columns else (), cursor.statusmessage or "")

    def server_major(self) -> int:
        """Return the major version of the server."""
        return self.connection.info.server_version // 10_000

    def version(self) -> str | None:
        """Return the version that the schema is at, or None where it is not made."""
        return versions.found(self.connection, self.schema)

    def require(self) -> None:
        """Raise SchemaTooOld or SchemaTooNew unless the schema is at this program's version."""
        versions.check(self.connection, self.schema)


def rows(connection: Connection, schema: str, name: str, /, **parameters: Any) -> list[Row]:
    """Run the statement *name* on a connection, whosever it is, and return its rows."""
    # (not the connection's own cursor: the caller's may want other parameters)
    with psycopg.Cursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(statement(name, schema), parameters)
        # (in a pipeline the answer comes when it is fetched, and its description with it)
        piped = connection.pgconn.pipeline_status != pq.PipelineStatus.OFF
        return cursor.fetchall() if piped or cursor.description else []


def without_password(url: str) -> tuple[str, str | None]:
    """Return the connection string without its password, fit for an argument list, and the password."""
    given = conninfo_to_dict(url)
    password = given.pop("password", None)
    return make_conninfo("", **given), str(password) if password is not None else None
