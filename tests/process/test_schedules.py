"""Recurring schedules on a running pool: fired when due, once, whatever the hosts do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.process.daemon import Daemon, until
from workerpool.keeper.schedules import Schedules
from workerpool.store.line import Line

Pool = Callable[..., Daemon]


def add(daemon: Daemon, name: str, next_run: datetime | None, missed: str = "once", cron: str = "* * * * * *") -> None:
    """Keep a schedule as plain SQL does; the default comes every second."""
    daemon.sql(
        "INSERT INTO schedules (name, cron, item_key, handler, payload, missed, next_run) "
        "VALUES (%s, %s, %s, 'work', '{}', %s, %s)",
        name, cron, f"item of {name}", missed, next_run,
    )  # fmt: skip


def fired(daemon: Daemon, name: str) -> list[dict[str, Any]]:
    """What a schedule enqueued."""
    return daemon.sql(
        "SELECT id, status, metadata ->> 'scheduled_for' AS due FROM revisions WHERE item_key = %s ORDER BY id",
        f"item of {name}",
    )


def test_a_schedule_is_fired_each_time_and_performed(pool: Pool) -> None:
    """Added by SQL without a next time, seen within seconds, then each second has its revision."""
    daemon = pool(workers=1).start()
    add(daemon, "every second", None)
    rows = until(lambda: rows if len(rows := fired(daemon, "every second")) >= 4 else None, what="four revisions")
    seconds = [datetime.fromisoformat(row["due"]) for row in rows]
    assert [b - a for a, b in pairwise(seconds)] == [timedelta(seconds=1)] * (len(rows) - 1)
    assert daemon.ended(rows[0]["id"])["status"] == "completed"
    daemon.sql("DELETE FROM schedules")
    assert daemon.stop() == 0


def test_what_was_missed_is_made_up_for_as_asked(pool: Pool) -> None:
    """A pool that was away for ten hours: none, one or all of the times; a broken schedule hinders none."""
    daemon = pool(workers=1)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=10)
    for missed in ("skip", "once", "all"):
        add(daemon, missed, hour + timedelta(minutes=30), missed, "30 * * * *")
    add(daemon, "broken", None, cron="61 * * * *")
    daemon.start()
    until(lambda: len(fired(daemon, "all")) >= 10, what="all of them")
    until(lambda: daemon.events("schedule.broken"), what="the complaint")
    assert len(fired(daemon, "all")) in (10, 11)
    assert len(fired(daemon, "once")) == 1
    assert len(fired(daemon, "skip")) <= 1  # one, should this have run just at half past
    assert len(daemon.events("schedule.broken")) == 1
    assert daemon.stop() == 0


def test_a_paused_pool_fires_nothing_and_makes_up_for_it(pool: Pool) -> None:
    """P7: no row comes of a schedule while the pool is paused; with the resume it is fired at once."""
    daemon = pool(workers=1).start()
    daemon.sql("SELECT pause('all', 'drain', 'for a test', 'eve', 'eve', NULL)")
    began = daemon.sql("SELECT clock_timestamp() AS at")[0]["at"]
    add(daemon, "every second", began)
    until(lambda: daemon.sql("SELECT 1 WHERE clock_timestamp() > %s + interval '2.5 s'", began), what="two seconds")
    assert not fired(daemon, "every second")
    assert daemon.sql("SELECT next_run FROM schedules") == [{"next_run": began}]
    daemon.sql("SELECT resume('all', 'eve', 'done', 'eve')")
    rows = until(lambda: fired(daemon, "every second"), 3.0, "fired after the resume")
    assert daemon.ended(rows[0]["id"])["status"] == "completed"
    daemon.sql("DELETE FROM schedules")
    assert daemon.stop() == 0


def test_a_schedule_that_is_added_is_fired_within_seconds(pool: Pool) -> None:
    """Nobody says that there is a new one; one that is broken, and so is due all the time, hinders none."""
    daemon = pool(workers=1).start()
    add(daemon, "broken", None, cron="61 * * * *")
    until(lambda: daemon.events("schedule.broken"), what="the complaint")
    for name in ("first", "second"):
        due = daemon.sql("SELECT clock_timestamp() AS at")[0]["at"]
        add(daemon, name, due)
        row = until(lambda name=name: fired(daemon, name), 7.0, "fired")[0]
        assert daemon.ended(row["id"])["status"] == "completed"
    assert daemon.stop() == 0


def test_eight_hosts_at_once_fire_a_time_once(pool: Pool, database: str, tmp_path: Path) -> None:
    """Whoever comes second finds the schedule moved on; no time is enqueued twice and none is left out."""
    daemon = pool()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    add(daemon, "contended", start, "all")

    def host(_: int) -> None:
        line, schedules = Line(database, "workerpool", "keeper"), Schedules()
        line.open()
        while datetime.now(UTC) < start + timedelta(minutes=5, seconds=3):
            schedules.fire(line)
        line.close()

    with ThreadPoolExecutor(8) as hosts:
        list(hosts.map(host, range(8)))
    due = [datetime.fromisoformat(row["due"]) for row in fired(daemon, "contended")]
    assert due == [start + timedelta(seconds=n) for n in range(len(due))]
    assert len(due) > 300
