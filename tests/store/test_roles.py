"""S20: three roles. The owner migrates, the runtime role changes rows and never tables, the read-only role looks."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.calling import environment
from tests.conftest import Databases
from tests.process.daemon import Daemon, until
from workerpool.store import migrate, roles
from workerpool.store.roles import Roles


@dataclass(frozen=True, slots=True)
class Place:
    """A database with a schema and its roles; *admin* is the administrator's URL of it."""

    admin: str
    schema: str
    roles: Roles

    def url(self, role: str) -> str:
        """The URL of somebody who is this role."""
        return f"{self.admin}{'&' if '?' in self.admin else '?'}options=-c%20role%3D{role}"


@pytest.fixture
def place(server: Databases) -> Iterator[Place]:
    """A database whose schema has its roles; they are the whole server's, so they have names of this test's own."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name)
    admin = re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", server.admin)
    schema = f"pool_{uuid.uuid4().hex[:6]}"
    try:
        yield Place(admin, schema, roles.grant(admin, schema))
    finally:
        server.drop(name)
        with psycopg.connect(server.admin, autocommit=True) as connection:
            for role in astuple(roles.names(schema)):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def workerpool(place: Place, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command with this address."""
    variables = environment(WORKERPOOL_DATABASE_URL=url, WORKERPOOL_SCHEMA=place.schema)
    argv = [sys.executable, "-m", "workerpool", *arguments]
    return subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_a_pool_runs_as_the_runtime_role(place: Place, tmp_path: Path) -> None:
    """A daemon whose login owns nothing starts, performs, is paused, prunes and stops; it says what it may not do."""
    daemon = Daemon(place.url(place.roles.runtime), tmp_path, schema=place.schema)
    try:
        daemon.start()
        insert = (
            f"INSERT INTO {place.schema}.revisions (item_key, handler) SELECT 'page', 'work' FROM (VALUES (1), (2)) n"
        )
        insert += " RETURNING id"
        first, second = (row["id"] for row in daemon.sql(insert))
        text = f"SELECT status FROM {place.schema}.revisions WHERE id = %s"
        until(lambda: daemon.sql(text, second) == [{"status": "completed"}], what=f"completed\n{daemon.tail()}")
        url = place.url(place.roles.runtime)
        assert workerpool(place, url, "pause", "--reason", "test").returncode == 0
        assert workerpool(place, url, "resume").returncode == 0
        assert workerpool(place, url, "prune", "--older-than", "0s", "--yes").returncode == 0
        assert daemon.sql(text, first) == []
        told = workerpool(place, url, "doctor").stdout
        assert f"role {place.roles.runtime} may do what is needed" in told
        assert daemon.stop() == 0
    finally:
        daemon.clear()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {schema}.more (n integer)",
        "DROP TABLE {schema}.revisions",
        "ALTER TABLE {schema}.revisions DROP COLUMN payload",
        "TRUNCATE {schema}.revisions CASCADE",
        "DROP TRIGGER revisions_wake ON {schema}.revisions",
        "ALTER TABLE {schema}.revisions DISABLE TRIGGER ALL",
        "CREATE OR REPLACE FUNCTION {schema}.item_lock(item_key text) RETURNS bigint LANGUAGE sql RETURN 1",
        "UPDATE {schema}.alembic_version SET version_num = '0000'",
        "CREATE SCHEMA elsewhere",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('postgresql.conf')",
        "CREATE ROLE somebody",
    ],
)
def test_neither_role_changes_tables_or_reaches_the_server(place: Place, statement: str) -> None:
    """What a stolen login of the pool, or of somebody who looks, cannot do."""
    for role in (place.roles.runtime, place.roles.readonly):
        with psycopg.connect(place.url(role), autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")  # the role's own default is no protection
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement).format(schema=sql.Identifier(place.schema)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {schema}.revisions (item_key) VALUES ('page')",
        "UPDATE {schema}.revisions SET priority = 1",
        "DELETE FROM {schema}.revisions",
        "INSERT INTO {schema}.pauses (mode, reason, actor, holder) VALUES ('drain', 'no', 'eve', 'eve')",
        "SELECT * FROM {schema}.settle(ARRAY[1::bigint], ARRAY[gen_random_uuid()], '{{completed}}', '{{NULL}}', "
        "'{{NULL}}', '{{NULL}}', '{{0}}', '{{false}}')",
        "SELECT digest FROM {schema}.api_tokens",
        "SELECT * FROM {schema}.api_tokens",
    ],
)
def test_who_looks_changes_nothing_and_sees_no_digest(place: Place, statement: str) -> None:
    """The read-only role, even where it switches its own default off."""
    with psycopg.connect(place.url(place.roles.readonly), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(sql.SQL(statement).format(schema=sql.Identifier(place.schema)))  # type: ignore[arg-type]


def test_who_looks_sees_every_table_and_view(place: Place) -> None:
    """Each table and view of the schema can be read, of the tokens all but the digest; and no look lasts for ever."""
    with psycopg.connect(place.url(place.roles.readonly), autocommit=True) as connection:
        found = connection.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v')",
            [place.schema],
        ).fetchall()
        names = sorted(row[0] for row in found)
        assert {"revisions", "item_status", "api_tokens"} <= set(names)
        for name in names:
            what = sql.SQL("name, role" if name == "api_tokens" else "*")
            text = sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier(place.schema, name))
            connection.execute(text)
        row = connection.execute("SELECT rolconfig FROM pg_roles WHERE rolname = %s", [place.roles.readonly]).fetchone()
    assert row is not None
    assert set(row[0]) == {
        f"search_path={place.schema}",
        "statement_timeout=30s",
        "default_transaction_read_only=on",
    }


def test_everything_belongs_to_the_owner_who_migrates(place: Place) -> None:
    """The owner, who is no administrator, may take the schema down and up; roles are granted as often as wanted."""
    with psycopg.connect(place.admin, autocommit=True) as connection:
        strangers = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = %(n)s::regnamespace AND relowner <> %(o)s::regrole "
            "AND relkind <> 'i' "
            "UNION ALL SELECT proname FROM pg_proc "
            "WHERE pronamespace = %(n)s::regnamespace AND proowner <> %(o)s::regrole",
            {"n": place.schema, "o": place.roles.owner},
        ).fetchall()
        assert strangers == []
        connection.execute(
            sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                sql.Identifier(str(conninfo_to_dict(place.admin)["dbname"])), sql.Identifier(place.roles.owner)
            )
        )
    owner = place.url(place.roles.owner)
    migrate.downgrade(owner, "base", place.schema)
    migrate.upgrade(owner, place.schema)
    assert roles.grant(place.admin, place.schema) == place.roles
    assert roles.grant(place.admin, place.schema) == place.roles


def test_roles_by_command(place: Place) -> None:
    """Who may not make roles is told what to ask for; what `--sql` prints is what an administrator runs."""
    runtime = place.url(place.roles.runtime)
    refused = workerpool(place, runtime, "migrate", "--roles")
    assert refused.returncode == 4
    assert f"role {place.roles.runtime} may not make the roles of schema {place.schema}" in refused.stderr
    assert "`workerpool migrate --roles --sql` prints" in refused.stderr
    printed = workerpool(place, runtime, "migrate", "--roles", "--sql")
    assert printed.returncode == 0
    with psycopg.connect(place.admin, autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    made = workerpool(place, place.admin, "migrate", "--roles")
    assert made.returncode == 0, made.stderr
    assert f"role {place.roles.readonly} is for looking" in made.stdout
    assert workerpool(place, runtime, "migrate", "--roles", "--down-to", "base").returncode == 2
