"""What the manager tells a service manager: sd_notify, spoken to a real datagram socket."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.process.daemon import until

LIMIT = 30.0  # seconds within which each awaited fact must come true
WATCHDOG = 2.0  # seconds that the service manager waits for a ping
HANDLERS = """
import os

from workerpool import Job, handler


@handler("default")
def default(job: Job) -> dict[str, object]:
    return {"seen": [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID") if name in os.environ]}
"""


class ServiceManager:
    """The other end of NOTIFY_SOCKET: keeps every message with the instant of its arrival."""

    def __init__(self, address: str | Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(address))
        self.heard: list[tuple[float, dict[str, str]]] = []

    def listen(self, seconds: float) -> dict[str, str] | None:
        """Wait for one message."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            text = self.socket.recv(65536).decode()
        except TimeoutError:
            return None
        message = dict(line.split("=", 1) for line in text.splitlines())
        self.heard.append((time.monotonic(), message))
        return message

    def wait_for(self, name: str) -> dict[str, str]:
        """Listen until a message has the field *name*."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            message = self.listen(deadline - time.monotonic())
            if message is not None and name in message:
                return message
        raise AssertionError(f"no {name} within {LIMIT} s; heard {[said for _, said in self.heard]}")

    def instants(self, name: str) -> list[float]:
        """Return when messages with the field *name* came."""
        return [at for at, message in self.heard if name in message]


@pytest.fixture
def service_manager(tmp_path: Path) -> Iterator[ServiceManager]:
    """A service manager on a socket file."""
    manager = ServiceManager(tmp_path / "notify")
    yield manager
    manager.socket.close()


@contextmanager
def managed(folder: Path, database: str, address: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `workerpool start` under a service manager at *address*; whatever is left at the end is killed."""
    (folder / "notify_handlers.py").write_text(HANDLERS)
    environment = os.environ | {
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": str(int(WATCHDOG * 1_000_000)),
        "WORKERPOOL_DATABASE_URL": database,
        "WORKERPOOL_HOME": str(folder / "home"),
        "WORKERPOOL_HANDLERS": "notify_handlers",
        "WORKERPOOL_HTTP": "off",
        **settings,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workerpool", "start"], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    except BaseException as error:
        error.add_note((folder / "log").read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()  # its children notice (P8)
            process.wait(LIMIT)


def wait_until_idle(connection: psycopg.Connection, workers: int = 2) -> None:
    """Wait until so many workers have found nothing to do."""
    question = "SELECT count(*) FROM workerpool.workers WHERE state = 'idle'"
    until(lambda: (connection.execute(question).fetchone() or (0,))[0] == workers, what="idle workers")


def test_ready_is_said_after_the_first_good_claim_round(
    tmp_path: Path, service_manager: ServiceManager, database: str, connection: psycopg.Connection
) -> None:
    """READY=1 means that revisions can be claimed: not while the claim hangs, though every process is up by then."""
    with psycopg.connect(database) as blocker:
        blocker.execute("LOCK TABLE workerpool.revisions IN ACCESS EXCLUSIVE MODE")
        with managed(tmp_path, database, str(tmp_path / "notify")):
            deadline = time.monotonic() + LIMIT
            up = 0
            while up < 2 and time.monotonic() < deadline:
                service_manager.listen(0.1)
                (up,) = connection.execute("SELECT count(*) FROM workerpool.workers WHERE is_active").fetchone() or (0,)
            assert up == 2, "both workers have registered"
            service_manager.wait_for("WATCHDOG")
            assert not service_manager.instants("READY"), "no claim was possible yet"
            blocker.rollback()
            assert service_manager.wait_for("READY")["READY"] == "1"


def test_the_watchdog_is_fed_while_the_database_hangs(
    tmp_path: Path, service_manager: ServiceManager, database: str
) -> None:
    """WATCHDOG=1 comes from the manager's main loop, twice within the limit, whatever the database does."""
    with psycopg.connect(database) as blocker, managed(tmp_path, database, str(tmp_path / "notify")):
        service_manager.wait_for("READY")
        blocker.execute("LOCK TABLE workerpool.revisions, workerpool.workers IN ACCESS EXCLUSIVE MODE")
        del service_manager.heard[:]
        while len(service_manager.instants("WATCHDOG")) < 4:
            service_manager.wait_for("WATCHDOG")
        pings = service_manager.instants("WATCHDOG")
        gaps = [later - earlier for earlier, later in pairwise(pings)]
        assert max(gaps) < WATCHDOG, f"the service manager would have killed it: {gaps}"


def test_the_status_names_the_workers_and_a_stop_is_announced(
    tmp_path: Path, service_manager: ServiceManager, database: str, connection: psycopg.Connection
) -> None:
    """STATUS= lists the slots with their ages; STOPPING=1 comes with the signal, before the end; the exit code is 0."""
    with managed(tmp_path, database, str(tmp_path / "notify"), WORKERPOOL_WORKERS="2") as process:
        service_manager.wait_for("READY")
        status = service_manager.wait_for("STATUS")["STATUS"]
        assert status.startswith("Workers healthy: [W1:"), status
        assert "W2:" in status
        wait_until_idle(connection)
        process.send_signal(signal.SIGTERM)
        assert service_manager.wait_for("STOPPING")["STOPPING"] == "1"
        assert process.wait(LIMIT) == 0
        assert len(service_manager.instants("STOPPING")) == 1


def test_a_reload_is_announced_and_ends_ready(tmp_path: Path, service_manager: ServiceManager, database: str) -> None:
    """HUP says RELOADING=1 with the instant, then READY=1 again; with bad settings too, for the old ones go on."""
    settings = tmp_path / "settings.env"
    settings.write_text("WORKERPOOL_WORKERS=2\n")
    with managed(tmp_path, database, str(tmp_path / "notify"), WORKERPOOL_ENV_FILE=str(settings)) as process:
        service_manager.wait_for("READY")
        for written in ("WORKERPOOL_WORKERS=3\n", "WORKERPOOL_WORKERS=no number\n"):
            settings.write_text(written)
            before = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            reloading = service_manager.wait_for("RELOADING")
            assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            service_manager.wait_for("READY")
        assert process.poll() is None


def test_children_do_not_see_the_socket(
    tmp_path: Path, service_manager: ServiceManager, database: str, connection: psycopg.Connection
) -> None:
    """Only the manager may speak: a handler finds neither the socket nor the watchdog's variables."""
    connection.execute("INSERT INTO workerpool.revisions (item_key, payload) VALUES ('page', '{}')")
    with managed(tmp_path, database, str(tmp_path / "notify")):
        deadline = time.monotonic() + LIMIT
        row = None
        while row is None and time.monotonic() < deadline:
            service_manager.listen(0.05)
            row = connection.execute("SELECT result FROM workerpool.revisions WHERE status = 'completed'").fetchone()
    assert row is not None, "the revision was performed"
    assert row[0] == {"seen": []}


def test_an_abstract_address_is_understood(tmp_path: Path, database: str) -> None:
    """An address that begins with @ is in the abstract namespace, as some service managers use it."""
    name = f"workerpool-test-{os.getpid()}"
    manager = ServiceManager(f"\0{name}")
    try:
        with managed(tmp_path, database, f"@{name}"):
            manager.wait_for("READY")
    finally:
        manager.socket.close()


def test_a_service_manager_that_is_gone_changes_nothing(
    tmp_path: Path, service_manager: ServiceManager, database: str, connection: psycopg.Connection
) -> None:
    """Telling never blocks and never fails the manager: it goes on when nobody listens any more."""
    with managed(tmp_path, database, str(tmp_path / "notify"), WATCHDOG_USEC="100000") as process:
        service_manager.wait_for("READY")
        wait_until_idle(connection)
        service_manager.socket.close()
        (tmp_path / "notify").unlink()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
