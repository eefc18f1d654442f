"""PAUSE: what the pause guard (R12) costs a claim. LIMIT: what a handler with a limit costs the claims of others.

Two databases on one server, one with the function `turn` as it is and one with its guard taken out, are claimed from by
turns, one revision at a time: the form in which a claim does least, and the guard weighs most; bare, and settling the
one before in the same turn as a worker does. The ratios are medians over many short rounds, in pairs.
"""

from __future__ import annotations

import re
import statistics
import time
from contextlib import ExitStack
from uuid import uuid4

import psycopg
from bench_ground import Bench

from workerpool.core.outcome import completed
from workerpool.store.connection import connect, statement
from workerpool.store.line import STEADY, outcome_arrays

ROUNDS, A_ROUND = 60, 200
FILL = "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || g FROM generate_series(1, %s) g"
GUARD = re.compile(r"    IF pg_try_advisory_xact_lock_shared\(.*?\n    END IF;\n(?=    IF paused THEN)", re.DOTALL)


class Claimer:
    """A worker that claims and settles one revision at a time."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url, role="bench")
        self.connection.execute(STEADY)
        self.connection.prepare_threshold = 0
        self._turn = statement("turn", "workerpool").as_bytes(self.connection)
        self._cursor = psycopg.RawCursor(self.connection)
        self._outcomes: list[object] = []

    def round(self, *, settling: bool, handlers: tuple[str, ...] = ("default",), limit: int | None = None) -> float:
        """Claim so many, settling each with the next; returns the seconds of a turn.

        *limit*: how many of the last of *handlers* may run at once.
        """
        limits = [None] * (len(handlers) - 1) + [limit]
        began = time.perf_counter()
        for _ in range(A_ROUND):
            token = uuid4()
            asked = ["host/m/W1.1", token, list(handlers), limits, 1, 2, "60 seconds"]
            rows = self._cursor.execute(self._turn, [*outcome_arrays(self._outcomes).values(), *asked]).fetchall()
            claimed = [row for row in rows if row[0] == "claimed"]
            assert len(claimed) == 1
            self._outcomes = [completed(claimed[0][1], token, "{}")] if settling else []
        return (time.perf_counter() - began) / A_ROUND


def unguarded(connection: psycopg.Connection) -> None:
    """Take the guard out of `turn`."""
    query = "SELECT pg_get_functiondef('workerpool.turn'::regproc)"
    row = connection.execute(query).fetchone()
    assert row is not None
    text, count = GUARD.subn("    paused := false;\n", row[0])
    assert count == 1, "the guard is not where it was"
    connection.execute(text.encode())


def pause_check(bench: Bench) -> dict[str, float]:
    """Return the microseconds of a claim, and of a turn, with and without the guard, and the ratios."""
    with ExitStack() as kept:
        claimers = []
        for guarded in (True, False):
            url = kept.enter_context(bench.database())
            with psycopg.connect(url, autocommit=True) as connection:
                if not guarded:
                    unguarded(connection)
                connection.execute(FILL, [2 * (ROUNDS + 1) * A_ROUND])
                connection.execute("VACUUM ANALYZE workerpool.revisions")
            claimers.append(Claimer(url))
            kept.callback(claimers[-1].connection.close)
        found: dict[str, float] = {}
        for name, settling in (("claim", False), ("turn", True)):
            for each in claimers:
                each.round(settling=settling)  # the first round plans
            pairs = [tuple(each.round(settling=settling) for each in claimers) for _ in range(ROUNDS)]
            guarded_us, bare_us = (statistics.median(times) * 1e6 for times in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            found |= {f"{name}_us": guarded_us, f"{name}_without_us": bare_us, f"{name}_ratio": ratio}
    return found


def limit_check(bench: Bench) -> dict[str, float]:
    """Return the microseconds of a turn of a worker that also has a handler with a limit, which has nothing to do, and
    of one that has the same handler without a limit, and the ratio.
    """
    both = ("default", "limited")
    with bench.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, [2 * (ROUNDS + 1) * A_ROUND])
            connection.execute("VACUUM ANALYZE workerpool.revisions")
        claimer = Claimer(url)
        claimer.round(settling=True, handlers=both)
        claimer.round(settling=True, handlers=both, limit=2)
        pairs = [
            (claimer.round(settling=True, handlers=both, limit=2), claimer.round(settling=True, handlers=both))
            for _ in range(ROUNDS)
        ]
        claimer.connection.close()
    limited_us, free_us = (statistics.median(times) * 1e6 for times in zip(*pairs, strict=True))
    return {"limited_us": limited_us, "free_us": free_us, "ratio": statistics.median(a / b for a, b in pairs)}
