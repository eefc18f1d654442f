"""Three roles: the owner migrates, the runtime works and the read-only role looks; neither does more."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from workerpool.store.origin import origin_of

As = Callable[[str], str]
LOGINS = """
CREATE ROLE dba LOGIN CREATEROLE; CREATE DATABASE app OWNER dba; CREATE ROLE plain LOGIN;
CREATE ROLE deployer LOGIN; CREATE ROLE runner LOGIN; CREATE ROLE looker LOGIN; CREATE ROLE patient LOGIN;
ALTER ROLE patient SET statement_timeout = '5min'
"""
MEMBERS = """
GRANT workerpool_owner TO deployer; GRANT workerpool_runtime TO runner; GRANT workerpool_readonly TO looker, patient
"""


def command(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a database."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKERPOOL_", "PG"))}
    return subprocess.run(
        [sys.executable, "-m", "workerpool", *arguments],
        env=clean | {"WORKERPOOL_DATABASE_URL": url} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def said(url: str, *arguments: str) -> str:
    """Run the command line, which must succeed, and return what it printed."""
    done = command(url, *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


#: The oldest PostgreSQL that is supported, as Debian has it: rights of CREATEROLE are others there.
OLDEST = Path("/usr/lib/postgresql/15/bin")
needs_oldest = pytest.mark.skipif(
    not (OLDEST / "postgres").exists(), reason=f"not in {OLDEST} (Debian: apt-get install postgresql-15)"
)
PROGRAMS = [pytest.param(None, id="usual"), pytest.param(OLDEST, id="15", marks=needs_oldest)]


@pytest.fixture(scope="module", params=PROGRAMS)
def login(request: pytest.FixtureRequest) -> Iterator[As]:
    """A server where `dba`, no superuser, made schema and roles, and logins are members: the URL for each of them."""
    server = OwnServer(request.param)
    try:
        server.start()
        server.let_in()

        def url(name: str) -> str:
            return make_conninfo(server.admin, user=name, dbname="app")

        with psycopg.connect(server.admin, autocommit=True) as connection:
            for statement in LOGINS.split(";"):
                connection.execute(statement.encode())
        told = said(url("dba"), "migrate", "--roles")
        assert "workerpool_owner (migrates), workerpool_runtime (works) and workerpool_readonly (looks)" in told
        with psycopg.connect(server.admin, autocommit=True) as connection:
            connection.execute(MEMBERS)
            assert request.param is None or connection.info.server_version // 10_000 == 15
            if connection.info.server_version >= 160_000:  # before, CREATEROLE might change every login
                done = command(url("dba"), "migrate", "--roles")
                assert done.returncode == 0, done.stderr
                assert "role looker keeps its settings" in done.stderr
                assert "ALTER ROLE looker IN DATABASE app SET statement_timeout" in done.stderr
            connection.execute("GRANT looker, patient TO dba WITH ADMIN OPTION")
        said(url("dba"), "migrate", "--roles")  # idempotent, and the new members get their settings
        yield url
    finally:
        server.remove()


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement and return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_daemon_works_as_a_member_of_runtime_alone(login: As, tmp_path: Path) -> None:
    """A login that is only in the runtime role starts a pool, adds work by plain SQL and by command, pauses, prunes."""
    daemon = Daemon(login("runner"), tmp_path)
    try:
        daemon.start()
        first = daemon.insert("page", "work")
        assert daemon.ended(first)["status"] == "completed"
        told = json.loads(said(login("runner"), "enqueue", "page", "--handler", "work", "--json"))
        assert daemon.ended(int(told["id"]))["status"] == "completed"
        said(login("runner"), "pause", "--mode", "drain", "--reason", "a test", "--wait")
        held = daemon.insert("page", "work")
        said(login("runner"), "resume", "--reason", "it is over")
        assert daemon.ended(held)["status"] == "completed"
        assert "deleted" in said(login("runner"), "prune", "--older-than", "0s", "--yes")
        crashed = daemon.insert("other", "work", {"seconds": 20})
        daemon.begun(crashed)
        said(login("runner"), "cancel", str(crashed))
        assert daemon.ended(crashed)["status"] == "cancelled"
        assert not daemon.events("duty.failed")
        assert "may do what is needed" in command(login("runner"), "doctor").stdout
        assert daemon.stop() == 0
    finally:
        daemon.clear()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE workerpool.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION workerpool.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE workerpool.revisions",
        "DROP FUNCTION workerpool.may_work()",
        "ALTER TABLE workerpool.revisions ADD COLUMN mine int",
        "ALTER TABLE workerpool.revisions DISABLE TRIGGER ALL",
        "TRUNCATE workerpool.revisions CASCADE",
        "DELETE FROM workerpool.control_events",
        "UPDATE workerpool.control_events SET actor = 'nobody'",
        "UPDATE workerpool.alembic_version SET version_num = '9999'",
        "COPY workerpool.revisions TO PROGRAM 'true'",
        "COPY workerpool.revisions (item_key) FROM PROGRAM 'echo a'",
        "COPY workerpool.revisions TO '/tmp/mine'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT setval('workerpool.fence', 1)",
        "CREATE ROLE mine",
        "SET ROLE workerpool_owner",
        "SET session_replication_role = replica",
        "ALTER SYSTEM SET work_mem = '1MB'",
    ],
)
def test_runtime_changes_no_schema_and_reaches_no_file(login: As, statement: str) -> None:
    """What a runtime login has no business with is refused by the server, and not only by us."""
    with pytest.raises(errors.InsufficientPrivilege):
        run(login("runner"), statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO workerpool.revisions (item_key) VALUES ('a')",
        "UPDATE workerpool.revisions SET status = 'cancelled'",
        "DELETE FROM workerpool.revisions",
        "TRUNCATE workerpool.revisions CASCADE",
        "SELECT * FROM workerpool.revisions FOR UPDATE",
        "SELECT workerpool.pause('all', 'drain', 'a', 'b', NULL, NULL)",
        "SELECT workerpool.resume('all', NULL, 'a', 'b')",
        "SELECT workerpool.cancel(ARRAY[1]::bigint[], 'a', 'b')",
        "SELECT workerpool.heal('', 10)",
        "SELECT workerpool.may_work()",
        "SELECT nextval('workerpool.fence')",
        "SELECT digest FROM workerpool.api_tokens",
        "SELECT key FROM workerpool.receipts",
        "CREATE TABLE workerpool.mine (a int)",
        "COPY workerpool.revisions TO PROGRAM 'true'",
        "SELECT pg_read_file('PG_VERSION')",
    ],
)
def test_read_only_writes_nothing_and_sees_no_secret(login: As, statement: str) -> None:
    """Also where a login of the read-only role turns off what its settings forbid."""
    with psycopg.connect(login("looker"), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_no_function_that_claims_or_settles_is_for_everybody(login: As) -> None:
    """Neither the read-only role nor a login in no group may call any function of the schema."""
    for name in ("looker", "plain"):
        query = "SELECT p.proname FROM pg_proc p WHERE pronamespace = to_regnamespace('workerpool') AND "
        assert run(login("dba"), query + f"has_function_privilege('{name}', p.oid, 'EXECUTE')") == []


def test_a_program_that_may_only_insert_enqueues_as_before(login: As) -> None:
    """That functions are not for everybody any more takes nothing from a plain INSERT."""
    run(login("deployer"), "GRANT USAGE ON SCHEMA workerpool TO plain")
    run(login("deployer"), "GRANT INSERT, SELECT ON workerpool.revisions TO plain")
    run(login("deployer"), "GRANT SELECT ON workerpool.workers TO plain")
    query = (
        "INSERT INTO workerpool.revisions (item_key, status, run_at) VALUES ('b', 'draft', now() + '1h') RETURNING 1"
    )
    assert run(login("plain"), query) == [(1,)]
    query = "INSERT INTO workerpool.revisions (item_key, handler) VALUES ('b', 'nobody') RETURNING 1"
    assert run(login("plain"), query) == [(1,)]


def test_every_definer_function_pins_its_search_path(login: As) -> None:
    """A function that acts as the owner finds its tables and operators where the owner says, not the caller."""
    query = (
        "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = to_regnamespace('workerpool') "
        "AND proconfig::text NOT LIKE '%search_path=pg_catalog, pg_temp%'"
    )
    assert run(login("dba"), query) == []


def test_read_only_looks_with_bounds(login: As) -> None:
    """A login of the read-only role reads tables and views as typed, for 30 s; what somebody chose stays."""
    run(login("runner"), "INSERT INTO workerpool.revisions (item_key, status) VALUES ('seen', 'draft')")
    assert run(login("looker"), "SELECT count(*) FROM revisions WHERE item_key = 'seen'") == [(1,)]
    for name in ("queue_status", "item_status", "stuck_revisions", "safe_state", "workers", "control_events"):
        run(login("looker"), f"SELECT * FROM {name}")
    run(login("looker"), "SELECT name, role FROM api_tokens")
    settings = "SELECT current_setting('statement_timeout'), current_setting('search_path')"
    assert run(login("looker"), settings) == [("30s", "workerpool")]
    assert run(login("patient"), settings) == [("5min", "public")]
    with pytest.raises(errors.ReadOnlySqlTransaction):
        run(login("looker"), "INSERT INTO workerpool.revisions (item_key) VALUES ('a')")


def test_a_schema_that_is_behind_is_said_to_a_runtime_role(login: As, tmp_path: Path) -> None:
    """`start` by a role that may not migrate ends with 78 and says who may; it leaves the schema as it is."""
    known = run(login("deployer"), "SELECT version_num FROM workerpool.alembic_version")[0][0]
    run(login("deployer"), "UPDATE workerpool.alembic_version SET version_num = '0000'")
    daemon = Daemon(login("runner"), tmp_path)
    try:
        assert daemon.spawn().code() == 78
        why = daemon.events("schema.refused")[0]
        assert "this role may not migrate" in why["why"]
        assert "as a member of its owner, role workerpool_owner" in why["why"]
    finally:
        daemon.clear()
        run(login("deployer"), f"UPDATE workerpool.alembic_version SET version_num = '{known}'")


def test_rights_follow_a_migration_and_what_it_makes_is_the_owners(login: As) -> None:
    """After `migrate` by a member of the owner, what is new is the runtime's to use and the others' to see."""
    run(login("deployer"), "SET ROLE workerpool_owner; CREATE TABLE workerpool.later (a int)")
    run(login("deployer"), "REVOKE EXECUTE ON FUNCTION workerpool.may_work() FROM workerpool_runtime")
    try:
        said(login("deployer"), "migrate")
        run(login("runner"), "INSERT INTO workerpool.later VALUES (1)")
        run(login("runner"), "SELECT workerpool.may_work()")
        assert run(login("looker"), "SELECT a FROM later") == [(1,)]
        owners = "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class WHERE relnamespace = "
        assert run(login("dba"), owners + "to_regnamespace('workerpool')") == [("workerpool_owner",)]
        others = "SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('workerpool') AND "
        assert run(login("dba"), others + "proowner <> 'workerpool_owner'::regrole") == []
    finally:
        run(login("deployer"), "DROP TABLE workerpool.later")


def test_who_may_not_make_roles_is_told_what_to_ask_for(login: As) -> None:
    """Without CREATEROLE: 78, the roles that are missing, and that `--sql` prints what an administrator can run."""
    run(make_conninfo(login("postgres"), dbname="postgres"), "CREATE DATABASE simple OWNER plain")
    url = make_conninfo(login("plain"), dbname="simple")
    done = command(url, "migrate", "--roles", WORKERPOOL_SCHEMA="queue")
    assert done.returncode == 78
    assert "role plain may not create the roles queue_owner, queue_runtime, queue_readonly: it lacks" in done.stderr
    assert 'ALTER ROLE "plain" CREATEROLE' in done.stderr
    assert "migrate --roles --sql" in done.stderr
    printed = command(url, "migrate", "--roles", "--sql", WORKERPOOL_SCHEMA="queue")
    admin = make_conninfo(login("postgres"), dbname="simple")
    run(admin, printed.stdout)
    run(admin, printed.stdout)  # again, which changes nothing
    owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'queue'"
    assert run(admin, owner) == [("queue_owner",)]
    run(admin, "GRANT queue_runtime TO plain")
    run(url, "INSERT INTO queue.revisions (item_key) VALUES ('a')")
    assert until(lambda: run(url, "SELECT count(*) FROM queue.revisions")) == [(1,)]


def test_a_schema_with_a_long_name_is_refused_by_name(login: As) -> None:
    """PostgreSQL would cut the names of roles, and two schemas would share them."""
    done = command(login("dba"), "migrate", "--roles", "--sql", WORKERPOOL_SCHEMA="s" * 60)
    assert done.returncode == 78
    assert "63 are allowed" in done.stderr


def test_runtime_may_ask_which_server_it_is(login: As) -> None:
    """The identifier of the cluster and its timeline: without them nobody could say that there was a failover."""
    with psycopg.connect(login("runner"), autocommit=True) as connection:
        origin = origin_of(connection)
    assert origin is not None
    assert (origin.system > 0, origin.timeline) == (True, 1)
