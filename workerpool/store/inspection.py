"""What `doctor` asks of a database: who and where we are there, what is missing, and whether a pooler stands between.

Owns: the questions. Does not own: what they mean for people (``cli``). Invariant: nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workerpool.store.connection import is_exposed
from workerpool.store.session import Row, Session
from workerpool.store.versions import newest

Pooler = Literal["none", "session", "transaction"]
OLDEST_SERVER = 150_000


@dataclass(frozen=True, slots=True)
class Inspection:
    """The facts of a database; *server* is the row of `server.sql`, *lacking* the tables that this role may not use,
    *exposed* the host of a server elsewhere that is spoken to without TLS.
    """

    server: Row
    found: str | None
    known: str
    lacking: tuple[str, ...]
    pooler: Pooler
    exposed: str | None


def inspect(url: str, schema: str) -> Inspection:
    """Ask everything. Raises psycopg.Error."""
    with Session(url, schema, "doctor") as session:
        server = session.row("server", schema_name=schema)
        assert server is not None, "server answers one row"
        lacking = tuple(row["name"] for row in session.rows("permissions", schema_name=schema))
        version = session.version() if server["may_use"] or not server["schema_there"] else None
        exposed = session.connection.info.host if is_exposed(session.connection) else None
        return Inspection(server, version, newest(), lacking, pooler(session, url), exposed)


def pooler(session: Session, url: str) -> Pooler:
    """Return what stands between this session and the server.

    A pooler cannot pass on the pid that the server tells a client at the start. In transaction mode the server behind
    one session changes as soon as another client has taken the one before.
    """
    first = _backend(session)
    if session.connection.info.backend_pid == first:
        return "none"
    with Session(url, session.schema, "doctor") as other, other.transaction():
        _backend(other)
        return "session" if _backend(session) == first else "transaction"


def _backend(session: Session) -> int:
    row = session.connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None, "a function answers"
    return int(row[0])
