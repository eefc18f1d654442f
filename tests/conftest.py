"""What tests share: one PostgreSQL per run and one fresh, migrated database per test.

The server is the wheel's, on a socket in a temporary folder, and dies with pytest however that ends. Two variables
choose another one: WORKERPOOL_TEST_DATABASE_URL (the URI of a running server whose user may create databases) and
WORKERPOOL_TEST_PG_BIN (a folder with other PostgreSQL programs, such as /usr/lib/postgresql/15/bin).
"""

import faulthandler
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.recoveries import pytest_terminal_summary, recoveries
from workerpool.store.embedded import Server, ready

__all__ = ["pytest_terminal_summary", "recoveries"]

START_LIMIT = timedelta(seconds=60)
STOP_LIMIT = timedelta(seconds=30)
# A test server is thrown away: only a power cut could tell the difference. And statements must find their schema
# themselves, as they have to on an operator's server.
QUICK = (
    ("search_path", "public"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "200"),
    ("log_min_messages", "error"),
)
ROOT = Path(__file__).parent.parent

# A shell that starts the tests in the background ignores Ctrl-C and Ctrl-\ for them, nohup the hang-up, and what is
# ignored here would be ignored by every child; a handler is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
# Child processes find the package as this one does, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(autouse=True)
def _for_long(request: pytest.FixtureRequest) -> None:
    """Any test is ended after ten minutes, but for those that are made to take long."""
    if request.node.get_closest_marker("long") is not None:
        faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True, slots=True)
class Databases:
    """A PostgreSQL for tests: `admin` may create databases, which then belong to the user of `plain`."""

    admin: str
    plain: str

    def url(self, database: str) -> str:
        """Return the URL of a database for the user who owns it."""
        return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{database}", self.plain)

    def create(self, database: str, template: str = "template0") -> None:
        """Create a database as a copy of another."""
        role = conninfo_to_dict(self.plain).get("user")
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(template))
        if role is not None:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(str(role)))
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(statement)

    def drop(self, database: str) -> None:
        """Drop a database under whoever is still connected."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.fixture(scope="session")
def server() -> Iterator[Databases]:
    """A PostgreSQL for the whole run."""
    given = os.environ.get("WORKERPOOL_TEST_DATABASE_URL")
    if given:
        yield Databases(given, given)
        return
    programs = os.environ.get("WORKERPOOL_TEST_PG_BIN")
    home = Path(tempfile.mkdtemp(prefix="workerpool-test-"))
    facts = Server(home, folder=Path(programs) if programs else None, settings=QUICK)
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(facts.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        admin = facts.url("postgres", "postgres")
        try:
            ready(admin, START_LIMIT)
        except Exception as error:
            error.add_note((home / "log").read_text())
            raise
        yield Databases(admin, facts.url())
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_LIMIT.total_seconds())
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(STOP_LIMIT.total_seconds())
        shutil.rmtree(home, ignore_errors=True)
        if facts.socket_dir.parent != facts.root:
            shutil.rmtree(facts.socket_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: Databases) -> Iterator[str]:
    """The name of a migrated database to copy from; nobody connects to it."""
    from workerpool.store.migrate import upgrade

    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name)
    try:
        upgrade(server.url(name))
        yield name
    finally:
        server.drop(name)


@pytest.fixture
def database(server: Databases, template: str) -> Iterator[str]:
    """The URL of a fresh, migrated database of this test's own."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name, template)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """An autocommit connection to `database`."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
