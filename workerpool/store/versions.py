"""The versions of the schema: which this program knows, and which a database is at.

Owns: that comparison, for whoever works on a schema or changes it. Does not own: how a schema gets from one version to
another (``migrate``, the only one who needs Alembic).
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from workerpool.store.connection import SQL, quoted

STEPS = SQL.parent / "migrations" / "steps"


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


class MayNotMigrate(Exception):
    """The schema needs a migration, and this role is not one that may run it."""

    def __init__(self, schema: str, found: str | None, needed: str, owner: str) -> None:
        self.schema, self.found, self.needed, self.owner = schema, found, needed, owner
        was = f"at version {found}" if found else "empty"
        super().__init__(
            f"schema {schema!r} is {was}, this program needs version {needed}, and this role may not migrate: "
            f"run `workerpool migrate` as a member of its owner, role {owner}"
        )
        self.hint = "or have the administrator run the statements of `workerpool migrate --sql`"


def known() -> list[str]:
    """Return the versions of the schema that this program knows, from the names of its steps, the newest last."""
    return sorted(folder.name for folder in STEPS.glob("[0-9]*"))


def newest() -> str:
    """Return the newest version of the schema that this program knows."""
    return known()[-1]


def found(connection: psycopg.Connection[Any], schema: str) -> str | None:
    """Return the version that *schema* is at, or None where it has not been made."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted(schema)}.alembic_version"]).fetchone()
    if row is None or not row[0]:
        return None
    query = sql.SQL("SELECT version_num FROM {}.alembic_version").format(sql.Identifier(schema))
    version = connection.execute(query).fetchone()
    return str(version[0]) if version else None


def check(connection: psycopg.Connection[Any], schema: str) -> None:
    """Raise SchemaTooNew or SchemaTooOld unless *schema* is at the version that this program needs."""
    version, needed = found(connection, schema), newest()
    if version is None or version < needed:
        raise SchemaTooOld(schema, version, needed)
    if version > needed:
        raise SchemaTooNew(schema, version, needed)


def step_sql(version: str, direction: str, schema: str) -> str:
    """Return the SQL of one numbered step, with the schema's quoted name in place.

    *direction* is ``up`` or ``down``.
    """
    folder = STEPS / version
    files = [folder / "down.sql"] if direction == "down" else sorted(folder.glob("[0-9]*.sql"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return text.replace("{schema}", quoted(schema)).replace("{channel}", "'" + schema.replace("'", "''") + "'")
