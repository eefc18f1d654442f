"""Backup and restore by command: under load, on the test's server and on the embedded one, and what is refused."""

import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.calling import LIMIT, Run, environment, read, until, workerpool
from tests.conftest import Databases
from tests.process.own_server import OwnServer
from workerpool.store import dumping

COUNTS = "SELECT status::text, count(*)::integer FROM workerpool.revisions GROUP BY status"
WHOLE = (
    "SELECT id, item_key::text, status::text, result, revision_number::integer, attempt::integer, completed_at "
    "FROM workerpool.revisions WHERE status = 'completed' AND completed_at < %s ORDER BY id"
)
RESUMED = "SELECT created_at FROM workerpool.control_events WHERE action = 'resume' ORDER BY id DESC LIMIT 1"


@pytest.fixture
def empty(server: Databases) -> Iterator[str]:
    """The URL of a database in which there is nothing."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode(), values).fetchall()


@pytest.mark.usefixtures("pool")
def test_a_backup_under_load_runs_on_elsewhere(run: Run, database: str, empty: str, tmp_path: Path) -> None:
    """Every revision that had completed is in it, nothing ran meanwhile, and an empty database goes on from there."""
    over = threading.Event()

    def fill() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            number = 0
            while not over.wait(0.002):
                number += 1
                connection.execute(
                    "INSERT INTO workerpool.revisions (item_key, handler, payload) VALUES (%s, 'good', '{\"n\": 1}')",
                    [f"item{number % 7}"],
                )

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        until(lambda: rows(database, "SELECT count(*) > 200 FROM workerpool.revisions WHERE revision_number > 0")[0][0])
        done = run("backup", "queue.dump")
    finally:
        over.set()
        filling.join()
    assert "; `workerpool restore` puts it into an empty database" in done.stdout
    assert (tmp_path / "queue.dump").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob(".*partial")] == []
    until(lambda: rows(database, "SELECT count(*) = 0 FROM workerpool.revisions WHERE completed_at IS NULL")[0][0])

    target = {"WORKERPOOL_DATABASE_URL": empty}
    told = run("restore", "queue.dump", **target).stdout
    found = dict(rows(empty, COUNTS))
    assert set(found) <= {"completed", "pending"}
    assert f"{found['completed']} completed" in told
    resumed = rows(database, RESUMED)[0][0]
    kept = rows(empty, WHOLE, resumed)
    assert kept == rows(database, WHOLE, resumed), "nothing ended between the backup and the resume"
    assert len(kept) == found["completed"] > 200
    paused = rows(empty, "SELECT paused, (SELECT count(*) FROM workerpool.pauses) FROM workerpool.pause_state")
    assert paused == [(False, 0)], "the pause of the backup does not come back"
    fences = "SELECT last_value FROM workerpool.fence"
    assert rows(empty, fences)[0][0] >= rows(empty, "SELECT max(fence) FROM workerpool.revisions")[0][0]

    words = ("start", "--until-empty", "--handlers", "cli_handlers", "--http", "off", "--home", "another")
    run("enqueue", "item0", "--handler", "good", **target)
    run(*words, **target)
    assert dict(rows(empty, COUNTS)) == {"completed": sum(found.values()) + 1}
    gaps = "SELECT count(*), count(DISTINCT (item_key, revision_number)) FROM workerpool.revisions"
    assert len(set(rows(empty, gaps)[0])) == 1


@pytest.mark.usefixtures("pool")
def test_what_is_held_for_a_backup_goes_on_here_and_begins_anew_there(run: Run, database: str, empty: str) -> None:
    """--mode quiesce does not wait for what runs: here its attempt goes on, in the copy it is not counted."""
    run("enqueue", "a", "--handler", "slow")
    until(lambda: rows(database, "SELECT count(*) = 1 FROM workerpool.running_revisions")[0][0])
    run("backup", "queue.dump", "--mode", "quiesce")
    run("restore", "queue.dump", WORKERPOOL_DATABASE_URL=empty)
    state = "SELECT status::text, attempt::integer FROM workerpool.revisions"
    assert rows(empty, state) == [("pending", 0)]
    assert rows(database, state) == [("processing", 1)]
    run("cancel", "1", "--wait")


def test_what_ran_in_the_backup_is_given_back(run: Run, connection: psycopg.Connection, empty: str) -> None:
    """Its attempt is not counted, its workers are gone, its items keep their order, pauses of then are lifted."""
    run("enqueue", "a", "--handler", "good")
    run("enqueue", "a", "--handler", "good")
    connection.execute(
        "INSERT INTO workerpool.workers (id, manager_id, host, slot, generation, worker_pid, state, last_heartbeat) "
        "VALUES ('gone/w1', 'gone/m', 'gone', 'W1', 1, 1, 'busy', now() - interval '1 h')"
    )
    connection.execute(
        "UPDATE workerpool.revisions SET status = 'processing', attempt = 2, claim_token = gen_random_uuid(), "
        "fence = 7, worker_id = 'gone/w1', lease_expires_at = now() - interval '1 h', started_at = now() WHERE id = 1"
    )
    run("pause", "--reason", "of then", "--until", "+1h")
    run("backup", "queue.dump")
    run("restore", "queue.dump", WORKERPOOL_DATABASE_URL=empty)
    state = "SELECT id, status::text, attempt::integer, claim_token FROM workerpool.revisions ORDER BY id"
    assert rows(empty, state) == [(1, "pending", 1, None), (2, "pending", 0, None)]
    assert "released: the backup that was restored" in rows(empty, "SELECT message FROM workerpool.execution_log")[0][0]
    assert rows(empty, "SELECT count(*) FROM workerpool.workers") == [(0,)]
    last = read(run("events", "--json", WORKERPOOL_DATABASE_URL=empty))[-1]
    assert (last["action"], last["reason"], last["actor"]) == ("resume", "a backup was restored", "workerpool restore")
    assert rows(empty, "SELECT nextval('workerpool.fence') > 0, paused FROM workerpool.pause_state") == [(True, False)]
    assert read(run("enqueue", "a", "--json", WORKERPOOL_DATABASE_URL=empty))["id"] == 3


def test_the_embedded_queue_moves_to_a_server_and_to_another_home(run: Run, empty: str, tmp_path: Path) -> None:
    """Without any setting the embedded server is meant; its backup fits elsewhere."""
    own = {"WORKERPOOL_DATABASE_URL": "", "WORKERPOOL_HOME": str(tmp_path / "own")}
    run("enqueue", "a", **own)
    assert "1 revision" in run("backup", "queue.dump", **own).stdout
    other = own | {"WORKERPOOL_HOME": str(tmp_path / "other")}
    assert "1 revision (1 pending)" in run("restore", "queue.dump", **other).stdout
    assert "1 revision (1 pending)" in run("restore", "queue.dump", WORKERPOOL_DATABASE_URL=empty).stdout
    for target in (other, {"WORKERPOOL_DATABASE_URL": empty}):
        assert read(run("show", "1", "--json", **target))["item_key"] == "a"


def test_what_is_no_backup_or_has_no_place_is_refused(run: Run, database: str, empty: str, tmp_path: Path) -> None:
    """Each with a sentence and its code; what was there stays as it was."""
    run("enqueue", "a")
    run("backup", "queue.dump")
    assert "is there already" in run("backup", "queue.dump", code=4).stderr
    run("backup", "queue.dump", "--force")
    assert "is not empty: it has 1 revision" in run("restore", "queue.dump", code=4).stderr
    target = {"WORKERPOOL_DATABASE_URL": empty}
    whole = (tmp_path / "queue.dump").read_bytes()
    for name, damaged, said in (
        ("text", b"not a dump at all", "it does not begin as"),
        ("cut", whole[:-50], "is damaged"),
        ("head", whole[:500], "cannot be read"),
    ):
        (tmp_path / name).write_bytes(damaged)
        assert said in run("restore", name, code=4, **target).stderr
    assert (
        "does not hold the schema other" in run("restore", "queue.dump", "--schema", "other", code=4, **target).stderr
    )
    assert rows(empty, "SELECT count(*) FROM pg_namespace WHERE nspname = 'workerpool'") == [(0,)]
    run("migrate", **target)
    rows_before = rows(database, COUNTS)
    assert "1 revision (1 pending)" in run("restore", "queue.dump", **target).stdout, (
        "a schema that is there, and empty"
    )
    assert rows(empty, COUNTS) == rows_before


def test_a_backup_of_a_newer_schema_is_refused(
    run: Run, database: str, connection: psycopg.Connection, empty: str, tmp_path: Path
) -> None:
    """78, before anything is changed."""
    connection.execute("UPDATE workerpool.alembic_version SET version_num = '9999'")
    run("backup", "newer.dump", code=78)
    tools = dumping.tools(connection.info.server_version // 10_000, brought=True)
    dumping.dump(tools, database, "workerpool", tmp_path / "newer.dump")
    said = run("restore", "newer.dump", code=78, WORKERPOOL_DATABASE_URL=empty).stderr
    assert "at version 9999, newer than this program knows" in said
    assert rows(empty, "SELECT count(*) FROM pg_namespace WHERE nspname = 'workerpool'") == [(0,)]


def test_a_backup_restored_without_us_starts_nothing(run: Run, empty: str, tmp_path: Path) -> None:
    """pg_restore alone brings a whole queue, paused by the backup, which says so and is let go as any."""
    run("enqueue", "a")
    run("backup", "queue.dump")
    tools = dumping.tools(18, brought=True)
    with psycopg.connect(empty) as connection:
        if connection.info.server_version >= 170000:
            tools.run("pg_restore", [f"--dbname={empty}", "--no-owner", str(tmp_path / "queue.dump")])
            target = {"WORKERPOOL_DATABASE_URL": empty}
            assert "a backup" in run("explain", "1", **target).stdout
            assert "the pool goes on" in run("resume", "--all", **target).stdout


def test_a_password_is_in_no_argument(tmp_path: Path) -> None:
    """Other users of the host read argument lists."""
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" "$PGPASSWORD" > {tmp_path}/said\n')
    program.chmod(0o755)
    url = "postgresql://someone:hidden@127.0.0.1/there"
    dumping.dump(dumping.Tools(tmp_path, 18), url, "workerpool", tmp_path / "file")
    words, password = (tmp_path / "said").read_text().rstrip().rsplit(" ", 1)
    assert password == "hidden"
    assert "hidden" not in words
    assert "user=someone" in words


@pytest.mark.usefixtures("pool")
def test_a_backup_that_is_stopped_leaves_nothing(run: Run, database: str, tmp_path: Path) -> None:
    """No file, no half of one, no pause."""
    run("enqueue", "a", "--handler", "slow")
    until(lambda: rows(database, "SELECT count(*) = 1 FROM workerpool.running_revisions")[0][0])
    settings = environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(tmp_path / "home"))
    process = subprocess.Popen(workerpool("backup", "queue.dump"), env=settings, cwd=tmp_path)
    until(lambda: rows(database, "SELECT paused FROM workerpool.pause_state")[0][0])
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 128 + signal.SIGTERM
    assert run("backup", "queue.dump", "--timeout", "200ms", code=75).stderr
    assert [path.name for path in tmp_path.iterdir() if "queue" in path.name] == []
    assert rows(database, "SELECT paused FROM workerpool.pause_state") == [(False,)]


def test_a_command_that_restarts_postgresql_keeps_its_pause_until_its_end(tmp_path: Path) -> None:
    """`safely` has no connection meanwhile, waits for the server to come back, and takes its pause away."""
    server = OwnServer()
    try:
        server.start()
        settings = environment(WORKERPOOL_DATABASE_URL=server.url, WORKERPOOL_HOME=str(tmp_path / "home"))
        subprocess.run(workerpool("migrate"), env=settings, check=True, capture_output=True)
        words = workerpool("safely", "sh", "-c", "echo ready; read go; exit 3")
        process = subprocess.Popen(
            words, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        server.stop()
        process.stdin.write("\n")
        process.stdin.flush()
        assert "waiting for the database, to take the pause away" in process.stderr.readline()
        server.start()
        assert process.wait(LIMIT) == 3
        process.communicate()
        assert rows(server.url, "SELECT paused FROM workerpool.pause_state") == [(False,)]
        gone = environment(
            WORKERPOOL_DATABASE_URL=server.url, WORKERPOOL_HOME=str(tmp_path), WORKERPOOL_START_TIMEOUT="1s"
        )
        process = subprocess.Popen(words, env=gone, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        server.stop()
        _, said = process.communicate("\n", timeout=LIMIT)
        assert process.returncode == 3
        assert "the pause could not be taken away: the database is not reachable" in said
        assert "`workerpool resume --holder 'safely " in said
    finally:
        server.remove()


def test_programs_that_are_too_old_are_named() -> None:
    """What is there, what is needed, and what to install."""
    with pytest.raises(
        dumping.CannotDump, match=r"of PostgreSQL 99 or newer are needed, and there is only version \d+"
    ):
        dumping.tools(99, brought=False)
    assert dumping.tools(15, brought=True).major >= 15
