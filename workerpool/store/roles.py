"""The three roles of a schema: its owner, a running pool, and whoever only looks.

Owns: their names and what each may do (``migrations/roles.sql``). Does not own: their passwords, and who is a member.
Invariant: the runtime role changes rows and never tables, the read-only role neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from workerpool.store.connection import connect
from workerpool.store.migrate import HERE, upgrade


@dataclass(frozen=True, slots=True)
class Roles:
    """Their names, which the whole server shares: they begin with the schema's."""

    owner: str
    runtime: str
    readonly: str


class RolesRefused(Exception):
    """The connected role may not make or grant the roles; the message says which it is and why."""


def names(schema: str) -> Roles:
    """Return the names of the roles of *schema*."""
    return Roles(f"{schema}_owner", f"{schema}_runtime", f"{schema}_readonly")


def script(schema: str) -> str:
    """Return the SQL that makes and grants the roles, for a database administrator to read and run."""
    text = (HERE / "roles.sql").read_text(encoding="utf-8")
    roles = names(schema)
    values = {"schema": schema, "owner": roles.owner, "runtime": roles.runtime, "readonly": roles.readonly}
    comment, code = text.split("DO $roles$", 1)
    for name, value in values.items():
        comment = comment.replace(f"{{{name}}}", value.replace("\n", " "))
        code = code.replace(f"{{{name}}}", sql.Literal(value).as_string(None).strip())
    return f"{comment}DO $roles${code}"


def grant(url: str, schema: str) -> Roles:
    """Migrate, then make the roles where they are missing and grant what each may do.

    Raises RolesRefused where the connected role may not, SchemaTooNew, and psycopg.Error where the database refuses.
    """
    upgrade(url, schema)
    with connect(url, role="migrate") as connection:
        try:
            with connection.transaction():
                connection.execute(script(schema).encode())
        except InsufficientPrivilege as error:
            row = connection.execute("SELECT current_user").fetchone()
            who = row[0] if row else "this role"
            raise RolesRefused(f"role {who} may not make the roles of schema {schema}: {_reason(error)}") from error
    return names(schema)


def _reason(error: psycopg.Error) -> str:
    return str(error.diag.message_primary or error)
