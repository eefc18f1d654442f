"""Where a program's database is: the given URL, or as the settings say, an embedded server included.

Owns: the way from settings to a URL that can be connected to. Does not own: the settings, nor the server.
Invariant: an embedded server runs for as long as somebody is inside of one of these blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from workerpool import config
from workerpool.store import embedded
from workerpool.store.session import Session
from workerpool.store.versions import newest


@contextmanager
def reached(url: str | None, schema: str | None) -> Iterator[tuple[str, str]]:
    """Yield URL and schema: what is given, else as the settings say. Raises config.BadSettings, and as `address`."""
    if url is not None and schema is not None:
        yield url, schema
        return
    settings = config.load()
    schema = schema or settings.db_schema
    if url is not None:
        yield url, schema
        return
    with address(settings) as found:
        yield found, schema


@contextmanager
def address(settings: config.Settings, *, migrating: bool = True) -> Iterator[str]:
    """Yield the URL of the database of *settings*: the given one, or the embedded one for as long as it is used.

    With *migrating* an embedded database is migrated where it is not yet: it is this program's own. Raises what
    `embedded.running` raises.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    with embedded.running(embedded.Server(settings.home, settings.db_schema)) as url:
        if migrating:
            make_current(url, settings.db_schema)
        yield url


def make_current(url: str, schema: str) -> None:
    """Migrate the schema at *url* where it is missing or older than this program. Raises as `migrate.upgrade`."""
    with Session(url, schema, "look") as session:
        found = session.version()
    if found is None or found < newest():
        from workerpool.store import migrate  # only now: it takes longer to import than a whole command

        migrate.upgrade(url, schema)


def with_database(url: str, name: str) -> str:
    """Return the connection string with another database's name."""
    return make_conninfo(url, dbname=name)
