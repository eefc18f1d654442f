"""Full disks of a pool (F20, F49, F70): its home with all that is in it, its log, its files, a command's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import chronicle
from tests.faults.chronicle import Notes, check
from tests.faults.disks import MIB, Disk, goes_on, missing
from tests.faults.producer import Producer, drain
from tests.faults.test_rounds import PATIENT
from tests.process.daemon import Daemon, until
from workerpool.store.embedded import Server

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Pool = Callable[..., Daemon]
HANDLERS = Path(__file__).parent / "disk_handlers.py"
FAILS = {"error": "ValueError"}
COMMANDS = """
[commands.echo]
argv = ["cat"]

[commands.greedy]
argv = ["sh", "-c", 'cat /dev/zero > "$(dirname "$WORKERPOOL_PAYLOAD_FILE")/much"']
"""


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A small disk."""
    made = Disk(4 * MIB)
    try:
        yield made
    finally:
        made.remove()


def test_a_home_on_a_full_disk_with_everything_in_it(tmp_path: Path, seed: int) -> None:
    """F20, F21: the embedded server's data and WAL, the log file and the home are on one disk that is full for some
    seconds: the manager lives, the server is started again as often as it takes, and nothing is lost or doubled.
    """
    disk = Disk(200 * MIB)
    log = disk.path / "pool.log"
    daemon = Daemon(None, tmp_path, **PATIENT, workers=2, home=disk.path / "home", log_file=log)
    daemon.log = log
    notes = Notes()
    try:
        daemon.start()
        daemon.url = Server(disk.path / "home").url()
        chronicle.record(daemon.url)
        producer = Producer(daemon.url, seed, notes, pause=0.15)
        producer.start()
        goes_on(daemon.url, 30.0)
        with disk.full():
            began = time.monotonic()
            until(lambda: time.monotonic() - began > 6.0, what="a while")
        goes_on(daemon.url, 30.0)
        assert daemon.process is not None
        assert daemon.process.poll() is None
        producer.stop()
        drain(daemon.url, [daemon])
        assert check(daemon.url, [daemon], notes) == []
        assert daemon.stop() == 0
        lost = [json.loads(line) for line in log.read_text().splitlines() if '"log.dropped"' in line]
        assert all(each["lines"] > 0 for each in lost)
    finally:
        daemon.clear()
        disk.remove()


def failed(daemon: Daemon) -> int:
    """Let a revision fail, which is a line of the log; returns its id."""
    revision = daemon.insert("page", "raise", FAILS, max_attempts=1)
    daemon.ended(revision)
    return revision


def test_a_log_file_whose_disk_has_room_again(pool: Pool, disk: Disk) -> None:
    """F70: lines that a full disk did not take are counted, and their number is told when there is room."""
    log = disk.path / "pool.log"
    daemon = pool(workers=1, log_file=log)
    daemon.log = log
    daemon.start()
    with disk.full():
        # (a line of the log each, of which a page of the disk takes twenty; one after the other, as those that come
        # together are written together, perhaps when there is room again)
        said = [failed(daemon) for _ in range(60)]
    said += [failed(daemon) for _ in range(10)]
    until(lambda: daemon.events("log.dropped"), what="how many lines were lost")

    def found() -> list[int]:
        return [each["revision_id"] for each in daemon.events("revision.failed")]

    until(lambda: set(said[-10:]) <= set(found()), what="the last lines")
    lost = sum(each["lines"] for each in daemon.events("log.dropped"))
    assert lost > 20
    assert len(found()) == len(set(found())) >= len(said) - lost - 1
    assert daemon.stop() == 0


def test_a_start_on_a_full_home_says_so(pool: Pool, disk: Disk) -> None:
    """F20: a home that takes nothing is a sentence and exit 1, after which a supervisor tries again; with room it
    starts, and a pool that runs is not disturbed.
    """
    daemon = pool(home=disk.path / "home")
    (disk.path / "home").mkdir(mode=0o700)
    with disk.full():
        daemon.spawn()
        assert daemon.code() == 1
    assert "No space left on device" in daemon.text()
    assert "Traceback" not in daemon.text()
    daemon.start()
    with disk.full():
        assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
        told = subprocess.run(
            [sys.executable, "-m", "workerpool", "status"], env=daemon.environment(), capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        assert daemon.stop() == 0


def test_an_artifact_that_does_not_fit(pool: Pool, disk: Disk) -> None:
    """F49: a file that the home's disk does not take fails that revision, leaves no half of it, and with room it is
    kept.
    """
    daemon = pool(home=disk.path / "home", handlers=HANDLERS)
    daemon.start()
    with disk.full():
        row = daemon.ended(daemon.insert("page", "keep", {"bytes": 100_000}, max_attempts=1))
        assert (row["status"], row["error_kind"]) == ("failed", "error")
        assert "No space left on device" in row["error_message"]
        assert list((disk.path / "home").rglob("*.bin")) == []
        assert daemon.ended(daemon.insert("other", "talk", {"seconds": 0}))["status"] == "completed"
    kept = daemon.ended(daemon.insert("page", "keep", {"bytes": 100_000}))["result"]["artifacts"][0]
    assert Path(kept).stat().st_size == 100_000
    assert daemon.stop() == 0


def test_a_command_whose_folder_is_on_a_full_disk(
    pool: Pool, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F49: where the payload cannot be written the revision fails, and is tried again; others go on, the worker lives,
    and nothing of it is left on the disk.
    """
    monkeypatch.setenv("TMPDIR", str(disk.path))
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = pool(commands=tmp_path / "commands.toml", workers=1).start()
    assert daemon.ended(daemon.insert("warm", "command", {"command": "echo"}))["status"] == "completed"
    worker = daemon.child("W1")
    with disk.full():
        failed = daemon.insert("page", "command", {"command": "echo"}, max_attempts=1)
        again = daemon.insert("again", "command", {"command": "echo"}, max_attempts=30)
        row = daemon.ended(failed)
        assert (row["status"], row["error_kind"], row["crash_count"]) == ("failed", "error", 0)
        assert "No space left on device" in row["error_message"]
        assert daemon.ended(daemon.insert("other", "work"))["status"] == "completed"
        until(lambda: daemon.row(again)["error_message"], what="tried")
        until(lambda: os.listdir(disk.path) == ["filler"], what="nothing is left")
    assert daemon.ended(again)["status"] == "completed"
    until(lambda: os.listdir(disk.path) == [], what="nothing is left")
    assert daemon.child("W1") == worker
    assert daemon.stop() == 0


def test_a_command_that_fills_the_disk_of_its_folder(
    pool: Pool, disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F49: a command that writes until nothing is left fails as the program says; its folder goes, and the next one
    has room.
    """
    monkeypatch.setenv("TMPDIR", str(disk.path))
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = pool(commands=tmp_path / "commands.toml").start()
    row = daemon.ended(daemon.insert("page", "command", {"command": "greedy"}, max_attempts=1))
    assert (row["status"], row["error_kind"]) == ("failed", "error")
    assert "No space left on device" in row["error_message"]
    assert os.listdir(disk.path) == []
    assert daemon.ended(daemon.insert("page", "command", {"command": "echo"}))["status"] == "completed"
    assert daemon.stop() == 0


def test_a_backup_that_does_not_fit_is_none(pool: Pool, disk: Disk) -> None:
    """F20: `workerpool backup` onto a full disk fails with a sentence, leaves no file, and the pool is not paused."""
    daemon = pool().start()
    file = disk.path / "backup.dump"
    with disk.full():
        told = subprocess.run(
            [sys.executable, "-m", "workerpool", "backup", str(file)],
            env=daemon.environment(),
            capture_output=True,
            text=True,
        )
        assert told.returncode == 1, told.stderr
        assert "no backup was made" in told.stderr
        assert "No space left on device" in told.stderr
        assert os.listdir(disk.path) == ["filler"]
    assert not daemon.sql("SELECT 1 FROM pauses")
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert daemon.stop() == 0
