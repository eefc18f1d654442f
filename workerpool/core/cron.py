"""When a recurring schedule is due: from its cron expression, its time zone, and two instants.

Owns: which times are enqueued and which were missed. Does not own: the expressions' meaning (Debian's cron, by the
cronsim library: a time that a clock change skips comes right after it, one that it repeats comes once).
Invariant: pure; the same schedule and the same instants give the same times on every host.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

Missed = Literal["skip", "once", "all"]
MISSED: tuple[Missed, ...] = ("skip", "once", "all")
#: A time that is later than this was missed: nobody was there at its minute.
LATE = timedelta(seconds=60)
#: How many times are enqueued in one go; the rest come right after.
MOST = 100
WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=40), timedelta(days=366 * 100))
ALLOWED = (
    "five fields (minute hour day month weekday), six with seconds first, "
    "or @hourly, @daily, @weekly, @monthly, @yearly"
)
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class BadCron(ValueError):
    """A text that is no cron expression, or one that never comes."""

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        super().__init__(f"{text!r} is not a cron expression ({why}); allowed: {ALLOWED}")


class BadTimezone(ValueError):
    """A text that names no time zone."""

    def __init__(self, text: str) -> None:
        self.text = text
        near = difflib.get_close_matches(text, available_timezones(), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        super().__init__(f"{text!r} is no time zone{hint}; allowed: a name such as Europe/Berlin or UTC")


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone; made by `parse`."""

    text: str
    zone: ZoneInfo

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Yield the times after *instant* (aware), in UTC, for ever."""
        local = instant.astimezone(self.zone)
        for time in CronSim(self.text, local if self.zone.key != "UTC" else local.astimezone(UTC)):
            yield time.astimezone(UTC)

    def upcoming(self, instant: datetime, how_many: int) -> list[datetime]:
        """Return the next times after *instant*, in this time zone."""
        return [time.astimezone(self.zone) for time in islice(self.after(instant), how_many)]

    def __str__(self) -> str:
        return CronSim(self.text, datetime(2000, 1, 1, tzinfo=UTC)).explain()


def parse(text: str, timezone: str) -> Cron:
    """Read an expression and the name of a time zone. Raises BadCron, BadTimezone."""
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise BadTimezone(timezone) from None
    plain = MACROS.get(text.strip().lower(), text.strip())
    try:
        next(CronSim(plain, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise BadCron(text, str(error)) from None
    except StopIteration:
        raise BadCron(text, "it never comes") from None
    return Cron(plain, zone)


@dataclass(frozen=True, slots=True)
class Due:
    """What a schedule comes to now: the times to enqueue, in order, how many were missed, and when it is due next."""

    times: tuple[datetime, ...]
    missed: int
    next_run: datetime


def due(cron: Cron, missed: Missed, next_run: datetime | None, now: datetime) -> Due:
    """Return what is to be done at *now* by a schedule that was due at *next_run* (None: it is new).

    Times of the last minute are enqueued. Of those that were missed before it `skip` enqueues none, `once` the latest
    where there is none of the last minute, `all` each of them.
    """
    if next_run is None or next_run > now:
        return Due((), 0, next_run or next(cron.after(now)))
    if missed == "all":
        passed, time = _between(cron, next_run, now, MOST)
        return Due(tuple(passed), sum(now - each > LATE for each in passed), time)
    latest, time = _latest(cron, next_run, now)
    if now - latest > LATE:
        return Due((latest,) if missed == "once" else (), 1, time)
    if next_run < now - LATE:
        # What came just now makes up for what was missed before.
        first = next(cron.after(now - LATE - timedelta(microseconds=1)))
        return Due(tuple(_between(cron, first, now, MOST)[0]), 1, time)
    return Due(tuple(_between(cron, next_run, now, MOST)[0]), 0, time)


def _between(cron: Cron, first: datetime, now: datetime, most: int) -> tuple[list[datetime], datetime]:
    """Return the times from *first* to *now*, at most so many, and the one that comes after them."""
    passed = [first]
    for time in cron.after(first):
        if time > now or len(passed) == most:
            return passed, time
        passed.append(time)
    raise AssertionError("a cron expression has no last time")


def _latest(cron: Cron, first: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return the last time up to *now*, and the one after it, without walking through years of seconds."""
    latest = time = first
    for window in WINDOWS:
        start = max(first, now - window)
        for time in cron.after(start):
            if time > now:
                break
            latest = time
        if latest > first or start == first:
            break
    return latest, time
