"""The schema's versions: forward, back, and as a script for a database administrator.

Owns: running the numbered steps in ``migrations/steps`` under one lock. Alembic keeps the version table; the steps are
plain .sql. Does not own: when to migrate (``prepare`` and the ``migrate`` verb do).
Invariant: two hosts that migrate at once apply each step once; a program never works on a schema newer than itself.
"""

from __future__ import annotations

import io
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as SqlAlchemy
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from workerpool.store import roles, versions
from workerpool.store.connection import connect, quoted

HERE = Path(__file__).parent / "migrations"
#: One lock for all migrations of one schema; its second part is the schema's hash.
MIGRATION_LOCK = 7083491


def _config(schema: str, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["schema"] = schema
    return config


def upgrade(url: str, schema: str = "workerpool") -> None:
    """Bring *schema* of the database at *url* to this program's version; safe from several hosts at once.

    Raises SchemaTooNew where a newer program was here, and psycopg.Error where the database refuses.
    """
    _run(url, schema, "head")


def downgrade(url: str, version: str, schema: str = "workerpool") -> None:
    """Take *schema* back to *version* (``base``: nothing is left of it, data included)."""
    _run(url, schema, version)


def _run(url: str, schema: str, target: str) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(url, role="migrate", autocommit=False), poolclass=NullPool
    )
    # The lock is taken before Alembic is entered, whose context is one for all threads of a process.
    with engine.begin() as connection:
        driver = _driver(connection)
        _before(driver, schema, target)
        config = _config(schema)
        config.attributes["connection"] = connection
        if target == "head":
            command.upgrade(config, target)
        else:
            command.downgrade(config, target)
        _after(driver, schema)


def _driver(connection: SqlAlchemy) -> psycopg.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection), "it was made by us"
    return driver


def _before(connection: psycopg.Connection, schema: str, target: str) -> None:
    """Begin the transaction of a migration: alone, as the schema's owner, on a schema that this program knows.

    Everything is of the transaction and nothing of the session, so that a pooler may stand between.
    """
    connection.prepare_threshold = None
    connection.execute(
        "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
    )
    connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [MIGRATION_LOCK, schema])
    connection.execute("SET LOCAL lock_timeout = '30s'")
    found, known = versions.found(connection, schema), versions.newest()
    if found is not None and found > known:
        raise versions.SchemaTooNew(schema, found, known)
    owner = _owner(connection, schema)
    if owner is None:
        connection.execute(f"CREATE SCHEMA {quoted(schema)}".encode())
        return
    name, is_self, may_become, may_act = owner
    if not may_act and not may_become and found != (known if target == "head" else target):
        raise versions.MayNotMigrate(schema, found, known, name)
    if may_become and not is_self:  # what a migration makes belongs to whom the rest belongs
        connection.execute(f"SET LOCAL ROLE {quoted(name)}".encode())


def _owner(connection: psycopg.Connection, schema: str) -> tuple[str, bool, bool, bool] | None:
    """Return the schema's owner, and whether this role is it, may become it, and may do what it may."""
    become = "SET" if connection.info.server_version >= 160_000 else "MEMBER"
    return connection.execute(
        "SELECT pg_get_userbyid(nspowner), nspowner = current_user::regrole, pg_has_role(nspowner, %s), "
        "pg_has_role(nspowner, 'USAGE') OR has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s",
        [become, schema],
    ).fetchone()


def _after(connection: psycopg.Connection, schema: str) -> None:
    if versions.found(connection, schema) is not None:
        roles.grant(connection, schema)


def script(schema: str = "workerpool") -> str:
    """Return the whole upgrade as SQL text, for a database administrator to read and run."""
    output = io.StringIO()
    command.upgrade(_config(schema, output), "head", sql=True)
    return output.getvalue()
