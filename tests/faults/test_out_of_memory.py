"""The kernel kills for want of memory (F02): a whole pool in a memory cgroup, as in a container."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.memory_groups import MemoryGroup, missing
from tests.process.daemon import Daemon
from workerpool.link.tether import VICTIM

Pool = Callable[..., Daemon]
LIMIT = 256 << 20
COMMANDS = """
[commands.fat]
argv = ["python3", "-S", "-c", "x = bytearray(b'x') * (1 << 30)"]

[commands.score]
argv = ["cat", "/proc/self/oom_score_adj"]
"""
needs_group = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """A group of 256 MB. (It is made before the pool, and is taken away after it.)"""
    made = MemoryGroup(LIMIT)
    yield made
    made.remove()


def enclosed(daemon: Daemon, group: MemoryGroup) -> Daemon:
    """Start a pool and put all of it into the group."""
    daemon.start()
    group.take(daemon.pid, *daemon.others())
    return daemon


@needs_group
def test_a_worker_that_the_kernel_kills_for_memory(group: MemoryGroup, pool: Pool) -> None:
    """F02: a handler that allocates beyond the limit of the pool's cgroup is killed with its worker: a crash that says
    so, poison at the third; other revisions end, the manager and the keeper do not notice, and no slot is given up.
    """
    daemon = enclosed(pool(workers=3, max_restarts=1), group)
    keeper = daemon.child("keeper")
    bad = daemon.insert("bad", "grow", {"megabytes": 1024}, max_attempts=10)
    good = [daemon.insert(f"good{n}", "work", {"seconds": 0.2}) for n in range(10)]
    row = daemon.ended(bad, 60.0)
    assert (row["status"], row["error_kind"], row["attempt"], row["crash_count"]) == ("failed", "poison", 3, 3)
    assert "SIGKILL (signal 9; perhaps out of memory) in the middle of the handler" in row["error_message"]
    # While the one that it killed still gives its memory back the kernel may take a worker beside it.
    assert group.killed >= 3
    for each in good:
        ended = daemon.ended(each)
        assert (ended["status"], ended["attempt"]) == ("completed", ended["crash_count"] + 1)
    assert sum(daemon.row(each)["crash_count"] for each in good) <= group.killed - 3
    assert daemon.child("keeper") == keeper
    assert not daemon.events("slot.gave_up")
    assert {each["status"] for each in daemon.events("child.exited") if each["child"] != "prepare"} == {-9}
    assert daemon.ended(daemon.insert("bad", "work"))["status"] == "completed"
    assert daemon.stop() == 0


@needs_group
def test_a_command_that_the_kernel_kills_for_memory(group: MemoryGroup, pool: Pool, tmp_path: Path) -> None:
    """F02: the command is taken and not its worker: the attempt fails, with the guess in its error, and is tried again
    without a crash being charged.
    """
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = enclosed(pool(commands=tmp_path / "commands.toml", workers=1), group)
    worker = daemon.child("W1")
    row = daemon.ended(daemon.insert("bad", "command", {"command": "fat"}, max_attempts=2))
    assert (row["status"], row["error_kind"], row["attempt"], row["crash_count"]) == ("failed", "error", 2, 0)
    assert "was ended by SIGKILL (perhaps out of memory)" in row["error_message"]
    assert group.killed == 2
    assert daemon.child("W1") == worker
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert daemon.stop() == 0


@needs_group
def test_a_worker_goes_before_a_bigger_manager(group: MemoryGroup, pool: Pool) -> None:
    """F02: the kernel looks for the biggest; a handler whose small worker brings the group over its limit is taken all
    the same, and not the process beside it that has more.
    """
    daemon = enclosed(pool(workers=1), group)
    script = f"input(); x = bytearray(b'x') * {LIMIT * 2 // 3}; print(1, flush=True); input()"
    words = [sys.executable, "-S", "-c", script]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as beside:
        assert beside.stdin is not None
        assert beside.stdout is not None
        try:
            group.take(beside.pid)
            beside.stdin.write(b"\n")
            beside.stdin.flush()
            assert beside.stdout.readline() == b"1\n"
            row = daemon.ended(daemon.insert("bad", "grow", {"megabytes": LIMIT >> 20}, max_attempts=1))
            assert row["error_kind"] in ("crash", "poison")
            assert beside.poll() is None
        finally:
            beside.kill()
    assert daemon.stop() == 0


def test_workers_and_what_they_start_are_the_first_victims(pool: Pool, tmp_path: Path) -> None:
    """F02: where memory runs out the kernel takes a worker or its command before the manager and the keeper."""
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = pool(commands=tmp_path / "commands.toml").start()
    own = int(Path("/proc/self/oom_score_adj").read_text())

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert {score(daemon.pid), score(daemon.child("keeper"))} == {own}
    assert {score(daemon.child(name)) for name in ("W1", "W2")} == {max(own, VICTIM)}
    row = daemon.ended(daemon.insert("page", "command", {"command": "score"}))
    assert int(row["result"]["output"]) == max(own, VICTIM)
    assert daemon.stop() == 0
