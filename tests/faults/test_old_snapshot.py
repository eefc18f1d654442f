"""F33 at length: somebody keeps a snapshot from before many thousands of revisions passed.

A turn that begins where the one before it ended stays cheap (test_locks.py). A look at all candidates does not: it has
to step over what has passed and cannot be cleaned up, the more of it the longer. What holds here is that work goes on,
nothing fails of it, and all is as before when the snapshot is let go; what it costs is printed, and in docs/faults.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.conftest import rounds
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer

#: Revisions that pass beside the snapshot in one portion; so many portions; and how many single ones are timed.
PORTION, TIMED = 10_000, 100
PORTIONS = rounds(ci=3, long=10)
#: How much dearer they may be than before, when the snapshot is gone.
MOST = 3.0
HANDLERS = '''
from workerpool import handler


@handler("nothing")
def nothing(job):
    """Take no time."""
'''
INSERT = (
    "INSERT INTO workerpool.revisions (item_key, handler) SELECT 'item ' || n %% 1000, 'nothing' "
    "FROM generate_series(1, %s) n"
)
BUSY = "SELECT 1 FROM revisions WHERE status IN ('pending', 'processing') LIMIT 1"
DEAD = (
    "SELECT pg_stat_force_next_flush()::text, n_dead_tup AS dead FROM pg_stat_user_tables "
    "WHERE relid = 'workerpool.revisions'::regclass"
)
Pool = Callable[..., Daemon]


@pytest.fixture
def daemon(own: OwnServer, tmp_path: Path) -> Iterator[Daemon]:
    """A pool on a server of its own, whose handler does nothing."""
    module = tmp_path / "nothing_handlers.py"
    module.write_text(HANDLERS)
    made = Daemon(own.url, tmp_path, handlers=module, lease="60s", log_level="info")
    try:
        yield made
    finally:
        made.clear()


def pass_through(daemon: Daemon, how_many: int) -> float:
    """Let so many revisions pass; returns how many a second."""
    begun = time.monotonic()
    daemon.connection.execute(INSERT, [how_many])
    until(lambda: not daemon.sql(BUSY), 300, f"{how_many} have passed\n{daemon.tail()}")
    return how_many / (time.monotonic() - begun)


def pick_up(daemon: Daemon) -> float:
    """Let single revisions pass through a pool at rest; returns the 95th percentile of their waits, in seconds."""
    ids = []
    for _ in range(TIMED):
        ids.append(daemon.insert("single", "nothing"))
        daemon.ended(ids[-1])
    text = "SELECT extract(epoch FROM started_at - created_at) AS wait FROM revisions WHERE id = ANY (%s)"
    return statistics.quantiles([float(row["wait"]) for row in daemon.sql(text, ids)], n=20)[-1]


@pytest.mark.parametrize("portions", PORTIONS)
def test_many_pass_beside_an_old_snapshot(own: OwnServer, daemon: Daemon, portions: int) -> None:
    """Beside a snapshot of before, of which nothing can be cleaned up, 30,000 revisions pass (100,000 with --long),
    each once, and single ones are picked up; when it is let go the dead rows go, and the rate is what it was.
    """
    daemon.start()
    pass_through(daemon, PORTION)
    rate, wait = pass_through(daemon, PORTION), pick_up(daemon)
    daemon.sql("VACUUM ANALYZE workerpool.revisions")
    with psycopg.connect(own.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1 FROM workerpool.revisions LIMIT 1")
        rates = [pass_through(daemon, PORTION) for _ in range(portions)]
        beside = pick_up(daemon)
        dead = int(daemon.sql(DEAD)[0]["dead"])
    daemon.sql("VACUUM workerpool.revisions")
    left, after = int(daemon.sql(DEAD)[0]["dead"]), pass_through(daemon, PORTION)
    told = f"{rate:.0f} a second before, beside it {', '.join(f'{each:.0f}' for each in rates)}, after it {after:.0f}; "
    told += f"p95 of a single one {wait * 1000:.1f} ms and {beside * 1000:.1f} ms; dead rows {dead} and {left}"
    print(told)
    assert dead > portions * PORTION, told
    assert left < dead / 10, told
    assert after * MOST > rate, told
    assert daemon.sql("SELECT status, max(attempt) AS most FROM revisions GROUP BY 1") == [
        {"status": "completed", "most": 1}
    ]
    assert not daemon.events("turn.refused")
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0
