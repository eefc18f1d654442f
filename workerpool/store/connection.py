"""Connections to PostgreSQL, all made here with the same manners.

Owns: the connection's settings, and the reading of the .sql files. Does not own: reconnecting (its users know what an
interrupted
statement meant). Invariant: no statement depends on the session (the schema's name is in the text), so that a pooler
may stand between.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as psql
from psycopg.rows import TupleRow

SQL = Path(__file__).parent / "sql"

#: How soon a dead peer is noticed; all well below two thirds of the shortest sensible lease (FAULTS.md 5.3).
LIVELY = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
    "connect_timeout": 5,
}
#: Bounds for every statement; a statement that may take longer sets its own.
PATIENCE = "SET statement_timeout = '10s'; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '10s'"


def quoted(name: str) -> str:
    """Return *name* as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@cache
def statement(name: str, schema: str) -> psql.SQL:
    """Return the statement of ``sql/<name>.sql`` for *schema*."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    # psycopg reads percent signs where it puts parameters in; a numbered statement goes to the server as it is.
    name_there = quoted(schema) if "$1" in text else quoted(schema).replace("%", "%%")
    return psql.SQL(text.replace("{schema}", name_there))


def read_ahead(names: Iterable[str], schema: str) -> None:
    """Read statements now: later there may be no descriptor left to read a file with."""
    for name in names:
        statement(name, schema)


def parameters(url: str, role: str) -> dict[str, Any]:
    """Return what to connect with to the writable server of *url* for *role*, which pg_stat_activity shows."""
    given = psycopg.conninfo.conninfo_to_dict(url)
    options: dict[str, Any] = {key: value for key, value in LIVELY.items() if key not in given}
    options.setdefault("target_session_attrs", given.pop("target_session_attrs", None) or "read-write")
    name = f"workerpool:{socket.gethostname()}:{os.getpid()}:{role}"[:63]
    return {**given, **options, "application_name": name}


class Reached(psycopg.Connection[TupleRow]):
    """A connection that knows whether a pooler stands between it and the server."""

    pooled = False


def settle_in(connection: Reached) -> None:
    """Teach a new connection its manners; behind a pooler it has none: what is set there, another client gets.

    A pooler cannot pass on the pid that the server tells a client at the start. It is taken to be one that gives each
    transaction another server connection, as PgBouncer does in its transaction mode.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None, "a function answers"
    if row[0] != connection.info.backend_pid:
        connection.pooled, connection.prepare_threshold = True, None
    else:
        connection.execute(PATIENCE)


def is_exposed(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether rows and passwords cross a network as they are: no TLS, and the server is not on this host."""
    if connection.pgconn.ssl_in_use:
        return False
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        if ours.family == socket.AF_UNIX:
            return False
        here, there = ours.getsockname()[0], ours.getpeername()[0]
    # Whoever speaks to an address of this host does so from that same address.
    return bool(here != there) and not ip_address(there).is_loopback


def connect(url: str, *, role: str, autocommit: bool = True) -> Reached:
    """Open a connection to the writable server of *url* for *role*.

    Raises psycopg.OperationalError where no writable server answers within five seconds.
    """
    connection = Reached.connect(**parameters(url, role), autocommit=True)
    settle_in(connection)
    if not autocommit:
        connection.autocommit = False
    return connection
