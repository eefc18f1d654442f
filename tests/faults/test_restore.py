"""The database is restored to a moment: the queue goes on from there, by the procedure of docs/failover.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Node, call
from tests.process.daemon import Daemon, until
from workerpool.store import migrate

PAGE = Path(__file__).parent.parent.parent / "docs" / "failover.md"
LOAD = """
INSERT INTO workerpool.revisions (item_key, handler, payload)
SELECT 'item' || n % 5, 'work', '{"seconds": 0.02}' FROM generate_series(1, 40) n
"""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node, Path]]:
    """A server that archives its log, one that is to be restored from it, and the archive."""
    archive = tmp_path / "archive"
    archive.mkdir()
    first, second = Node(tmp_path, "first"), Node(tmp_path, "second")
    first.settings = {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"}
    try:
        call("initdb", "-D", str(first.data), "-U", "postgres", "-A", "trust", "-N", "--wal-segsize=4")
        first.start()
        yield first, second, archive
    finally:
        first.kill()
        second.kill()


def test_a_queue_that_is_restored_to_a_moment_goes_on(nodes: tuple[Node, Node, Path], tmp_path: Path) -> None:
    """What had ended by then is as it was, what ran then is given back uncounted, and everything is performed in order;
    what was destroyed afterwards is there again.
    """
    first, second, archive = nodes
    migrate.upgrade(first.url)
    source = f"host=127.0.0.1 port={first.port} user=postgres"
    call("pg_basebackup", "-D", str(second.data), "-d", source, "-c", "fast", "-X", "none", "-N")
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = Daemon(first.url, tmp_path / "old", lease="60s")
    new = Daemon(second.url, tmp_path / "new")
    try:
        old.start()
        long = old.insert("long", "work", {"seconds": 600})
        old.begun(long)
        first.sql(LOAD)
        done = "SELECT id, revision_number FROM workerpool.revisions WHERE status = 'completed' ORDER BY id"
        until(lambda: len(first.sql(done)) >= 10, what="some have ended")
        ((moment,),) = first.sql("SELECT clock_timestamp()::text")
        until(lambda: len(first.sql(done)) >= 40, what="all of them have ended")
        ended_before = first.sql(
            f"SELECT id, revision_number FROM workerpool.revisions WHERE completed_at < '{moment}' ORDER BY id"
        )
        old.process.kill()  # type: ignore[union-attr]
        old.code()
        first.sql("DELETE FROM workerpool.revisions", "SELECT pg_switch_wal()")
        until(lambda: first.sql("SELECT last_archived_wal FROM pg_stat_archiver") != [(None,)], what="the archive")
        wal = str(first.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
        until(lambda: (archive / wal).exists() or first.sql("SELECT pg_switch_wal()") == [], what=f"{wal} archived")
        first.kill()

        (second.data / "recovery.signal").touch()
        second.settings = {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_time": str(moment),
            "recovery_target_action": "promote",
        }
        second.start()
        until(lambda: second.sql("SELECT pg_is_in_recovery()") == [(False,)], what="promoted")
        assert second.sql("SELECT status FROM workerpool.revisions WHERE id = " + str(long)) == [("processing",)]
        (procedure,) = re.findall(r"```sql\n(BEGIN;.*?COMMIT;)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        second.sql(procedure)
        row = second.sql(f"SELECT status, attempt, crash_count FROM workerpool.revisions WHERE id = {long}")
        assert row == [("pending", 0, 0)]
        second.sql(f"UPDATE workerpool.revisions SET payload = '{{}}' WHERE id = {long}")

        new.start()
        open_ones = "SELECT count(*) FROM workerpool.revisions WHERE completed_at IS NULL"
        until(lambda: second.sql(open_ones) == [(0,)], what=f"performed\n{new.tail()}")
        assert second.sql("SELECT DISTINCT status, crash_count FROM workerpool.revisions") == [("completed", 0)]
        now = second.sql("SELECT id, revision_number FROM workerpool.revisions ORDER BY id")
        assert len(now) == 41
        assert set(ended_before) <= set(now)
        begun = {int(entry[1]) for entry in new.entries("begin")}
        assert begun.isdisjoint(int(str(id_)) for id_, _ in ended_before), "what had ended does not run again"
        numbers = second.sql(
            "SELECT item_key FROM (SELECT item_key, revision_number, "
            "row_number() OVER (PARTITION BY item_key ORDER BY id) AS place FROM workerpool.revisions) r "
            "WHERE place <> revision_number"
        )
        assert numbers == [], "in order"
        assert new.stop() == 0
    finally:
        old.clear()
        new.clear()
