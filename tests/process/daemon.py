"""A real `workerpool start` under test: started, watched by its log lines and its rows, and cleared away for certain.

Every process that comes from it carries a mark of its own in the environment; when a test is over, none may be left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb, set_json_loads

from workerpool.link.tether import marked, sweep

MARK = "WORKERPOOL_TEST_MARK"
HANDLERS = Path(__file__).parent / "pool_handlers.py"
#: Seconds that anything may take which is not itself a promise about time.
PATIENCE = 30.0
#: P8: nothing outlives its manager by more.
ORPHANS_GONE = 2.0
Fact = TypeVar("Fact")


def until(fact: Callable[[], Fact], limit: float = PATIENCE, what: str = "") -> Fact:
    """Wait until `fact` is true and return it; `limit` in seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit} s: {what or fact}")
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Tell whether no process has this pid, or only one that is dead and not yet reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class Daemon:
    """One home with its database: the manager may be started in it several times."""

    def __init__(self, url: str | None, folder: Path, **settings: object) -> None:
        self.url, self.folder = url, folder
        self.mark = uuid.uuid4().hex
        self.journal = folder / "journal"
        self.log = folder / "log"
        self.settings: dict[str, object] = {
            "home": folder / "home",
            "handlers": HANDLERS,
            "workers": 2,
            "heartbeat": "300ms",
            "lease": "2s",
            "shutdown_grace": "3s",
            "start_timeout": "20s",
            "cancel_grace": "1s",
            "poll_interval": "1s",
            "http": "off",
            "log_level": "debug",
            "log_format": "json",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._events: list[dict[str, Any]] = []
        self._read = (0, 0)  # of which file, and how far
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    # -- the process ---------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """What the manager is started with: nothing of ours but what the test says."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("WORKERPOOL_", "PG"))}
        given = {f"WORKERPOOL_{name.upper()}": str(value) for name, value in self.settings.items()}
        if self.url is not None:
            given["WORKERPOOL_DATABASE_URL"] = self.url
        return clean | given | {MARK: self.mark, "JOURNAL": str(self.journal), "WORKERPOOL_STRICT_EVENTS": "1"}

    def spawn(self, *arguments: str, group: bool = False) -> Daemon:
        """Start the manager and return at once; `group` gives it a process group of its own."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workerpool", "start", *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                process_group=0 if group else None,
            )
        return self

    def start(self, *arguments: str, group: bool = False) -> Daemon:
        """Start the manager and wait until every worker is ready and the first claim round was good."""
        before = len(self.events("manager.ready"))
        ready = len(self.events("child.ready"))
        self.spawn(*arguments, group=group)
        until(lambda: self._ended() or len(self.events("manager.ready")) > before, what="manager.ready")
        wanted = ready + int(str(self.settings["workers"] or 2)) + 1  # and the keeper
        until(lambda: self._ended() or len(self.events("child.ready")) >= wanted, what="every child ready")
        return self

    def _ended(self) -> bool:
        code = self.process.poll() if self.process else None
        assert code is None, f"the manager ended with {code}:\n{self.tail()}"
        return False

    @property
    def pid(self) -> int:
        """The manager's pid."""
        assert self.process is not None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the manager."""
        os.kill(self.pid, number)

    def code(self, limit: float = PATIENCE) -> int:
        """Wait for the manager's end and return its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the manager still runs after {limit} s:\n{self.tail()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, limit: float = PATIENCE) -> int:
        """Send a signal that ends the manager; returns its exit code."""
        self.send(number)
        return self.code(limit)

    def others(self) -> list[int]:
        """The pids of every living process that came from this daemon, the manager aside."""
        manager = self.process.pid if self.process else 0
        # (a process that shows a title of its own has overwritten the environment that the mark is read from)
        found = {*marked(MARK, self.mark), *_working_in(self.folder)}
        return [pid for pid in found if pid != manager and not gone(pid)]

    def child(self, name: str) -> int:
        """The pid of the process that was last started in the place `name` (W1, keeper …)."""
        return int(self.events("child.started", child=name)[-1]["pid"])

    def pid_of_child(self, name: str, other_than: int = 0) -> int:
        """Wait for a ready process in the place `name` and return its pid."""

        def there() -> int:
            started = self.events("child.started", child=name)
            ready = self.events("child.ready", child=name)
            pid = int(started[-1]["pid"]) if started else 0
            return pid if len(ready) == len(started) and pid != other_than and not gone(pid) else 0

        return until(there, what=f"{name} ready")

    def kill(self) -> float:
        """SIGKILL to the manager, and nothing of it may be left (P8); returns when it was sent, by CLOCK_MONOTONIC.

        A child whose interpreter still starts sees that its manager is gone when it has started: on a busy machine that
        takes longer. It has no title yet.
        """
        left = self.others()
        starting = [pid for pid in left if ": workerpool: " not in _command_line(pid)]
        self.send(signal.SIGKILL)
        sent = time.monotonic()
        self.code()
        tied = [pid for pid in left if pid not in starting]
        until(lambda: all(gone(pid) for pid in tied), ORPHANS_GONE, f"nothing left of a killed manager: {tied}")
        until(lambda: all(gone(pid) for pid in starting), what=f"nothing left of those that were starting: {starting}")
        return sent

    def clear(self) -> None:
        """End everything; fails if anything was left behind by a dead manager."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        left: list[int] = []
        try:
            until(lambda: not self.others(), ORPHANS_GONE + 1.0, "every process of the daemon gone")
        except AssertionError:
            left = self.others()
            names = [_command_line(pid) for pid in left]
            sweep(MARK, self.mark)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind by the daemon: {names}\n{self.tail()}") from None
        finally:
            if self._connection is not None:
                self._connection.close()

    # -- what it logs --------------------------------------------------------------------------------------------

    def events(self, name: str = "", **fields: object) -> list[dict[str, Any]]:
        """The log's events of this name (all of them without one) that have these fields."""
        self._read_on()
        return [
            event
            for event in self._events
            if name in ("", event.get("event")) and all(event.get(key) == value for key, value in fields.items())
        ]

    def _read_on(self) -> None:
        # Only what is new: what is waited for is looked for fifty times a second, in a log that grows.
        if not self.log.exists():
            return
        with self.log.open("rb") as log:
            file, (known, length) = os.fstat(log.fileno()), self._read
            if file.st_ino != known or file.st_size < length:  # renamed, truncated, another one
                self._events, length = [], 0
            log.seek(length)
            lines, end, _ = log.read().rpartition(b"\n")
            self._read = (file.st_ino, length + len(lines) + len(end))
        for line in lines.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    self._events.append(event)

    def event(self, name: str, limit: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """Wait for such an event and return the first."""
        return until(lambda: self.events(name, **fields), limit, f"event {name} {fields}\n{self.tail()}")[0]

    def text(self) -> str:
        """The whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        """The end of the log."""
        return self.text()[-6000:]

    # -- its rows ------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> psycopg.Connection[dict[str, Any]]:
        """A connection of the test's own."""
        if self._connection is None or self._connection.closed:
            assert self.url is not None
            self._connection = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
            set_json_loads(_load, self._connection)
        return self._connection

    def sql(self, text: str, *values: object) -> list[dict[str, Any]]:
        """Run a statement; the schema need not be named."""
        cursor = self.connection.execute("SELECT set_config('search_path', 'workerpool', false)")
        cursor = self.connection.execute(text, values)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []

    def insert(self, item: str, handler: str, payload: object = None, **columns: object) -> int:
        """Insert one revision and return its id."""
        names = ["item_key", "handler", "payload", *columns]
        values = [item, handler, Jsonb({} if payload is None else payload), *columns.values()]
        places = ", ".join(["%s"] * len(values))
        text = f"INSERT INTO revisions ({', '.join(names)}) VALUES ({places}) RETURNING id"
        return int(self.sql(text, *values)[0]["id"])

    def row(self, revision: int) -> dict[str, Any]:
        """One revision."""
        return self.sql("SELECT * FROM revisions WHERE id = %s", revision)[0]

    def ended(self, revision: int, limit: float = PATIENCE) -> dict[str, Any]:
        """Wait until a revision is terminal and return its row."""

        def terminal() -> dict[str, Any] | None:
            row = self.row(revision)
            return row if row["status"] in ("completed", "failed", "cancelled") else None

        try:
            found = until(terminal, limit)
        except AssertionError:
            raise AssertionError(f"not ended within {limit} s: {self.row(revision)}\n{self.tail()}") from None
        assert found is not None
        return found

    def lines(self, revision: int) -> list[str]:
        """The execution log of one revision."""
        rows = self.sql("SELECT message FROM execution_log WHERE revision_id = %s ORDER BY id", revision)
        return [str(row["message"]) for row in rows]

    # -- what its handlers wrote ---------------------------------------------------------------------------------

    def entries(self, word: str, revision: int | None = None) -> list[list[str]]:
        """The journal's entries `word revision attempt …`, split."""
        return entries(self.journal, word, revision)

    def begun(self, revision: int, attempt: int = 1) -> int:
        """Wait until this attempt's handler has begun and return its process."""
        return begun(self.journal, revision, attempt)


def entries(journal: Path, word: str, revision: int | None = None) -> list[list[str]]:
    """The entries `word revision attempt …` of a journal, split."""
    text = journal.read_text() if journal.exists() else ""
    found = [line.split() for line in text.splitlines()]
    return [each for each in found if each[0] == word and revision in (None, int(each[1]))]


def begun(journal: Path, revision: int, attempt: int = 1) -> int:
    """Wait until this attempt's handler has begun, which is later than its claim, and return its process."""
    entry = until(
        lambda: [each for each in entries(journal, "begin", revision) if int(each[2]) == attempt],
        what=f"revision {revision} begun",
    )[0]
    return int(entry[3])


def ids(rows: Sequence[dict[str, Any]]) -> list[int]:
    """The ids of some rows."""
    return [int(row["id"]) for row in rows]


def _working_in(folder: Path) -> list[int]:
    """The processes whose working directory is a folder, or in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                    found.append(int(entry.name))
    return found


def _command_line(pid: int) -> str:
    try:
        return f"{pid}: " + Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return f"{pid}: gone"


def _load(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        return text
