"""PAUSE: what the look at the pause costs each claim. LIMIT: what a handler with a limit costs the claims of others.

Owns: those workloads. For PAUSE two databases, one with the function `turn` as it is and one with its guard taken out,
are claimed from by turns, one revision at a time: the form in which a claim does least, and the guard weighs most.
Invariant: the claims go over a worker's own line; the ratio is a median over pairs of short rounds.
"""

from __future__ import annotations

import re
import statistics
import time
from contextlib import ExitStack
from uuid import uuid4

from workerpool.bench import fillings
from workerpool.bench.ground import SCHEMA, Database, Ground
from workerpool.bench.record import Unverified
from workerpool.bench.sizes import Sizes
from workerpool.core.outcome import Outcome, completed
from workerpool.store.line import Line, Order

#: The parts of `turn` that look at the pause, and what stands there without them.
LOCK = re.compile(r"IF pg_try_advisory_xact_lock_shared\(.*?\) THEN\n"), "IF true THEN\n"
STATE = re.compile(r'FROM "?workerpool"?\.pause_state s '), "FROM (SELECT false AS paused, '{}'::text[] AS scopes) s "


class Claimer:
    """A worker that claims and settles one revision at a time."""

    def __init__(self, database: Database) -> None:
        self.line = Line(database.url, SCHEMA, "bench")
        self.line.open()
        self._outcomes: list[Outcome] = []

    def round(
        self,
        turns: int,
        *,
        settling: bool,
        handlers: tuple[str, ...] = ("default",),
        limit: int | None = None,
        how_many: int = 1,
    ) -> float:
        """Claim *how_many* so often, settling each with the next; returns the seconds of a turn. Raises Unverified.

        *limit*: how many of the last of *handlers* may run at once.
        """
        limits = (*[None] * (len(handlers) - 1), limit)
        began = time.perf_counter()
        for _ in range(turns):
            token = uuid4()
            self.line.submit(self._outcomes, Order("bench/m/W1.1", token, handlers, how_many, 1, 60.0, limits))
            claims = self.line.collect().claims
            if len(claims) != how_many:
                raise Unverified(f"{len(claims)} revisions were claimed instead of {how_many}")
            self._outcomes = [completed(claim[0], token, "{}") for claim in claims] if settling else []
        return (time.perf_counter() - began) / turns


def pause_check(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Claim, and claim and settle, with the look at the pause and without."""
    with ExitStack() as kept:
        claimers = []
        for guarded in (True, False):
            database = kept.enter_context(ground.database())
            if not guarded:
                _unguard(database)
            database.fill(fillings.independent(2 * (sizes.guard_rounds + 1) * sizes.turns))
            claimers.append(Claimer(database))
            kept.callback(claimers[-1].line.close)
        found: dict[str, float] = {}
        for name, settling in (("claim", False), ("turn", True)):
            for each in claimers:
                each.round(sizes.turns, settling=settling)  # the first one plans
            pairs = [_pair(claimers, sizes, settling=settling, turn=turn) for turn in range(sizes.guard_rounds)]
            found[f"{name}_us"] = statistics.median(with_it for with_it, _ in pairs) * 1e6
            found[f"{name}_without_us"] = statistics.median(without for _, without in pairs) * 1e6
            found[f"{name}_ratio"] = statistics.median(with_it / without for with_it, without in pairs)
    return found


def _pair(claimers: list[Claimer], sizes: Sizes, *, settling: bool, turn: int) -> tuple[float, float]:
    """Return the seconds of a turn with and without the guard; by turns, the one or the other goes first."""
    times = {}
    for place in (0, 1) if turn % 2 else (1, 0):
        times[place] = claimers[place].round(sizes.turns, settling=settling)
    return times[0], times[1]


def limit_check(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Claim and settle with a second handler that has nothing to do: with a limit, and without."""
    both, turns = ("default", "limited"), sizes.turns
    with ground.database() as database, ExitStack() as kept:
        database.fill(fillings.independent(2 * (sizes.guard_rounds + 1) * turns))
        claimer = Claimer(database)
        kept.callback(claimer.line.close)
        pairs = []
        for turn in range(sizes.guard_rounds + 1):  # the first one plans
            times = {}
            for limit in (2, None) if turn % 2 else (None, 2):
                times[limit] = claimer.round(turns, settling=True, handlers=both, limit=limit)
            pairs += [(times[2], times[None])] if turn else []
    return {
        "limited_us": statistics.median(limited for limited, _ in pairs) * 1e6,
        "free_us": statistics.median(free for _, free in pairs) * 1e6,
        "ratio": statistics.median(limited / free for limited, free in pairs),
    }


def _unguard(database: Database) -> None:
    """Take the guard out of `turn`."""
    text = str(database.ask("SELECT pg_get_functiondef('workerpool.turn'::regproc)")[0][0])
    for pattern, instead in (LOCK, STATE):
        text, count = pattern.subn(instead, text)
        if count != 1:
            raise Unverified("the look at the pause is not where it was in the function turn")
    database.ask(text)
