"""Recurring schedules: what is due is enqueued, once, by whichever host is first.

Does not own: when a schedule is due (``core.cron``). Invariant: the instant it was read with is compared when it is
moved on, in the statement that enqueues; a host that comes second does nothing.
"""

from __future__ import annotations

from workerpool import logs
from workerpool.core import cron
from workerpool.store.line import Line

log = logs.get("keeper")
A_ROUND = 100


class Schedules:
    """The duty, with what was complained of already."""

    def __init__(self) -> None:
        self._broken: set[tuple[str, str, str]] = set()

    def fire(self, line: Line) -> float:
        """Enqueue what is due; returns the seconds until the next one is."""
        (*_, nearest), *found = line.call("due_schedules", how_many=A_ROUND)
        waits = [float("inf") if nearest is None else nearest]
        for name, text, timezone, missed, next_run, now, _ in found:
            try:
                due = cron.due(cron.parse(text, timezone), missed, next_run, now)
            except (cron.BadCron, cron.BadTimezone) as error:
                if (name, text, timezone) not in self._broken:
                    log.warning("schedule.broken", schedule=name, error=str(error))
                    self._broken.add((name, text, timezone))
                continue
            asked = {"name": name, "was": next_run, "next": due.next_run, "times": list(due.times)}
            ours, revisions = line.call("fire_schedule", **asked)[0]
            if ours and (revisions or due.missed):
                log.info("schedule.fired", schedule=name, revisions=list(revisions), missed=due.missed)
            waits.append((due.next_run - now).total_seconds())
        return max(0.0, min(waits))
