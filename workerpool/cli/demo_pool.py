"""The pool of the demo: a home of its own, and `workerpool start` as a child.

Owns: the demo's folder, and the daemon's life. Invariant: nothing of the user's settings or database is used, nothing
but a demo's own folder is ever removed, and the daemon does not outlive the demo, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workerpool.cli.errors import EXIT_FAILED, EXIT_REFUSED, EXIT_TIMED_OUT, Refused
from workerpool.cli.home import Home
from workerpool.link import tied
from workerpool.store import embedded
from workerpool.store.session import Session
from workerpool.store.versions import newest

MARK = ".workerpool-demo"
START_LIMIT, STOP_LIMIT = 60.0, 40.0
STEP = 0.1
#: The user's own settings have no part in the demo.
FOREIGN = ("WORKERPOOL_", "EDIT_AGENT_", "WORKER_POLL_INTERVAL", "NOTIFY_SOCKET")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo lives."""

    folder: Path

    @property
    def home(self) -> Path:
        """The home of its pool."""
        return self.folder / "home"

    @property
    def pages(self) -> Path:
        """Where the finished pages go."""
        return self.folder / "pages"

    @property
    def log(self) -> Path:
        """What its daemon says."""
        return self.folder / "daemon.log"


def choose(folder: Path | None, *, keep: bool) -> Place:
    """Return an empty place for a demo: *folder*, else ./workerpool-demo, else a temporary one where that cannot be
    written.

    A demo that was there before is removed, or with *keep* left alone: the next free number is taken. Raises Refused.
    """
    wanted = Path("workerpool-demo") if folder is None else folder
    if folder is None and not os.access(Path.cwd(), os.W_OK):
        wanted = Path(tempfile.mkdtemp(prefix="workerpool-demo-"))
    wanted = wanted.absolute()
    if keep:
        wanted = next(path for path in _numbered(wanted) if not path.exists() or not any(path.iterdir()))
    place = Place(wanted)
    _clear(place)
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        (wanted / MARK).touch()
    except OSError as error:
        raise Refused(
            f"{wanted} cannot be made: {error.strerror}", EXIT_REFUSED, "name another folder with --home"
        ) from error
    return place


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1


def _clear(place: Place) -> None:
    """Remove the demo that was here. Raises Refused where something else is here, or where it is still in use."""
    folder = place.folder
    if not folder.exists():
        return
    if not folder.is_dir():
        raise Refused(f"{folder} is not a folder", EXIT_REFUSED, "name another one with --home")
    if not any(folder.iterdir()):
        return
    if not (folder / MARK).exists():
        raise Refused(f"{folder} holds something else than a demo", EXIT_REFUSED, "name an empty folder with --home")
    pid = Home(place.home).manager()
    if pid is not None:
        raise Refused(
            f"a demo is running in {folder}, with pid {pid}",
            EXIT_REFUSED,
            f"`workerpool stop --home {place.home}` ends it",
        )
    if _served(place):
        raise Refused(
            f"somebody uses the database in {place.home}", EXIT_REFUSED, "close that first, or run with --keep"
        )
    try:
        for each in (place.home, place.pages):
            if each.exists():
                shutil.rmtree(each)
        place.log.unlink(missing_ok=True)
    except OSError as error:
        raise Refused(
            f"{error.filename} cannot be removed: {error.strerror}", EXIT_REFUSED, "name another folder with --home"
        ) from error


def _served(place: Place) -> bool:
    """Tell whether a server runs on the demo's data: its processes hold the lock.

    It may be about to end: waits a moment.
    """
    deadline = time.monotonic() + 5
    try:
        descriptor = os.open(place.home / "postgres" / "server.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(STEP)
            else:
                return False
        return True
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running `workerpool start`."""

    process: subprocess.Popen[bytes]
    place: Place

    def alive(self) -> None:
        """Raise Refused with its last words where it has ended."""
        code = self.process.poll()
        if code is not None:
            raise Refused(f"the daemon ended with code {code}", EXIT_FAILED, self.last_words())

    def ended(self) -> None:
        """Raise Refused with its last words if it ends within a moment: its database has gone."""
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            return
        self.alive()

    def last_words(self) -> str:
        """Return the end of what went wrong, from its log."""
        lines = self.place.log.read_text(errors="replace").splitlines()
        told = [words for line in lines if (words := _complaint(line))][-4:]
        return "\n  ".join([*told, f"its whole log: {self.place.log}"])


def _complaint(line: str) -> str:
    """Return what a line of the daemon's log complains of, else nothing."""
    try:
        event = json.loads(line)
    except ValueError:
        return line if "FATAL" in line or "PANIC" in line else ""
    if event.get("event") == "child.printed":
        return f"{event.get('child')}: {event.get('line')}"
    if event.get("level") not in ("warning", "error", "critical"):
        return ""
    return " ".join(str(event[key]) for key in ("event", "child", "why", "error", "hint") if event.get(key))


@contextmanager
def running(place: Place, workers: int, handlers: Path | None) -> Iterator[Daemon]:
    """Run a daemon in *place* with a module of handlers, or none, until the end of the block.

    Raises Refused where it does not stop.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    words = ["start", "--home", str(place.home), "--workers", str(workers)]
    words += ["--handlers", str(handlers)] if handlers is not None else []
    words += ["--http", "off", "--log-format", "json"]
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            tied.command("workerpool", *words),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the daemon
        )
    daemon = Daemon(process, place)
    try:
        yield daemon
    finally:
        stop(daemon)


def stop(daemon: Daemon) -> None:
    """Ask the daemon to end, and wait for it; insists where it takes too long."""
    process = daemon.process
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Refused("the daemon did not stop and was killed", EXIT_FAILED, daemon.last_words()) from None


def connect(daemon: Daemon) -> Session:
    """Return a session on the daemon's database, once that is there and migrated. Raises Refused where it never is."""
    server = embedded.Server(daemon.place.home)
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        daemon.alive()
        if (session := _try(server)) is not None:
            return session
        time.sleep(STEP)
    raise Refused(f"the database was not ready within {START_LIMIT:.0f} s", EXIT_TIMED_OUT, daemon.last_words())


def _try(server: embedded.Server) -> Session | None:
    from workerpool.store import failures

    try:
        session = Session(server.url(), server.schema, "demo")
    except Exception as error:
        if failures.describe(error) is None:
            raise
        return None
    if session.version() == newest():
        return session
    session.close()
    return None
