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
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from workerpool.store.connection import connect, quoted

HERE = Path(__file__).parent / "migrations"
#: One lock for all migrations of one schema; its second part is the schema's hash.
MIGRATION_LOCK = 7083491


class SchemaTooNew(Exception):
    """The database was migrated by a newer program than this one."""

    def __init__(self, schema: str, found: str, known: str) -> None:
        self.schema, self.found, self.known = schema, found, known
        super().__init__(
            f"schema {schema!r} is at version {found}, newer than this program knows ({known}): install that version"
        )


class SchemaTooOld(Exception):
    """The database has not been migrated to what this program needs."""

    def __init__(self, schema: str, found: str | None, needed: str) -> None:
        self.schema, self.found, self.needed = schema, found, needed
        was = f"at version {found}" if found else "not there yet"
        super().__init__(f"schema {schema!r} is {was}, this program needs version {needed}: run `workerpool migrate`")


def step_sql(version: str, direction: str, schema: str) -> str:
    """Return the SQL of one numbered step, with the schema's quoted name in place.

    *direction* is ``up`` or ``down``.
    """
    folder = HERE / "steps" / version
    files = [folder / "down.sql"] if direction == "down" else sorted(p for p in folder.glob("[0-9]*.sql"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return text.replace("{schema}", quoted(schema)).replace("{channel}", "'" + schema.replace("'", "''") + "'")


def _config(schema: str, output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["schema"] = schema
    return config


def known_version() -> str:
    """Return the newest schema version that this program knows."""
    head = ScriptDirectory.from_config(_config("workerpool")).get_current_head()
    assert head is not None, "the package holds at least one migration"
    return head


def found_version(connection: psycopg.Connection, schema: str) -> str | None:
    """Return the version that *schema* is at, or None where it has not been made."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted(schema)}.alembic_version"]).fetchone()
    if row is None or not row[0]:
        return None
    query = sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(schema))
    found = connection.execute(query).fetchone()
    return found[0] if found else None


def check(connection: psycopg.Connection, schema: str) -> None:
    """Raise SchemaTooNew or SchemaTooOld unless *schema* is at the version that this program needs."""
    found, known = found_version(connection, schema), known_version()
    if found == known:
        return
    if found is not None and found > known:
        raise SchemaTooNew(schema, found, known)
    raise SchemaTooOld(schema, found, known)


def upgrade(url: str, schema: str = "workerpool") -> None:
    """Bring *schema* of the database at *url* to this program's version; safe from several hosts at once.

    Raises SchemaTooNew where a newer program was here, and psycopg.Error where the database refuses.
    """
    _run(url, schema, "head")


def downgrade(url: str, version: str, schema: str = "workerpool") -> None:
    """Take *schema* back to *version* (``base``: nothing is left of it, data included)."""
    _run(url, schema, version)


def _run(url: str, schema: str, target: str) -> None:
    with connect(url, role="migrate") as guard:
        guard.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        guard.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", [MIGRATION_LOCK, schema])
        found, known = found_version(guard, schema), known_version()
        if found is not None and found > known:
            raise SchemaTooNew(schema, found, known)
        guard.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        engine = create_engine("postgresql+psycopg://", creator=lambda: _migrator(url), poolclass=NullPool)
        with engine.connect() as connection:
            config = _config(schema)
            config.attributes["connection"] = connection
            if target == "head":
                command.upgrade(config, target)
            else:
                command.downgrade(config, target)


def _migrator(url: str) -> psycopg.Connection:
    connection = connect(url, role="migrate", autocommit=False)
    connection.execute(
        "SET lock_timeout = '30s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"
    )
    connection.commit()
    return connection


def script(schema: str = "workerpool") -> str:
    """Return the whole upgrade as SQL text, for a database administrator to read and run."""
    output = io.StringIO()
    command.upgrade(_config(schema, output), "head", sql=True)
    return output.getvalue()
