"""Too few connections for the workers: those without one wait, and nothing crashes."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer

WORKERS, LIMIT = 8, 5


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
