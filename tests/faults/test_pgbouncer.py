"""PgBouncer in transaction mode before the database: the pool says so once, polls, and keeps all of its promises."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.process.conftest import free_port
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from tests.process.test_roles import command, said
from workerpool.store import migrate

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="pgbouncer is missing (Debian: apt-get install pgbouncer)",
)
ITEMS, EACH, SERVERS = 20, 10, 4
CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 100
logfile = {folder}/pgbouncer.log
"""


@dataclass(frozen=True, slots=True)
class Pooled:
    """A database, directly and through the pooler."""

    direct: str
    through: str


@pytest.fixture
def pooled(tmp_path: Path) -> Iterator[Pooled]:
    """A server of this test's own, migrated, and PgBouncer before it with four connections to it."""
    server = OwnServer()
    process = None
    try:
        server.start()
        server.let_in()
        facts, port = conninfo_to_dict(server.url), free_port()
        (tmp_path / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=facts["host"], port=facts["port"], user=facts["user"], own=port, folder=tmp_path, servers=SERVERS
            )
        )
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        # It refuses to be root; as somebody else in a namespace of its own it may still read what root made.
        as_nobody = ["unshare", "-U", "--map-user=65534", "--map-group=65534"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [*as_nobody, str(program), "-q", str(tmp_path / "pgbouncer.ini")], stderr=subprocess.DEVNULL
        )
        through = make_conninfo("", host="127.0.0.1", port=port, user=facts["user"], dbname=facts["dbname"])

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "pgbouncer.log").read_text()
            try:
                psycopg.connect(through).close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers, what="pgbouncer")
        migrate.upgrade(through)
        yield Pooled(server.url, through)
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(10)
        server.remove()


@pytest.fixture
def daemon(pooled: Pooled, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that reaches its database through the pooler; the test looks directly."""
    made = Through(pooled, tmp_path)
    try:
        yield made
    finally:
        made.clear()


class Through(Daemon):
    """A daemon behind a pooler."""

    def __init__(self, pooled: Pooled, folder: Path) -> None:
        super().__init__(pooled.direct, folder, workers=4)
        self._through = pooled.through

    def environment(self) -> dict[str, str]:
        """What the manager is started with."""
        return super().environment() | {"WORKERPOOL_DATABASE_URL": self._through}


def test_two_hundred_ordered_revisions_through_a_transaction_pooler(daemon: Daemon, pooled: Pooled) -> None:
    """In order and once, with a worker killed on the way, a pause and a resume through the pooler, and a clean stop."""
    daemon.start()
    daemon.sql(
        "INSERT INTO revisions (item_key, handler, payload) SELECT 'item' || n %% %s, 'work', "
        "'{\"seconds\": 0.02}' FROM generate_series(1, %s) n",
        ITEMS,
        ITEMS * EACH,
    )
    done = "SELECT count(*) AS n FROM revisions WHERE status = 'completed'"
    until(lambda: daemon.sql(done)[0]["n"] >= 30, what="thirty are done")
    os.kill(daemon.child("W1"), signal.SIGKILL)
    until(lambda: daemon.sql(done)[0]["n"] >= 60, what="sixty are done")
    said(pooled.through, "pause", "--mode", "drain", "--reason", "a test", "--wait")
    held = daemon.sql(done)[0]["n"]
    assert daemon.sql("SELECT count(*) AS n FROM revisions WHERE status = 'processing'")[0]["n"] == 0
    assert daemon.sql(done)[0]["n"] == held
    said(pooled.through, "resume", "--reason", "it is over")
    until(lambda: daemon.sql(done)[0]["n"] == ITEMS * EACH, 60, "all are done")
    late = daemon.insert("late", "work")
    assert daemon.ended(late)["status"] == "completed"
    overlaps = daemon.sql(
        "SELECT 1 FROM revisions a JOIN revisions b ON b.item_key = a.item_key AND b.id > a.id "
        "AND b.started_at < a.completed_at"
    )
    assert overlaps == []
    ends = [int(each[1]) for each in daemon.entries("end")]
    again = daemon.sql("SELECT id FROM revisions WHERE attempt > 1")
    assert len(again) <= 1  # the one that the killed worker had
    assert {each for each in ends if ends.count(each) > 1} <= {int(row["id"]) for row in again}
    assert len(daemon.events("database.pooled")) == 1
    assert not daemon.events("duty.failed")
    assert not daemon.events("database.lost")
    assert daemon.stop() == 0


def test_nothing_is_left_in_the_servers_sessions(daemon: Daemon, pooled: Pooled) -> None:
    """Another client that gets the same server connections finds no settings, statements or subscriptions of ours."""
    daemon.start()
    for number in range(20):
        daemon.insert(f"item{number}", "work")
    until(lambda: not daemon.sql("SELECT FROM revisions WHERE status <> 'completed'"), what="all are done")
    ours = "SELECT name FROM pg_settings WHERE source = 'session' AND name IN ('statement_timeout', 'lock_timeout', "
    ours += "'enable_seqscan', 'plan_cache_mode', 'idle_in_transaction_session_timeout')"
    with psycopg.connect(pooled.through, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(SERVERS * 5):
            assert connection.execute(ours).fetchall() == []
            assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
            assert connection.execute("SELECT pg_listening_channels()").fetchall() == []
    assert daemon.stop() == 0


def test_doctor_says_what_a_pooler_costs(pooled: Pooled) -> None:
    """`doctor` names a transaction pooler and what is slower through it, and finds nothing broken."""
    with psycopg.connect(pooled.through, autocommit=True) as other:
        other.execute("SELECT 1")
        told = command(pooled.through, "doctor").stdout
    assert "pooler" in told
    assert "NOTIFY is not heard" in told
