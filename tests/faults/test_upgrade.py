"""Programs of different versions on one database: many migrate at once, old ones go on, and none starts on what it does
not know.
"""

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import ROOT, Databases
from tests.faults.hosts import HANDLERS, check_no_overlap
from tests.process.daemon import Daemon, until
from workerpool.store import migrate
from workerpool.store.versions import known, newest

STEP = '''"""A step of the next version."""

from workerpool.store.migrations.steps import run

revision = "{new}"
down_revision = "{old}"


def upgrade() -> None:
    run(revision, "up")


def downgrade() -> None:
    run(revision, "down")
'''
NEXT, BEFORE = f"{int(newest()) + 1:04}", known()[-2]
Migrator = subprocess.Popen[str]
At = Callable[..., "Versioned"]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A folder with the program's next version, whose schema has one step more, which only adds."""
    folder = tmp_path / "newer"
    # (a module that another process compiles just now has a name of its own, and is gone a moment later)
    shutil.copytree(ROOT / "workerpool", folder / "workerpool", ignore=shutil.ignore_patterns("*.pyc.*"))
    migrations = folder / "workerpool" / "store" / "migrations"
    (migrations / "versions" / f"v{NEXT}_later.py").write_text(STEP.format(new=NEXT, old=newest()))
    step = migrations / "steps" / NEXT
    step.mkdir()
    (step / "10_later.sql").write_text(
        "ALTER TABLE {schema}.revisions ADD COLUMN later text;\nALTER TABLE {schema}.workers ADD COLUMN later text;\n"
    )
    (step / "down.sql").write_text("ALTER TABLE {schema}.revisions DROP COLUMN later;\n")
    return folder


@pytest.fixture
def empty(server: Databases) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"workerpool_test_{uuid.uuid4().hex[:12]}"
    server.create(name)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


class Versioned(Daemon):
    """A manager of some version of the program; the journal is that of all."""

    def __init__(self, url: str, folder: Path, program: Path = ROOT, **settings: object) -> None:
        folder.mkdir()
        super().__init__(url, folder, **{"handlers": HANDLERS, **settings})
        self.program, self.journal = program, folder.parent / "journal"

    def environment(self) -> dict[str, str]:
        """The same, with the version of its own."""
        return super().environment() | {"PYTHONPATH": f"{self.program}{os.pathsep}{ROOT}"}

    def verb(self, *words: str) -> Migrator:
        """Start a verb of this version."""
        command = [sys.executable, "-m", "workerpool", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=self.environment(), cwd=self.folder, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    """Make a manager (not started) on a database."""
    made: list[Versioned] = []

    def one(url: str, program: Path = ROOT, **settings: object) -> Versioned:
        made.append(Versioned(url, tmp_path / f"host{len(made)}", program, **settings))
        return made[-1]

    yield one
    for each in made:
        each.clear()


def version(url: str) -> list[str]:
    """Return what stands in the version table."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT version_num FROM workerpool.alembic_version")]


@pytest.mark.parametrize("begin", ["nothing", "the version before"])
def test_many_that_migrate_at_once(empty: str, at: At, begin: str) -> None:
    """Eight that migrate at the same moment, an empty database or one of the version before: each says that the schema
    is at this version, the steps were applied once.
    """
    if begin != "nothing":
        migrate.upgrade(empty)
        migrate.downgrade(empty, BEFORE)
    host = at(empty)
    migrators = [host.verb("migrate") for _ in range(8)]
    said = [each.communicate(timeout=120)[0] for each in migrators]
    assert [each.returncode for each in migrators] == [0] * 8, said
    assert all(f"at version {newest()}" in each for each in said), said
    assert version(empty) == [newest()]


def test_managers_that_start_at_once_on_an_empty_database(empty: str, at: At) -> None:
    """Four managers started at the same moment on an empty database: all are ready, and work."""
    hosts = [at(empty, workers=1) for _ in range(4)]
    for each in hosts:
        each.spawn()
    for each in hosts:
        each.event("manager.ready", 90)
    revision = hosts[0].insert("page", "alive", {"seconds": 0})
    assert hosts[0].ended(revision)["status"] == "completed"
    assert version(empty) == [newest()]
    assert [each.stop() for each in hosts] == [0] * 4


def test_a_migration_that_is_killed_leaves_nothing(empty: str, at: At) -> None:
    """kill -9 in the middle of a migration: the schema is at the version before, whole, and the next one succeeds."""
    migrate.upgrade(empty)
    migrate.downgrade(empty, BEFORE)
    host = at(empty)
    with psycopg.connect(empty) as other, psycopg.connect(empty, autocommit=True) as watch:
        other.execute("LOCK TABLE workerpool.workers IN ACCESS SHARE MODE")
        migrator = host.verb("migrate")
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE '%:migrate'"
        until(lambda: watch.execute(waits).fetchone(), what="the migration waits for the table")
        migrator.kill()
        migrator.communicate()
    assert version(empty) == [BEFORE]
    again = host.verb("migrate")
    assert f"at version {newest()} (was {BEFORE})" in again.communicate(timeout=60)[0]
    assert version(empty) == [newest()]


def test_an_old_program_does_not_start_on_a_newer_schema(database: str, at: At) -> None:
    """A schema of a version that the program does not know: `start` and the verbs end with 78 and a sentence that names
    both versions, and nothing is changed.
    """
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE workerpool.alembic_version SET version_num = '9999'")
    host = at(database)
    host.spawn()
    assert host.code() == 78
    told = f"is at version 9999, newer than this program knows ({newest()}): install that version"
    assert told in host.event("schema.refused")["why"]
    for words in (("status",), ("enqueue", "page"), ("migrate",)):
        verb = host.verb(*words)
        said = verb.communicate(timeout=60)[0]
        assert (verb.returncode, told in said, "Traceback" in said) == (78, True, False), said
    assert version(database) == ["9999"]


def test_a_rolling_upgrade(database: str, at: At, newer: Path) -> None:
    """Under load the next version starts on a second host and migrates the schema by a step that only adds: the workers
    of this version go on, also one that has to be started anew; its manager, once ended, is refused, and started with
    the next version it is in the pool again. Nothing is lost or doubled, and the order holds.
    """
    old, new = at(database), at(database, newer)
    old.start()
    old.sql(
        "INSERT INTO revisions (item_key, handler, payload) SELECT 'item' || n %% 8, 'alive', "
        "jsonb_build_object('seconds', 0.3 * random()) FROM generate_series(1, 320) n"
    )
    until(lambda: len(old.entries("end")) >= 8, what="under way")
    new.start()
    assert version(database) == [NEXT]
    worker = old.child("W1")
    os.kill(worker, signal.SIGKILL)
    again = old.pid_of_child("W1", worker)
    done = len(old.entries("end"))
    until(lambda: len(old.entries("end")) >= done + 16, what="both go on")
    until(
        lambda: [each for each in old.entries("end") if int(each[3]) == again], what="the new process of the old works"
    )
    assert not old.events("duty.failed")
    assert old.stop() == 0
    old.spawn()
    assert old.code() == 78
    assert f"is at version {NEXT}, newer than this program knows ({newest()})" in old.event("schema.refused")["why"]
    old.program = newer
    old.start()
    busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'processing') LIMIT 1"
    until(lambda: not new.sql(busy), 60, "all over")
    rows = new.sql("SELECT status, attempt FROM revisions")
    assert {row["status"] for row in rows} == {"completed"}
    assert sum(row["attempt"] for row in rows) <= len(rows) + 1, "the killed worker's alone ran again"
    check_no_overlap(new)
    assert (old.stop(), new.stop()) == (0, 0)
