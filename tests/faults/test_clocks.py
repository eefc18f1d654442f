"""Clocks that are wrong, and clocks that jump: of a host, no effect at all; of the database, a bounded one."""

import atexit
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.faults.hosts import HANDLERS, check_no_overlap
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate

COMPILER = shutil.which("cc") or ""
pytestmark = pytest.mark.skipif(
    not COMPILER, reason="clock.c cannot be compiled: no C compiler (Debian: gcc libc6-dev)"
)

HOUR = 3600.0
#: Far from an hour, and more than anything here takes.
NEAR = 600.0
LEASE = 2.0


@cache
def library() -> str:
    """Compile clock.c and return its library."""
    made = Path(tempfile.mkdtemp(prefix="workerpool-test-")) / "clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", made, Path(__file__).with_name("clock.c")], check=True)
    made.parent.chmod(0o755)
    atexit.register(shutil.rmtree, made.parent, ignore_errors=True)
    return str(made)


class Clock:
    """The time of day of whatever is started with its environment: so many seconds off, and it can jump."""

    def __init__(self, file: Path, off: float) -> None:
        self.file = file
        file.write_bytes(struct.pack("l", int(off)))
        file.chmod(0o644)

    def jump(self, off: float) -> None:
        """Be so many seconds off from now on."""
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("l", int(off)))

    @property
    def environment(self) -> dict[str, str]:
        """What puts a process on this clock."""
        return {"LD_PRELOAD": library(), "CLOCK_OFF": str(self.file)}


class Late(Daemon):
    """A manager, with all of its processes, on a clock of its own; the journal is that of all."""

    def __init__(self, url: str, folder: Path, clock: Clock | None, **settings: object) -> None:
        folder.mkdir()
        super().__init__(url, folder, **{"handlers": HANDLERS, "lease": f"{LEASE}s", **settings})
        self.clock, self.journal = clock, folder.parent / "journal"

    def environment(self) -> dict[str, str]:
        """The same, with its clock."""
        return super().environment() | (self.clock.environment if self.clock is not None else {})


Start = Callable[[str, str, float | None], Late]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a manager, of that name, on a database, so many seconds off; None: on the true clock."""
    made: list[Late] = []

    def one(url: str, name: str, off: float | None) -> Late:
        clock = Clock(tmp_path / f"{name}.clock", off) if off is not None else None
        made.append(Late(url, tmp_path / name, clock))
        made[-1].start()
        return made[-1]

    yield one
    for each in made:
        each.clear()


def test_the_clocks_of_the_hosts_do_not_matter(database: str, start: Start) -> None:
    """Three managers on one database, one an hour ahead, one an hour behind, one whose clock jumps two hours to and fro
    while it works: order, leases, due times and time limits are as with true clocks, no revision is rescued or charged,
    no process restarted, and every instant that is stored is the database's.
    """
    ahead, behind, jumping = start(database, "ahead", HOUR), start(database, "behind", -HOUR), start(database, "j", 0)
    jumping.sql(
        "INSERT INTO revisions (item_key, handler, payload) SELECT 'item' || n %% 12, 'alive', "
        "jsonb_build_object('seconds', random()) FROM generate_series(1, 96) n"
    )
    long = [ahead.insert(f"long{n}", "alive", {"seconds": 2.5 * LEASE}) for n in range(3)]
    due = ahead.sql(
        "INSERT INTO revisions (item_key, handler, payload, run_at) SELECT 'due' || n, 'alive', "
        "'{\"seconds\": 0}', clock_timestamp() + interval '3 s' FROM generate_series(1, 6) n RETURNING id"
    )
    limited = [ahead.insert(f"limit{n}", "alive", {"seconds": 30}, timeout_seconds=2, max_attempts=1) for n in range(3)]
    assert jumping.clock is not None
    for off in (HOUR, -HOUR, 0, -HOUR, HOUR):
        jumping.clock.jump(off)
        done = len(ahead.entries("end"))
        until(lambda before=done: len(ahead.entries("end")) >= before + 12, what="a dozen more")  # type: ignore[misc]
    for revision in limited:
        row = ahead.ended(revision)
        assert (row["status"], row["error_kind"]) == ("failed", "timeout")
        assert 1.9 <= row["actual_duration"].total_seconds() <= 10
    busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'scheduled', 'processing') LIMIT 1"
    until(lambda: not ahead.sql(busy), what="all over")
    rows = ahead.sql("SELECT * FROM revisions ORDER BY id")
    assert {(row["status"], row["attempt"], row["crash_count"]) for row in rows if row["id"] not in limited} == {
        ("completed", 1, 0)
    }
    now = ahead.sql("SELECT clock_timestamp() AS at")[0]["at"]
    offs = [row["result"]["clock"] - now.timestamp() for row in rows if row["result"]]
    assert any(abs(off - HOUR) < NEAR for off in offs)
    assert any(abs(off + HOUR) < NEAR for off in offs)
    for row in rows:
        assert row["created_at"] <= row["started_at"] <= row["completed_at"] <= now
        assert (now - row["created_at"]).total_seconds() < NEAR
    waited = ahead.sql(
        "SELECT min(started_at - run_at) >= interval '0' AS never_early, max(started_at - run_at) AS most "
        "FROM revisions WHERE id = ANY (%s)",
        [row["id"] for row in due],
    )[0]
    assert waited["never_early"]
    assert waited["most"].total_seconds() < NEAR
    assert all(ahead.row(each)["actual_duration"].total_seconds() < NEAR for each in long)
    check_no_overlap(ahead)
    for each in (ahead, behind, jumping):
        assert not each.events("revision.rescued")
        assert not each.events("lease.lost")
        restarted = [event for event in each.events("child.exited") if event["why"] != "has done its work"]
        killed = each.events("child.killed")
        assert len(restarted) == len(killed) == sum(event["why"] == "timeout" for event in killed)
        assert each.stop() == 0


def test_a_jump_of_the_databases_clock_is_bounded(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's clock jumps an hour ahead under load, then back: leases that seem to be over cost at most a second
    attempt, fenced; nothing is lost, nothing fails, the order holds, and work goes on after each jump.
    """
    clock = Clock(tmp_path / "database.clock", 0)
    server = OwnServer()
    try:
        with monkeypatch.context() as patch:
            for name, value in clock.environment.items():
                patch.setenv(name, value)
            server.start()
        migrate.upgrade(server.url)
        one, two = start(server.url, "one", None), start(server.url, "two", None)
        one.sql(
            "INSERT INTO revisions (item_key, handler, payload) SELECT 'item' || n %% 8, 'alive', "
            "jsonb_build_object('seconds', 0.3 + random()) FROM generate_series(1, 64) n"
        )
        for off in (HOUR, 0.0):
            until(lambda: one.sql("SELECT 1 FROM revisions WHERE status = 'processing' HAVING count(*) >= 3"))
            clock.jump(off)
            seen = one.sql("SELECT clock_timestamp() AS at")[0]["at"].timestamp() - time.time()
            assert abs(seen - off) < NEAR
            done = len(one.entries("end"))
            until(lambda before=done: len(one.entries("end")) >= before + 12, what="a dozen more")  # type: ignore[misc]
        busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'scheduled', 'processing') LIMIT 1"
        until(lambda: not one.sql(busy), 60, f"all over\n{one.tail()}")
        rows = one.sql("SELECT * FROM revisions")
        assert {row["status"] for row in rows} == {"completed"}
        assert max(row["attempt"] for row in rows) <= 2
        check_no_overlap(one, ghosts=True)
        print(f"\n{sum(row['attempt'] - 1 for row in rows)} of {len(rows)} revisions had a second attempt")
        for each in (one, two):
            each.stop()
    finally:
        server.remove()
