"""Workloads that are a queue to be emptied: W1 to W4, W7, and what stands in their way.

Owns: those workloads. Invariant: each returns figures of runs that were verified.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from workerpool.bench import fillings
from workerpool.bench.ground import Ground
from workerpool.bench.record import Event, Unverified, rate, verify
from workerpool.bench.response import at_rest
from workerpool.bench.run import LIMIT, drain, drained_rate, first, performing, settled
from workerpool.bench.sizes import Sizes

Figures = dict[str, float]
#: Levels of the mixed priorities; a higher number starts first.
PRIORITIES = 5


def independent(ground: Ground, sizes: Sizes) -> Figures:
    """Perform independent revisions that do nothing."""
    cost: Figures = {}
    events = drain(ground, fillings.independent(sizes.revisions), cost=cost, killing=True)
    return {"per_second": rate(events)} | cost


def ordered(ground: Ground, sizes: Sizes) -> Figures:
    """Perform items of twenty revisions each, in order."""
    cost: Figures = {}
    depth = max(sizes.revisions // sizes.items, 1)
    events = drain(ground, fillings.in_turn(sizes.items, depth), cost=cost, killing=True)
    return {"per_second": rate(events)} | cost


def hot_item(ground: Ground, sizes: Sizes) -> Figures:
    """Perform one item's revisions with those of many others behind them, and the others alone."""
    others = fillings.in_turn(sizes.items, max(sizes.hot // sizes.items, 1))
    alone = drained_rate(ground, others)
    cost: Figures = {}
    events = drain(ground, fillings.hot(sizes.hot), others, cost=cost, killing=True)
    hot, rest = _apart(events, sizes.hot)
    figures = {"hot_per_second": rate(hot), "others_per_second": rate(rest), "others_alone_per_second": alone}
    return figures | {"all_seconds": max(event.end for event in events) - events[0].start} | cost


def backlog(ground: Ground, sizes: Sizes) -> Figures:
    """Perform the first of many that are queued."""
    return {"per_second": rate(first(ground, sizes.first, fillings.independent(sizes.queued)))}


def short_handlers(ground: Ground, sizes: Sizes) -> Figures:
    """Perform handlers of 5 ms, twenty for an item."""
    return {"of_ideal": _of_ideal(ground, max(sizes.short // 20, 4), 20, 0.005)}


def long_handlers(ground: Ground, sizes: Sizes) -> Figures:
    """Perform handlers of 200 ms, two for an item."""
    return {"of_ideal": _of_ideal(ground, max(sizes.long // 2, 4), 2, 0.2)}


def _of_ideal(ground: Ground, items: int, depth: int, sleep: float) -> float:
    """Return the time that the handlers took, divided by the workers, over the time that passed."""
    with ground.database() as database:
        with performing(ground, database, sleep=sleep) as (_, record):
            at_rest(database, ground.workers)  # else what is measured is how far apart the workers start
            count = database.fill(fillings.in_turn(items, depth))
            record.wait(count, LIMIT)
            settled(database, count)
        events = record.events()
        verify(database, events)
    passed = max(event.end for event in events) - events[0].start
    return sum(event.end - event.start for event in events) / ground.workers / passed


def beside_hot(ground: Ground, sizes: Sizes) -> Figures:
    """Perform handlers of 5 ms behind a very deep item: the others' rate, beside it and alone."""
    others = fillings.in_turn(sizes.beside, 1)
    alone = drained_rate(ground, others, sleep=0.005)
    with ground.database() as database:
        database.fill(fillings.hot(sizes.hot_front), others)
        with performing(ground, database, sleep=0.005) as (_, record):
            deadline = time.monotonic() + LIMIT
            while len(rest := _apart(record.events(), sizes.hot_front)[1]) < sizes.beside:
                if time.monotonic() > deadline:
                    raise Unverified(f"{len(rest)} of {sizes.beside} others had run after {LIMIT:.0f} s")
                time.sleep(0.1)
        events = record.events()
        verify(database, events, whole=False)
    hot = [event for event in _apart(events, sizes.hot_front)[0] if event.start <= rest[-1].start]
    return {"others_per_second": rate(rest), "others_alone_per_second": alone, "hot_per_second": rate(hot)}


def _apart(events: Sequence[Event], front: int) -> tuple[list[Event], list[Event]]:
    """Return the events of the hot item, which has the first *front* ids, and the others."""
    return [event for event in events if event.id <= front], [event for event in events if event.id > front]


def priorities(ground: Ground, sizes: Sizes) -> Figures:
    """Perform independent revisions of five priorities, mixed; higher ones must start first."""
    events = drain(ground, fillings.independent(sizes.revisions, PRIORITIES))
    places: dict[int, list[int]] = {}
    for place, event in enumerate(events):  # the priority is the id modulo their number, as the filling has it
        places.setdefault(event.id % PRIORITIES, []).append(place)
    middles = [statistics.median(places[priority]) for priority in sorted(places, reverse=True)]
    if middles != sorted(middles):
        raise Unverified(f"higher priorities did not start first: the middles of their starts are {middles}")
    band = len(events) / PRIORITIES
    in_place = sum(
        (PRIORITIES - 1 - priority) * band <= place < (PRIORITIES - priority) * band
        for priority, found in places.items()
        for place in found
    )
    return {"per_second": rate(events), "share_in_place": in_place / len(events)}


def obstacles(ground: Ground, sizes: Sizes) -> Figures:
    """Perform independent revisions with scheduled ones and ones that back off in the way."""
    half = sizes.waiting // 2
    in_the_way = (*fillings.backing_off(half), fillings.scheduled(half))
    events = first(ground, sizes.first, *in_the_way, fillings.independent(sizes.first))
    return {"per_second": rate(events)}
