"""How the cost grows: with the backlog, the depth of items, workers, managers, and the size of the table.

Owns: the series. Does not own: their pictures (``plot``). Invariant: in each series one thing changes and the number of
revisions performed does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from workerpool.bench import company, fillings
from workerpool.bench.ground import Ground
from workerpool.bench.record import rate
from workerpool.bench.run import drain, first
from workerpool.bench.sizes import Sizes

Points = Iterator[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """Revisions a second against something that grows."""

    about: str
    axis: str
    measure: Callable[[Ground, Sizes], Points]


def _backlog(ground: Ground, sizes: Sizes) -> Points:
    for queued in _tenfold(sizes.first, sizes.most_queued):
        yield queued, rate(first(ground, sizes.first, fillings.independent(queued)))


def _depth(ground: Ground, sizes: Sizes) -> Points:
    depth = 1
    while depth <= sizes.revisions // 2:
        yield depth, rate(drain(ground, fillings.in_turn(sizes.revisions // depth, depth)))
        depth *= 10


def _hot(ground: Ground, sizes: Sizes) -> Points:
    for front in _tenfold(max(sizes.hot // 10, 1), sizes.hot_front):
        yield front, rate(first(ground, min(sizes.hot, front), fillings.hot(front)))


def _items(ground: Ground, sizes: Sizes) -> Points:
    for items in _tenfold(max(sizes.first // 100, 1), sizes.most_queued // 10):
        behind = max(2 * sizes.first // items, 1)
        yield items, rate(first(ground, min(sizes.first, items * behind), fillings.in_turn(items, behind)))


def _workers(ground: Ground, sizes: Sizes) -> Points:
    for count in (1, *sizes.workers):
        yield count, rate(drain(ground, fillings.independent(sizes.revisions), workers=count))


def _managers(ground: Ground, sizes: Sizes) -> Points:
    for count in (1, 2, 4):
        yield count, company.rate_of_managers(ground, sizes, count, 1)


def _completed(ground: Ground, sizes: Sizes) -> Points:
    yield 0, rate(first(ground, sizes.first, fillings.independent(sizes.revisions)))
    for there in _tenfold(sizes.first, sizes.most_completed):
        statements = (fillings.completed(there), fillings.independent(sizes.revisions))
        yield there, rate(first(ground, sizes.first, *statements))


def _tenfold(least: int, most: int) -> Iterator[int]:
    """Yield *least*, ten times that, and so on, and *most* last."""
    while least < most:
        yield least
        least *= 10
    yield most


SERIES: dict[str, Series] = {
    "backlog": Series("the first revisions of a backlog", "revisions queued", _backlog),
    "depth": Series("items of so many revisions each", "revisions of an item", _depth),
    "hot": Series("the first revisions of one item", "revisions of the item", _hot),
    "items": Series("the first revisions of so many items", "items", _items),
    "workers": Series("independent revisions", "workers", _workers),
    "managers": Series("items in order, one worker for each daemon", "daemons on one database", _managers),
    "completed": Series("revisions beside others that were completed before", "completed revisions", _completed),
}
