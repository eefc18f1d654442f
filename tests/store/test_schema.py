"""The schema by itself: what any SQL client may do, what it may not, and how it comes and goes."""

import subprocess
import threading
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from tests.conftest import Databases
from tests.store.driving import Session, done
from workerpool.store import migrate, versions
from workerpool.store.embedded import program


@pytest.fixture
def empty(server: Databases) -> Iterator[str]:
    """The URL of a database in which nobody has migrated."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


def objects(url: str, schema: str = "workerpool") -> set[tuple[str, str]]:
    """Return everything that the catalogue holds in *schema*, by kind and name."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            """
            SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = %(n)s::regnamespace
            UNION SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = %(n)s::regnamespace
            UNION SELECT 'type', typname::text FROM pg_type WHERE typnamespace = %(n)s::regnamespace
            UNION SELECT 'trigger', tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                  WHERE c.relnamespace = %(n)s::regnamespace AND NOT tgisinternal
            UNION SELECT 'column', format('%%s.%%s %%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
                  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                  WHERE c.relnamespace = %(n)s::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
            """,
            {"n": f'"{schema.replace(chr(34), chr(34) * 2)}"'},
        ).fetchall()
    return {(row[0], row[1]) for row in rows}


def test_plain_insert_is_a_complete_enqueue(connection: psycopg.Connection) -> None:
    """DESIGN 4.1: item_key and payload are enough, or item_key alone; everything else has its default."""
    connection.execute("INSERT INTO workerpool.revisions (item_key, payload) VALUES ('a', '{\"n\": 1}')")
    connection.execute("INSERT INTO workerpool.revisions (item_key) VALUES ('a')")
    rows = connection.execute(
        "SELECT id, handler, payload, status, priority, parked, attempt, max_attempts, crash_count, "
        "created_at = updated_at, run_at = created_at, actual_duration FROM workerpool.revisions ORDER BY id"
    ).fetchall()
    assert rows == [
        (1, "default", {"n": 1}, "pending", 0, None, 0, None, 0, True, True, None),
        (2, "default", {}, "pending", 0, None, 0, None, 0, True, True, None),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("item_key => ''", "item_key_has_1_to_512_characters"),
        ("item_key => repeat('x', 513)", "item_key_has_1_to_512_characters"),
        ("item_key => NULL", 'null value in column "item_key"'),
        ("handler => ''", "handler_has_1_to_200_characters"),
        ("status => 'queued'", "status_is_draft_scheduled_pending_processing_or_an_end"),
        ("parked => 'for ever'", "parked_is_null_behind_or_due"),
        ("payload => 'nonsense'", "invalid input syntax for type json"),
        ("priority => 40000", "smallint out of range"),
        ("attempt => -1", "number_is_not_negative"),
        ("max_attempts => 0", "number_is_1_or_more"),
        ("timeout_seconds => 0", "seconds_are_more_than_0"),
        ("progress_percentage => 101", "percentage_is_0_to_100"),
        ("status => 'failed', completed_at => now(), error_kind => 'bad'", "error_kind_is_error_timeout_crash"),
        ("status => 'processing'", "revisions_status_is_whole"),
        ("status => 'completed', completed_at => now()", "revisions_status_is_whole"),
        ("status => 'draft', parked => 'behind'", "revisions_status_is_whole"),
        ("status => 'failed'", "revisions_status_is_whole"),
        ("revision_number => 4", "revisions_status_is_whole"),
    ],
)
def test_bad_values_are_refused(connection: psycopg.Connection, columns: str, message: str) -> None:
    """DESIGN 4.1: a value that the contract does not know is refused by a rule whose name says what is allowed."""
    given = dict(each.strip().split(" => ") for each in columns.split(", ") if " => " in each)
    if "repeat" in columns:
        given = {"item_key": "repeat('x', 513)"}
    given.setdefault("item_key", "'a'")
    with pytest.raises(errors.Error, match=message):
        connection.execute(
            f"INSERT INTO workerpool.revisions ({', '.join(given)}) VALUES ({', '.join(given.values())})".encode()
        )


def test_id_cannot_be_chosen(connection: psycopg.Connection) -> None:
    """P3: the order inside an item is the database's: nobody brings ids along by accident."""
    with pytest.raises(errors.GeneratedAlways):
        connection.execute("INSERT INTO workerpool.revisions (id, item_key) VALUES (7, 'a')")


def test_dedupe_key_is_unique_among_the_unfinished(connection: psycopg.Connection) -> None:
    """DESIGN 4.1: one unfinished revision of an item may have a dedupe_key; finished ones do not count."""
    insert = "INSERT INTO workerpool.revisions (item_key, dedupe_key, status, completed_at) VALUES (%s, 'k', %s, %s)"
    connection.execute(insert, ["a", "cancelled", "2020-01-01"])
    connection.execute(insert, ["a", "pending", None])
    connection.execute(insert, ["b", "pending", None])
    for status in ("pending", "draft"):
        with pytest.raises(errors.UniqueViolation, match="revisions_dedupe"):
            connection.execute(insert, ["a", status, None])


def test_one_processing_revision_of_an_item(database: str, connection: psycopg.Connection) -> None:
    """P2: the database itself refuses a second revision of an item that is processing."""
    with Session(database) as worker:
        worker.insert("a", "a")
        worker.turn()
    with pytest.raises(errors.UniqueViolation, match="revisions_one_processing"):
        connection.execute(
            "UPDATE workerpool.revisions SET status = 'processing', parked = NULL, claim_token = gen_random_uuid(), "
            "lease_expires_at = now(), worker_id = 'x' WHERE id = 2"
        )


def test_future_run_at_schedules(connection: psycopg.Connection) -> None:
    """R6: a row inserted with a later run_at is scheduled; other statuses stay what they are."""
    connection.execute(
        "INSERT INTO workerpool.revisions (item_key, run_at, status) "
        "VALUES ('a', now() + interval '1 hour', 'pending'), "
        "('a', now() + interval '1 hour', 'draft'), ('a', now() - interval '1 hour', 'pending')"
    )
    rows = connection.execute("SELECT status FROM workerpool.revisions ORDER BY id").fetchall()
    assert rows == [("scheduled",), ("draft",), ("pending",)]


def test_changed_run_at_parks_anew(connection: psycopg.Connection) -> None:
    """R6: a new run_at decides where the row waits; setting the same one again, or another column, decides nothing."""

    def change(text: str) -> tuple[object, ...] | None:
        connection.execute(f"UPDATE workerpool.revisions SET {text} WHERE id = 1".encode())
        return connection.execute("SELECT status, parked FROM workerpool.revisions").fetchone()

    connection.execute("INSERT INTO workerpool.revisions (item_key) VALUES ('a')")
    assert change("run_at = now() + interval '1 hour'") == ("pending", "due")
    assert change("run_at = run_at, priority = 3") == ("pending", "due")
    assert change("run_at = now()") == ("pending", None)
    assert change("parked = 'behind'") == ("pending", "behind")
    assert change("run_at = now() - interval '1 hour'") == ("pending", None)
    assert change("status = 'scheduled', run_at = now() + interval '1 hour'") == ("scheduled", None)
    assert change("run_at = now() - interval '1 hour'") == ("scheduled", None)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'pending', completed_at = NULL, claim_token = NULL, revision_number = NULL",
        "status = 'cancelled', revision_number = NULL",
        "result = '{\"n\": 2}'",
        "payload = '{}'",
        "item_key = 'b'",
        "completed_at = now()",
        "revision_number = 9",
        "error_message = 'no'",
    ],
)
def test_terminal_rows_do_not_change(database: str, connection: psycopg.Connection, change: str) -> None:
    """P1: a finished revision refuses every change, unless a named operator makes it; then it is on record."""
    with Session(database) as worker:
        worker.insert("a", payload='{"n": 1}')
        worker.turn(*map(done, worker.turn()))
    statement = f"UPDATE workerpool.revisions SET {change} WHERE id = 1".encode()
    with pytest.raises(
        errors.IntegrityError, match="revision 1 is completed: a finished revision does not change"
    ) as raised:
        connection.execute(statement)
    assert "workerpool.actor" in (raised.value.diag.message_hint or "")
    connection.execute("UPDATE workerpool.revisions SET payload = payload, updated_at = now() WHERE id = 1")
    last = connection.execute("SELECT coalesce(max(id), 0) FROM workerpool.control_events").fetchone()
    assert last is not None
    with connection.transaction():
        connection.execute("SET LOCAL workerpool.actor = 'ann@desk'")
        connection.execute(statement)
    recorded = connection.execute(
        "SELECT control, actor, target, reason FROM workerpool.control_events WHERE id > %s", [last[0]]
    ).fetchall()
    assert recorded == [("revision", "ann@desk", "1", "was completed")]


def test_terminal_rows_may_be_pruned(database: str, connection: psycopg.Connection) -> None:
    """P1: deleting is not changing: old rows go, with their log."""
    with Session(database) as worker:
        worker.insert("a")
        worker.settle(*map(done, worker.turn()))
    connection.execute("INSERT INTO workerpool.execution_log (revision_id, attempt, message) VALUES (1, 1, 'x')")
    connection.execute("DELETE FROM workerpool.revisions")
    assert connection.execute("SELECT count(*) FROM workerpool.execution_log").fetchone() == (0,)


def test_control_events_are_append_only(connection: psycopg.Connection) -> None:
    """P10: what operators did cannot be changed, deleted or emptied."""
    connection.execute("INSERT INTO workerpool.control_events (control, action, actor) VALUES ('pause', 'set', 'ann')")
    for statement in (
        "UPDATE workerpool.control_events SET actor = 'bob'",
        "DELETE FROM workerpool.control_events",
        "TRUNCATE workerpool.control_events",
    ):
        with pytest.raises(errors.IntegrityError, match="control_events is append only"):
            connection.execute(statement)


def test_notify_only_for_the_hungry_once_a_statement(database: str, connection: psycopg.Connection) -> None:
    """R11: no idle worker, no notification; with one, a statement of any size sends exactly one."""
    insert = "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || g FROM generate_series(1, 50) g"
    with psycopg.connect(database, autocommit=True) as ear:
        ear.execute('LISTEN "workerpool"')
        connection.execute(
            "INSERT INTO workerpool.workers (id, manager_id, host, slot, generation, worker_pid, state) "
            "VALUES ('w', 'm', 'h', 'W1', 1, 1, 'busy')"
        )
        connection.execute(insert)
        assert list(ear.notifies(timeout=0.05)) == []
        connection.execute("UPDATE workerpool.workers SET state = 'idle'")
        connection.execute(insert)
        heard = list(ear.notifies(timeout=5, stop_after=1))
        assert [(each.channel, each.payload) for each in heard] == [("workerpool", "")]
        assert list(ear.notifies(timeout=0.05)) == []


def test_everything_explains_itself(connection: psycopg.Connection) -> None:
    r"""Issue 2: every table, view, column and function has a comment, so that \d+ says what it is."""
    silent = connection.execute(
        """
        SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c
        LEFT JOIN LATERAL (SELECT attnum, attname FROM pg_attribute a
                           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                           UNION ALL SELECT 0, NULL) a ON true
        WHERE c.relnamespace = 'workerpool'::regnamespace AND c.relkind IN ('r', 'v') AND c.relname <> 'alembic_version'
          AND coalesce(col_description(c.oid, nullif(a.attnum, 0)),
                       CASE a.attnum WHEN 0 THEN obj_description(c.oid, 'pg_class') END, '') = ''
        UNION ALL
        SELECT p.proname || '()' FROM pg_proc p
        WHERE p.pronamespace = 'workerpool'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
        """
    ).fetchall()
    assert silent == []


def test_up_down_up(empty: str) -> None:
    """Issue 2: a downgrade leaves nothing behind but the version table; what comes up again is the same."""
    migrate.upgrade(empty)
    first = objects(empty)
    assert ("relation", "revisions") in first
    migrate.upgrade(empty)
    migrate.downgrade(empty, "base")
    assert {name for kind, name in objects(empty) if kind in {"relation", "function"}} == {
        "alembic_version",
        "alembic_version_pkc",
    }
    migrate.upgrade(empty)
    assert objects(empty) == first


def test_two_hosts_migrate_at_once(empty: str) -> None:
    """Issue 2, F37: of several upgrades at the same moment each step is applied once, and all succeed."""
    gate = threading.Barrier(3)
    failed: list[BaseException] = []

    def host() -> None:
        gate.wait()
        try:
            migrate.upgrade(empty)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=host) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with psycopg.connect(empty) as connection:
        versions.check(connection, "workerpool")


@pytest.mark.parametrize("schema", ["workerpool", 'Odd "Name"\'s'])
def test_script_runs_through_psql(empty: str, schema: str) -> None:
    """Issue 2: what `migrate --sql` prints is what psql can run, and makes the same schema as the program does."""
    psql = program("psql")
    run = subprocess.run(
        [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty],
        input=migrate.script(schema),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    with psycopg.connect(empty) as connection:
        versions.check(connection, schema)
    made = objects(empty, schema)
    migrate.upgrade(empty, schema)
    migrate.downgrade(empty, "base", schema)
    migrate.upgrade(empty, schema)
    assert objects(empty, schema) == made


def test_newer_schema_is_refused(empty: str) -> None:
    """Issue 2: a program does not work on a schema newer than itself, nor on one that is older or not there."""
    with psycopg.connect(empty, autocommit=True) as connection:
        with pytest.raises(versions.SchemaTooOld, match="not there yet"):
            versions.check(connection, "workerpool")
        migrate.upgrade(empty)
        versions.check(connection, "workerpool")
        connection.execute("UPDATE workerpool.alembic_version SET version_num = '9999'")
        with pytest.raises(versions.SchemaTooNew, match="at version 9999, newer"):
            versions.check(connection, "workerpool")
        with pytest.raises(versions.SchemaTooNew):
            migrate.upgrade(empty)
        connection.execute("UPDATE workerpool.alembic_version SET version_num = '0000'")
        with pytest.raises(versions.SchemaTooOld, match="at version 0000"):
            versions.check(connection, "workerpool")


@pytest.mark.parametrize("schema", ["other", 'Odd "Name"\'s'])
def test_another_schema_name(empty: str, schema: str) -> None:
    """DESIGN 4.1: WORKERPOOL_SCHEMA renames everything, beside another pool in the same database, also the channel."""
    migrate.upgrade(empty)
    migrate.upgrade(empty, schema)
    with Session(empty, schema=schema) as worker, psycopg.connect(empty, autocommit=True) as ear:
        ear.execute(sql.SQL("LISTEN {}").format(sql.Identifier(schema)))
        worker.sql(
            "INSERT INTO {schema}.workers (id, manager_id, host, slot, generation, worker_pid, state) "
            "VALUES ('w', 'm', 'h', 'W1', 1, 1, 'idle')"
        )
        worker.insert("a", "a", "b", "b")
        assert [each.channel for each in ear.notifies(timeout=5, stop_after=1)] == [schema]
        held = worker.turn(how_many=5)
        held = worker.turn(*map(done, held), how_many=5)
        assert [each.id for each in held] == [2, 4]
        worker.settle(*map(done, held))
        assert worker.dismiss(1) == set()
        assert worker.heal() == []
        assert worker.sql("SELECT count(*) FROM workerpool.revisions") == [(0,)]
        assert worker.sql("SELECT item_key, current_revision_number FROM {schema}.item_status") == []
        worker.sql(
            "SELECT * FROM {schema}.queue_status, {schema}.safe_state, {schema}.active_counts, {schema}.stuck_revisions"
        )


def test_statements_need_no_search_path(database: str) -> None:
    """S20: every name in our SQL is complete: a foreign table called revisions in the path is not touched."""
    with Session(database) as worker:
        worker.sql("CREATE SCHEMA trap; CREATE TABLE trap.revisions (id int); SET search_path = trap")
        try:
            worker.insert("a")
            worker.settle(*map(done, worker.turn()))
            assert worker.rows() == {1: ("completed", None)}
        finally:
            worker.sql("DROP SCHEMA trap CASCADE")
