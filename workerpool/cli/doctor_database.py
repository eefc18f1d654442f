"""The part of `doctor` that looks at the database: programs, reach, version, permissions, schema, pooler.

Owns: what the facts of ``store.inspection`` mean for people. Invariant: an embedded database is started for the look if
it has data, and never made.
"""

from __future__ import annotations

from collections.abc import Iterator

from workerpool.cli.errors import explain
from workerpool.cli.finding import Finding, ok, problem, warning
from workerpool.config import Settings, mask_url
from workerpool.store import embedded
from workerpool.store.inspection import OLDEST_SERVER, Inspection, inspect

#: Connections that a pool has beside one for each worker: keeper, its ear, and commands.
BESIDE_WORKERS = 8


def check_database(settings: Settings) -> Iterator[Finding]:
    """Yield what is found about the database of *settings*."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield from _look(settings, url, mask_url(url))
        return
    server = embedded.Server(settings.home, settings.db_schema)
    try:
        yield ok("embedded PostgreSQL", f"version {embedded.major()}, runs {embedded.check(server)}")
        if not server.data.exists():
            yield ok("database", f"none in {settings.home} yet; `workerpool start` makes it")
            return
        with embedded.running(server) as url:
            yield from _look(settings, url, f"embedded, in {settings.home}")
    except Exception as error:
        yield _refused("embedded PostgreSQL", error)


def _refused(subject: str, error: Exception) -> Finding:
    known = explain(error)
    if known is None:
        raise error
    advice = "see that it runs, and that WORKERPOOL_DATABASE_URL names the right host, port, user and password"
    hint = known.hint if "doctor" not in known.hint else advice
    return problem(subject, known.message, hint or "another WORKERPOOL_HOME, or WORKERPOOL_DATABASE_URL")


def _look(settings: Settings, url: str, where: str) -> Iterator[Finding]:
    try:
        found = inspect(url, settings.db_schema)
    except Exception as error:
        yield _refused("database", error)
        return
    yield ok("database", f"reached: {where}")
    if found.exposed is not None:
        told = f"the connection to {found.exposed} is not encrypted: rows and passwords cross the network as they are"
        yield warning("encryption", told, "add sslmode=verify-full to WORKERPOOL_DATABASE_URL (docs/database.md)")
    yield from _server(settings, found)
    yield from _permissions(settings, found)
    yield _schema(settings, found)
    yield _pooler(found)


def _server(settings: Settings, found: Inspection) -> Iterator[Finding]:
    server = found.server
    if server["number"] < OLDEST_SERVER:
        yield problem("server", f"PostgreSQL {server['version']}", "PostgreSQL 15 or newer is needed")
    else:
        yield ok("server", f"PostgreSQL {server['version']}")
    if server["encoding"] != "UTF8":
        yield problem(
            "encoding", f"the database is in {server['encoding']}", "make one with CREATE DATABASE ... ENCODING 'UTF8'"
        )
    wanted = settings.workers + BESIDE_WORKERS
    if server["max_connections"] < wanted:
        told = f"max_connections is {server['max_connections']}, and {settings.workers} workers need about {wanted}"
        yield warning("connections", told, "raise max_connections, or lower WORKERPOOL_WORKERS")


def _permissions(settings: Settings, found: Inspection) -> Iterator[Finding]:
    server, schema = found.server, settings.db_schema
    role = server["role"]
    if not server["schema_there"] and not server["may_create"]:
        grant = f'as an administrator: GRANT CREATE ON DATABASE "{server["name"]}" TO "{role}"'
        advice = f"{grant}; or run the statements of `workerpool migrate --sql`"
        yield problem("permissions", f"role {role} may not create schema {schema}", advice)
    elif server["schema_there"] and not server["may_use"]:
        advice = f'as its owner: GRANT USAGE ON SCHEMA "{schema}" TO "{role}"'
        yield problem("permissions", f"role {role} may not use schema {schema}", advice)
    elif found.lacking:
        told = f"role {role} may not read and write {', '.join(found.lacking[:3])}"
        more = f" and {len(found.lacking) - 3} more tables" if len(found.lacking) > 3 else ""
        grant = f'as its owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"'
        yield problem("permissions", told + more, grant)
    else:
        yield ok("permissions", f"role {role} may do what is needed")


def _schema(settings: Settings, found: Inspection) -> Finding:
    name = f"schema {settings.db_schema}"
    if found.found is None:
        return warning(name, "not there yet", "`workerpool start` and `workerpool migrate` make it")
    if found.found < found.known:
        told = f"at version {found.found}, this program needs {found.known}"
        return warning(name, told, "`workerpool start` and `workerpool migrate` bring it there")
    if found.found > found.known:
        told = f"at version {found.found}, newer than this program knows ({found.known})"
        return problem(name, told, "install the newer workerpool")
    return ok(name, f"at version {found.found}")


def _pooler(found: Inspection) -> Finding:
    match found.pooler:
        case "none":
            return ok("pooler", "none, a direct connection")
        case "session":
            return ok("pooler", "one in session mode; the pool polls, as through any")
        case _:
            told = "one that gives each transaction another server connection (PgBouncer's transaction mode)"
            advice = (
                "it works, slower: NOTIFY is not heard (work is looked for once a second) and nothing is prepared; "
                "point WORKERPOOL_DATABASE_URL at the server itself for work at once"
            )
            return warning("pooler", told, advice)
