"""A real supervisord on `deploy/supervisord.conf`: it brings a killed pool back, and stops it within its grace."""

import configparser
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.process.daemon import gone, until

SHIPPED = Path(__file__).parents[2] / "deploy" / "supervisord.conf"
GRACE = 10.0  # seconds; WORKERPOOL_SHUTDOWN_GRACE of the pool under test
HANDLERS = """
import time
from pathlib import Path

from workerpool import Job, handler


@handler("default", max_attempts=1)
def default(job: Job) -> dict[str, object]:
    Path(f"begun {job.id}.{job.attempt}").touch()
    time.sleep(float(job.payload["seconds"]))
    return {"attempt": job.attempt}
"""
UNFINISHED = """SELECT count(*) FROM workerpool.revisions WHERE status <> 'completed'"""
OVERLAPS = """
    SELECT count(*) FROM workerpool.revisions a JOIN workerpool.revisions b
    ON a.item_key = b.item_key AND a.id < b.id AND b.started_at < a.completed_at"""


@dataclass(frozen=True, slots=True)
class Supervised:
    """A pool under a supervisord of its own."""

    folder: Path
    connection: psycopg.Connection

    def control(self, *words: str) -> str:
        """Run supervisorctl and return what it says."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.folder / "supervisord.conf")]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=False).stdout.strip()

    def pid(self) -> int:
        """The manager's pid; 0 while there is none."""
        said = self.control("pid", "workerpool")
        return int(said) if said.isdigit() else 0

    def count(self, question: str) -> int:
        """Ask the database for one number."""
        row = self.connection.execute(question).fetchone()
        assert row is not None
        return int(row[0])

    def enqueue(self, items: int, each: int, seconds: float) -> None:
        """Insert `each` revisions of so many items, in turn; each takes `seconds`."""
        self.connection.execute(
            "INSERT INTO workerpool.revisions (item_key, payload)"
            " SELECT 'page ' || i, jsonb_build_object('seconds', %s)"
            " FROM generate_series(1, %s) n, generate_series(1, %s) i ORDER BY n, i",
            [seconds, each, items],
        )

    def begun(self) -> int:
        """How many attempts have begun."""
        return len(list(self.folder.glob("begun *")))

    def workers(self) -> list[int]:
        """The pids of the workers that the database knows to be active."""
        rows = self.connection.execute("SELECT worker_pid FROM workerpool.workers WHERE is_active")
        return [row[0] for row in rows.fetchall()]


def derive(folder: Path, environment: dict[str, str]) -> Path:
    """Write the shipped configuration with paths of this test; what decides about restarts stays as it is."""
    config = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    config.read_string(SHIPPED.read_text())
    program = config["program:workerpool"]
    assert program["command"].split()[1:] == ["start"], "what is run is `workerpool start`"
    config["unix_http_server"]["file"] = str(folder / "s.sock")
    config["supervisorctl"]["serverurl"] = f"unix://{folder}/s.sock"
    config["supervisord"]["logfile"] = str(folder / "supervisord.log")
    config["supervisord"]["pidfile"] = str(folder / "supervisord.pid")
    program["command"] = f"{sys.executable} -m workerpool start"
    program["directory"] = str(folder)
    program["stdout_logfile"] = str(folder / "workerpool.log")
    program["environment"] = ",".join(f'{name}="{value.replace("%", "%%")}"' for name, value in environment.items())
    del program["user"]
    path = folder / "supervisord.conf"
    with path.open("w") as file:
        config.write(file)
    return path


@pytest.fixture
def supervised(tmp_path: Path, database: str, connection: psycopg.Connection) -> Iterator[Supervised]:
    """Start supervisord and wait until it calls the pool running; at the end nothing of it is left."""
    (tmp_path / "supervised_handlers.py").write_text(HANDLERS)
    path = derive(
        tmp_path,
        {
            "WORKERPOOL_DATABASE_URL": database,
            "WORKERPOOL_HOME": str(tmp_path / "home"),
            "WORKERPOOL_HANDLERS": "supervised_handlers",
            "WORKERPOOL_SHUTDOWN_GRACE": f"{GRACE}s",
            "WORKERPOOL_HTTP": "off",
            "PYTHONPATH": os.environ["PYTHONPATH"],
        },
    )
    supervisord = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-n", "-c", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    facts = Supervised(tmp_path, connection)
    try:
        until(lambda: "RUNNING" in facts.control("status"), what="the pool is RUNNING")
        yield facts
    except BaseException as error:
        for name in ("supervisord.log", "workerpool.log"):
            if (tmp_path / name).exists():
                error.add_note((tmp_path / name).read_text())
        raise
    finally:
        supervisord.send_signal(signal.SIGTERM)
        try:
            supervisord.wait(GRACE + 10)
        finally:
            supervisord.kill()


def test_a_killed_manager_comes_back_and_nothing_is_lost(supervised: Supervised) -> None:
    """After kill -9 of the manager in the middle of work supervisord starts another, which finishes every revision.

    Its workers are gone within 2 s. What was running is run again with its attempt not counted, and the order inside
    the items holds across both.
    """
    supervised.enqueue(items=3, each=4, seconds=0.4)
    until(lambda: supervised.begun() >= 2, what="both workers are busy")
    first, workers = supervised.pid(), supervised.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in workers), 2.0, "the workers of the killed manager are gone")
    until(lambda: supervised.pid() not in (0, first), what="supervisord has started it again")
    until(lambda: supervised.count(UNFINISHED) == 0, what="every revision is completed")
    rows = supervised.connection.execute("SELECT attempt, crash_count FROM workerpool.revisions").fetchall()
    assert rows == [(1, 0)] * 12, "a manager's death charges nobody"
    assert supervised.count(OVERLAPS) == 0


def test_a_stop_lets_running_revisions_finish(supervised: Supervised) -> None:
    """`supervisorctl stop` ends within the grace: what runs is finished, what waits stays pending."""
    supervised.enqueue(items=2, each=2, seconds=2)
    until(lambda: supervised.begun() >= 2, what="both workers are busy")
    workers = supervised.workers()
    began = time.monotonic()
    assert "stopped" in supervised.control("stop", "workerpool")
    assert time.monotonic() - began < GRACE
    statuses = "SELECT array_agg(status::text ORDER BY id) FROM workerpool.revisions"
    found = supervised.connection.execute(statuses).fetchone()
    assert found == (["completed", "completed", "pending", "pending"],)
    assert all(gone(pid) for pid in workers)
    assert "STOPPED" in supervised.control("status"), "a stop that was asked for is no reason to start again"
    assert "exit status 0" in (supervised.folder / "supervisord.log").read_text()
