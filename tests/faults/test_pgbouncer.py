"""PgBouncer in transaction mode before the database: the pool says so once, polls, and keeps all of its promises."""

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.process.asking import OPERATOR, asking, at_once, token_of
from tests.process.conftest import free_port, up
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from tests.process.test_effects import TABLES, ledger, total
from tests.process.test_roles import command, said
from workerpool.store import migrate

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="pgbouncer is missing (Debian: apt-get install pgbouncer)",
)
ITEMS, EACH, SERVERS = 20, 10, 4
#: What PgBouncer itself gives to each client anew, and what each transaction has anew.
CARRIED = ("application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings")
ANEW = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")
LEFT = "SELECT name FROM pg_settings WHERE source = 'session' AND name <> ALL (%s)"
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


def untouched(pooled: Pooled) -> None:
    """See that another client, which gets the same server connections, finds nothing of ours in them."""
    with psycopg.connect(pooled.through, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(SERVERS * 5):
            assert connection.execute(LEFT, [[*CARRIED, *ANEW]]).fetchall() == []
            assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
            assert connection.execute("SELECT pg_listening_channels()").fetchall() == []
            assert connection.execute("SELECT 1 FROM pg_cursors WHERE is_holdable").fetchall() == []


def test_nothing_is_left_in_the_servers_sessions(daemon: Daemon, pooled: Pooled) -> None:
    """Another client that gets the same server connections finds no settings, statements or subscriptions of ours."""
    daemon.start()
    for number in range(20):
        daemon.insert(f"item{number}", "work")
    until(lambda: not daemon.sql("SELECT FROM revisions WHERE status <> 'completed'"), what="all are done")
    untouched(pooled)
    assert daemon.stop() == 0


def test_doctor_says_what_a_pooler_costs(pooled: Pooled) -> None:
    """`doctor` names a transaction pooler and what is slower through it, and finds nothing broken."""
    with psycopg.connect(pooled.through, autocommit=True) as other:
        other.execute("SELECT 1")
        told = command(pooled.through, "doctor").stdout
    assert "pooler" in told
    assert "NOTIFY is not heard" in told


def test_effects_commit_with_the_outcome_through_a_transaction_pooler(daemon: Daemon, pooled: Pooled) -> None:
    """job.transaction(): writes and outcome together and once, a worker killed in the middle of one; a statement that
    is used often enough to be prepared; and nothing is left in the server's sessions.
    """
    daemon.sql(TABLES)
    daemon.start()
    revisions = [daemon.insert(f"item{n % 4}", "ledger", {"statements": 1 + n % 6, "seconds": 0.1}) for n in range(20)]
    until(lambda: len(ledger(daemon)) >= 4, what="four are done")
    before = len(daemon.entries("begin"))
    until(lambda: len(daemon.entries("begin")) > before, what="one is under way")
    os.kill(daemon.child("W1"), signal.SIGKILL)
    assert {daemon.ended(each)["status"] for each in revisions} == {"completed"}
    done = [(row["id"], row["attempt"]) for row in daemon.sql("SELECT id, attempt FROM revisions ORDER BY id")]
    assert ledger(daemon) == done
    assert total(daemon) == sum(1 + n % 6 for n in range(20))
    untouched(pooled)
    assert daemon.stop() == 0


def test_the_api_works_through_a_transaction_pooler(daemon: Daemon, pooled: Pooled) -> None:
    """What it writes and reads, a worker over HTTP that claims, reports and completes, a pause, and a cancel; many ask
    at once; nothing is left in the server's sessions, and no request fails.
    """
    daemon.settings |= {"http": f"127.0.0.1:{free_port()}", "api_token": OPERATOR, "unhandled_after": "1m"}
    up(daemon)
    with asking(daemon, OPERATOR) as client, asking(daemon, token_of(daemon, "far")) as far:

        def answer(method: str, path: str, body: object = None, who: httpx.Client = client) -> dict[str, Any]:
            got = who.request(method, path, json=body)
            assert got.is_success, got.text
            found: dict[str, Any] = got.json()
            return found

        made = at_once(
            20, lambda n: answer("POST", "/api/revisions", {"itemKey": f"item{n % 5}", "handler": "work"})["id"]
        )
        assert len(set(made)) == 20
        assert {daemon.ended(each)["status"] for each in made} == {"completed"}
        assert answer("GET", f"/api/revisions/{made[0]}")["status"] == "completed"
        assert answer("GET", "/api/items/item0")["itemKey"] == "item0"
        mine = answer("POST", "/api/revisions", {"itemKey": "far", "handler": "elsewhere"})["id"]
        asked = {"claimRequestId": str(uuid.uuid4()), "handlers": ["elsewhere"]}
        job = answer("POST", "/api/queue/jobs/claim", asked, far)["job"]
        assert job["id"] == mine
        mark, there = {"claimToken": job["claimToken"]}, f"/api/queue/jobs/{mine}"
        answer("POST", f"{there}/heartbeat", mark, far)
        answer("POST", f"{there}/progress", mark | {"percentage": 50, "step": "half"}, far)
        assert answer("GET", f"/api/revisions/{mine}")["progressPercentage"] == 50
        answer("POST", f"{there}/complete", mark | {"result": {"summary": "done"}}, far)
        assert daemon.row(mine)["status"] == "completed"
        answer("POST", "/api/system/worker-pause", {"action": "pause", "mode": "drain", "reason": "a test"})
        held = answer("POST", "/api/revisions", {"itemKey": "held", "handler": "work"})["id"]
        assert answer("GET", "/api/system/worker-pause")["workersPaused"] is True
        answer("POST", f"/api/revisions/{held}/cancel", {"reason": "not wanted"})
        answer("POST", "/api/system/worker-pause", {"action": "resume"})
        assert daemon.ended(held)["status"] == "cancelled"
    untouched(pooled)
    assert not daemon.events("request.failed")
    assert daemon.stop() == 0


def test_a_backup_is_restored_through_a_transaction_pooler(pooled: Pooled, tmp_path: Path) -> None:
    """All of it comes back, and the next client of the same server connections finds no setting of pg_restore's."""
    rows = "SELECT id, item_key, status, payload FROM workerpool.revisions ORDER BY id"
    with psycopg.connect(pooled.direct, autocommit=True) as direct:
        direct.execute(
            "INSERT INTO workerpool.revisions (item_key, payload) SELECT 'item' || n % 7, jsonb_build_object('n', n) "
            "FROM generate_series(1, 500) n"
        )
        before = direct.execute(rows).fetchall()
        said(pooled.direct, "backup", str(tmp_path / "queue.dump"))
        said(pooled.direct, "migrate", "--down-to", "base", "--yes")
        assert "500 revisions" in said(pooled.through, "restore", str(tmp_path / "queue.dump"))
        assert direct.execute(rows).fetchall() == before
    untouched(pooled)


def test_a_parameter_that_is_refused_is_a_sentence(pooled: Pooled) -> None:
    """By the pooler, which takes none, or by the server: commands say which it is and what to do, and doctor too."""
    for url, options, name in (
        (pooled.through, "-c jit=off", "options"),
        (pooled.direct, "-c nosuch=1", "nosuch"),
        (pooled.direct, "-c statement_timeout=soon", "statement_timeout"),
    ):
        given = make_conninfo(url, options=options)
        status, doctor = command(given, "status"), command(given, "doctor")
        assert status.returncode == 69, status.stdout + status.stderr
        assert doctor.returncode == 1
        for told in (status.stderr, doctor.stdout):
            assert name in told
            assert "correct it in `options` of WORKERPOOL_DATABASE_URL or in PGOPTIONS, or leave it out" in told
