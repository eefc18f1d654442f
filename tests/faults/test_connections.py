"""Too few connections for the workers, of a role or the whole server: those without one wait, and nothing crashes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate

WORKERS, LIMIT = 8, 5
#: Connections of the whole server; three of them are kept for administrators.
ALL, LEASE = 9, 2.0
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%%:worker %%'"


@pytest.fixture
def short(tmp_path: Path) -> Iterator[tuple[Daemon, str]]:
    """A daemon whose role may have fewer connections than it has workers, and the administrator's URL."""
    server = OwnServer()
    daemon = None
    try:
        server.start()
        server.let_in()
        with psycopg.connect(server.admin, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE few LOGIN CONNECTION LIMIT {LIMIT}".encode())
            connection.execute("CREATE DATABASE app OWNER few")
        admin = make_conninfo(server.admin, dbname="app")
        daemon = Daemon(make_conninfo(server.admin, user="few", dbname="app"), tmp_path, workers=WORKERS)
        yield daemon, admin
    finally:
        if daemon is not None:
            daemon.clear()
        server.remove()


def test_workers_without_a_connection_wait_and_nothing_crashes(short: tuple[Daemon, str]) -> None:
    """Those that have one work; the others say why they wait, without a restart, and come when there is room."""
    daemon, admin = short
    daemon.spawn()
    until(lambda: [e for e in daemon.events("database.waited") if "too many connections" in str(e.get("error"))])
    # (the test's own connection is not the role's, which has none to spare)
    daemon._connection = psycopg.connect(admin, autocommit=True, row_factory=psycopg.rows.dict_row)
    first = [daemon.insert(f"item{n}", "work") for n in range(10)]
    for revision in first:
        assert daemon.ended(revision)["attempt"] == 1
    assert daemon.process is not None
    assert daemon.process.poll() is None
    daemon.sql("ALTER ROLE few CONNECTION LIMIT 50")
    until(lambda: len(daemon.events("child.ready")) >= WORKERS + 1, what="every worker is ready")
    assert not daemon.events("child.restarted")
    assert not daemon.events("child.exited", child="keeper")
    assert daemon.ended(daemon.insert("late", "work"))["status"] == "completed"
    assert daemon.stop() == 0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Daemon, OwnServer]]:
    """A daemon with more workers than its server has connections, and the server."""
    server = OwnServer(max_connections=str(ALL))
    daemon = Daemon(server.url, tmp_path, workers=WORKERS, shutdown_grace="3s")
    try:
        server.start()
        migrate.upgrade(server.url)
        yield daemon, server
    finally:
        daemon.clear()
        server.remove()


def test_a_server_without_connections_is_waited_for(small: tuple[Daemon, OwnServer]) -> None:
    """F40: the server's own max_connections are exhausted: who has a connection works, the keeper among them, who has
    none says why and waits, also after the server came back and everybody wanted one at once; a handler that runs for
    longer than a lease keeps it; nothing crashes, and the others come when there is room.
    """
    daemon, server = small
    daemon.spawn()
    until(lambda: any(map(is_refused, daemon.events("database.waited"))), what="a worker without a connection")
    admin(daemon, server)
    for revision in [daemon.insert(f"item{n}", "work") for n in range(10)]:
        assert daemon.ended(revision)["attempt"] == 1
    daemon.connection.close()
    server.stop()
    server.start()
    admin(daemon, server)
    lasting = [daemon.insert(f"long{n}", "work", {"seconds": 1.5 * LEASE}) for n in range(3)]
    for revision in lasting:
        row = daemon.ended(revision)
        assert (row["status"], row["crash_count"]) == ("completed", 0)
    assert not daemon.events("child.exited", child="keeper")
    assert not daemon.events("slot.gave_up")
    daemon.connection.close()
    server.stop()
    server.allow(max_connections="40")
    server.start()
    admin(daemon, server)
    until(lambda: len(daemon.sql(SESSIONS)) == WORKERS, what="every worker has a connection")
    until(lambda: len(daemon.events("child.ready")) >= WORKERS + 1, what="every worker is ready")
    assert daemon.ended(daemon.insert("late", "work"))["status"] == "completed"
    assert daemon.stop() == 0, daemon.tail()


def is_refused(event: dict[str, Any]) -> bool:
    """Tell whether somebody was without a connection because there is none left."""
    return any(words in str(event["error"]) for words in ("too many clients", "remaining connection slots"))


def admin(daemon: Daemon, server: OwnServer) -> None:
    """Let the test's own statements go over one of the connections that are kept for administrators."""
    found = until(lambda: reached(make_conninfo(server.admin, dbname="workerpool")), what="the administrator gets in")
    daemon._connection = found


def reached(url: str) -> psycopg.Connection[dict[str, Any]] | None:
    """A connection, or None where there is none."""
    with contextlib.suppress(psycopg.OperationalError):
        return psycopg.connect(url, autocommit=True, row_factory=psycopg.rows.dict_row)
    return None
