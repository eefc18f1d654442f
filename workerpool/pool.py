"""A pool inside of a program: `workerpool start` as its child, for as long as the program wants it.

Owns: the daemon's environment, its start, its end, and what it said where it failed. Does not own: what the daemon
does. Invariant: the daemon never outlives its program, however that ends; it is tied to the process, not to the thread
that started it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from workerpool import config
from workerpool.config.settings import VARIABLES
from workerpool.core.durations import format_duration

#: Becomes the daemon; when the program is gone it is told to stop, as by a TERM of its own.
BECOME = """
import os, signal, sys
from workerpool.link import tether
parent = int(sys.argv.pop(1))
if os.getppid() != parent:
    os._exit(0)
tether.outlive(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
from workerpool.cli import main
main()
"""
#: After a stop that took too long: seconds that a quick one may take, before the daemon is killed.
QUICK = 10.0
STEP = 0.1
LAST_WORDS = 5
#: Names of another system for the same settings, and what a supervisor of this program told it.
FOREIGN = ("EDIT_AGENT_", "WORKER_POLL_INTERVAL", "WATCHDOG_", "NOTIFY_SOCKET")
NAMES = {variable.removeprefix("WORKERPOOL_").lower(): variable for variable in VARIABLES.values()}


class PoolFailed(Exception):
    """The daemon ended, or was not ready in time; `code` is its exit code, None where it had to be stopped."""

    def __init__(self, what: str, code: int | None, last_words: str) -> None:
        self.code, self.last_words = code, last_words
        super().__init__(f"{what}: {last_words}" if last_words else what)


@dataclass(frozen=True, slots=True)
class PoolWorker:
    """A worker process of a pool, as the database knows it."""

    id: str
    slot: str
    generation: int
    pid: int
    state: str
    handlers: tuple[str, ...]
    current_revision_id: int | None
    current_item: str | None
    processed_count: int
    started_at: datetime


class Pool:
    """Worker processes for a program; use it as a context manager, or `start` and `stop` it."""

    def __init__(
        self,
        database_url: str | None = None,
        workers: int = 2,
        handlers: Iterable[str | os.PathLike[str]] = (),
        home: str | os.PathLike[str] | None = None,
        **settings: object,
    ) -> None:
        """Make a pool, not yet started.

        *handlers*: modules, or paths of .py files. *settings*: any other setting by its name, such as lease='10s'.
        What is given here wins over the environment; the API is off unless `http` is given. Two pools on a host need
        two homes. Raises TypeError for a name that is no setting.
        """
        unknown = sorted(settings.keys() - NAMES.keys())
        if unknown:
            raise TypeError(f"Pool: no such setting: {', '.join(unknown)}")
        given = {"http": "off", **settings, "workers": workers, "handlers": tuple(handlers) or None}
        given |= {"database_url": database_url, "home": home}
        self._given = {NAMES[name]: _written(value) for name, value in given.items() if value is not None}
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._log_from = 0

    def __enter__(self) -> Pool:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Tell whether the daemon runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The daemon's process id, None before its start."""
        return self._process.pid if self._process is not None else None

    @property
    def log(self) -> Path:
        """The file that the daemon's output is appended to: ``pool.log`` in the home."""
        home = self._environment().get(NAMES["home"]) or config.Settings.model_fields["home"].default
        return Path(home) / "pool.log"

    def start(self, timeout: timedelta | float = 90.0) -> None:
        """Start the daemon and wait until its first worker has looked for work; at most *timeout* (seconds).

        A pool that runs is left alone. Raises PoolFailed: it has ended, or was not ready and has been stopped.
        """
        if self.is_running:
            return
        self._owner = os.getpid()
        # (a name, not a path: one in a deep temporary folder is longer than a socket's may be)
        name = f"workerpool-{uuid4().hex}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(f"\0{name}")
            ear.settimeout(STEP)
            self._process = self._spawn(f"@{name}")
            try:
                self._await_ready(ear, time.monotonic() + _seconds(timeout))
            except BaseException:
                self.stop(0)
                raise

    def stop(self, timeout: timedelta | float | None = None) -> int | None:
        """Stop the daemon gracefully and return its exit code, None where it was not started.

        Running revisions may finish within `shutdown_grace`. After *timeout* (seconds; None: the daemon takes the time
        that its own limits allow) they are given back at once. In a fork of the program it does nothing.
        """
        process = self._process
        if process is None or os.getpid() != self._owner:
            return None
        for number, patience in (
            (signal.SIGTERM, None if timeout is None else _seconds(timeout)),
            (signal.SIGQUIT, QUICK),
            (signal.SIGKILL, None),
        ):
            if process.poll() is None:
                process.send_signal(number)
            try:
                return process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return process.returncode

    def workers(self) -> list[PoolWorker]:
        """Return the living workers of this pool, as their rows say. Raises psycopg.Error."""
        from workerpool.store import embedded
        from workerpool.store.session import Session

        if self._process is None:
            return []
        settings = config.load(environ=self._environment())
        url = settings.database_url and settings.database_url.get_secret_value()
        with Session(url or embedded.Server(settings.home).url(), settings.db_schema, "pool") as session:
            rows = session.rows("worker_list", silence=f"{3 * settings.lease.total_seconds()} seconds", gone=False)
        mine = f"{socket.gethostname()}/{self._process.pid}-"
        return [_worker(row) for row in rows if row["id"].startswith(mine)]

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        if NAMES["database_url"] in self._given:
            inherited.pop(NAMES["database_url"] + "_FILE", None)
        return inherited | self._given

    def _spawn(self, notify: str) -> subprocess.Popen[bytes]:
        try:
            self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PoolFailed(f"{error.filename} cannot be written", None, str(error.strerror)) from error
        try:
            self._log_from = os.fstat(log).st_size
            return subprocess.Popen(
                [sys.executable, "-c", BECOME, str(os.getpid()), "start"],
                env=self._environment() | {"NOTIFY_SOCKET": notify},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the program, which then stops its pool
            )
        finally:
            os.close(log)

    def _await_ready(self, ear: socket.socket, deadline: float) -> None:
        assert self._process is not None
        while True:
            try:
                if b"READY=1" in ear.recv(4096).split(b"\n"):
                    return
            except TimeoutError:
                pass
            code = self._process.poll()
            if code is not None:
                raise PoolFailed(f"the pool ended with code {code}", code, self._last_words())
            if time.monotonic() > deadline:
                raise PoolFailed("the pool was not ready in time", None, self._last_words())

    def _last_words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            lines = log.read().decode(errors="replace").splitlines()
        told = [words for line in lines if (words := _complaint(line))][-LAST_WORDS:]
        return "\n  ".join([*told, f"its whole log: {self.log}"])


def _written(value: object) -> str:
    """Return *value* as the environment wants it."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, (tuple, list)):
        return ",".join(os.fspath(each) for each in value)
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _complaint(line: str) -> str:
    """Return what a line of the daemon's output complains of, else nothing."""
    try:
        event = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(event, dict) or event.get("level") not in ("warning", "error", "critical"):
        return ""
    return " ".join(str(event[key]) for key in ("event", "child", "why", "error", "hint") if event.get(key))


def _worker(row: Mapping[str, Any]) -> PoolWorker:
    told = {name: row[name] for name in PoolWorker.__dataclass_fields__}
    return PoolWorker(**told | {"handlers": tuple(row["handlers"])})
