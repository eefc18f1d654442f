"""Which server a connection leads to, and that it is not one which another has replaced.

Owns: asking the server, and what is done where an old primary answers. Does not own: what follows from another server.
Invariant: a server that does not say which it is is worked on all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from workerpool import logs
from workerpool.core.origin import Origin
from workerpool.store.connection import statement

log = logs.get("store")
#: The first libpq that can try the hosts of a URL in any order, and how often they are tried in all.
ANY_ORDER_SINCE, TRIES = 160_000, 4
Made = TypeVar("Made", bound=psycopg.Connection[Any])


class OldPrimary(psycopg.OperationalError):
    """A server answers that was replaced by another one, which this pool has worked on since."""

    def __init__(self, origin: Origin, known: Origin) -> None:
        self.origin, self.known = origin, known
        super().__init__(
            f"an old primary answers: it writes timeline {origin.timeline}, and this pool has worked on timeline "
            f"{known.timeline} of the same cluster"
        )


def reach_server(
    make: Callable[[str], Made], url: str, known: Origin | None, tries: int = TRIES
) -> tuple[Made, Origin | None]:
    """Return a connection that *make* makes, and which server answers (None: it does not say).

    One that was replaced by what is *known* is left, and of several hosts others are tried. Raises what *make* raises,
    and OldPrimary.
    """
    connection = make(url)
    origin = origin_of(connection)
    if known is None or origin is None or not origin.is_behind(known):
        return connection, origin
    connection.close()
    _say(origin, known)
    if tries == 1:
        raise OldPrimary(origin, known)
    return reach_server(make, in_any_order(url), known, tries - 1)


@cache
def _say(origin: Origin, known: Origin) -> None:
    """Say that two servers take themselves for the primary; once in a process, however often it is met."""
    log.error("database.outdated", timeline=origin.timeline, known_timeline=known.timeline)


def origin_of(connection: psycopg.Connection[Any]) -> Origin | None:
    """Return which server answers; None: it is a standby, or does not say. The connection commits by itself."""
    try:
        row = connection.execute(statement("origin", "")).fetchone()
    except psycopg.Error:
        if connection.closed:
            raise
        return None  # (a service that is not quite PostgreSQL)
    return Origin(*row) if row is not None and None not in row else None


def in_any_order(url: str) -> str:
    """Return *url* so that of several hosts any may be tried first; with a libpq before 16 as it was."""
    return make_conninfo(url, load_balance_hosts="random") if pq.version() >= ANY_ORDER_SINCE else url
