"""The three group roles of a schema: owner (migrates), runtime (works), read-only (looks).

Owns: their names, the statements that make them, and that their rights follow each migration. Does not own: logins and
passwords, which an administrator makes and puts into these groups. Invariant: neither runtime nor read-only can change
the schema; roles are made only when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from workerpool.store.connection import SQL, connect, quoted

#: What PostgreSQL keeps of a name, in bytes.
LONGEST = 63


class NoNameLeft(Exception):
    """The schema's name is too long for the names of its roles."""

    def __init__(self, schema: str, name: str) -> None:
        super().__init__(
            f"role {name!r} of schema {schema!r} would have {len(name.encode())} bytes, and {LONGEST} are allowed: "
            "choose a shorter WORKERPOOL_SCHEMA"
        )


class MayNotMakeRoles(Exception):
    """The connected role lacks CREATEROLE, and roles are missing."""

    def __init__(self, role: str, missing: tuple[str, ...]) -> None:
        self.role, self.missing = role, missing
        super().__init__(f"role {role} may not create the roles {', '.join(missing)}: it lacks CREATEROLE")

    @property
    def hint(self) -> str:
        """Return what to ask the administrator for."""
        return (
            f"ask the administrator for `ALTER ROLE {quoted(self.role)} CREATEROLE`, or to run what "
            "`workerpool migrate --roles --sql` prints"
        )


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of a schema's roles."""

    owner: str
    runtime: str
    readonly: str


def roles_of(schema: str) -> Roles:
    """Return the names of the roles of *schema*; PostgreSQL's roles belong to all of its databases.

    Raises NoNameLeft.
    """
    found = Roles(f"{schema}_owner", f"{schema}_runtime", f"{schema}_readonly")
    if len(found.readonly.encode()) > LONGEST:
        raise NoNameLeft(schema, found.readonly)
    return found


def script(schema: str) -> str:
    """Return the statements for an administrator to read and run, on a schema that is there. Raises NoNameLeft."""
    return f"BEGIN;\n\n{_text('roles_make', schema)};\n\n{_text('roles_grant', schema)};\n\nCOMMIT;"


def make(url: str, schema: str) -> tuple[str, ...]:
    """Make the roles of *schema*, which is there, and give them their rights; returns what the server remarked.

    Raises MayNotMakeRoles, NoNameLeft, and psycopg.Error where the database refuses something else.
    """
    names, remarks = roles_of(schema), []
    with connect(url, role="roles", autocommit=False) as connection:
        connection.add_notice_handler(lambda remark: remarks.append(_sentence(remark)))
        row = connection.execute(
            "SELECT current_user, rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row is not None, "whoever asks is a role"
        missing = _missing(connection, names)
        if missing and not row[1]:
            raise MayNotMakeRoles(row[0], missing)
        connection.execute("SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = 0")
        connection.execute(_text("roles_make", schema).encode())
        connection.execute(_text("roles_grant", schema).encode())
    return tuple(remarks)


def grant(connection: psycopg.Connection, schema: str) -> None:
    """Give the roles of *schema* their rights on what is in it now, if there are such roles."""
    try:
        names = roles_of(schema)
    except NoNameLeft:
        return
    if not _missing(connection, names) and _owned_by(connection, schema, names.owner):
        connection.execute(_text("roles_grant", schema).encode())


def _missing(connection: psycopg.Connection, names: Roles) -> tuple[str, ...]:
    wanted = [names.owner, names.runtime, names.readonly]
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [wanted]).fetchall()
    return tuple(name for name in wanted if (name,) not in rows)


def _owned_by(connection: psycopg.Connection, schema: str, owner: str) -> bool:
    """Tell whether the schema was given to its owner role.

    Not every database of a server that has these roles does so.
    """
    query = "SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE nspname = %s AND rolname = %s"
    return connection.execute(query, [schema, owner]).fetchone() is not None


def _text(name: str, schema: str) -> str:
    roles = roles_of(schema)
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8").strip()
    for word, value in {
        "schema": schema,
        "owner": roles.owner,
        "runtime": roles.runtime,
        "readonly": roles.readonly,
    }.items():
        literal = "'" + value.replace("'", "''") + "'"
        text = text.replace(f"{{{word}}}", quoted(value)).replace(f"{{{word}_text}}", literal)
    return text


def _sentence(remark: psycopg.errors.Diagnostic) -> str:
    hint = f" ({remark.message_hint})" if remark.message_hint else ""
    return f"{remark.message_primary}{hint}"
