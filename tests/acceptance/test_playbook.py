"""The upgrade of docs/operations.md, step by step, with a schema migration in the middle."""

import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.calling import HANDLERS, LIMIT, ROOT, environment, until, workerpool

STEP = '''"""A step of a later version."""

from workerpool.store.migrations.steps import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run(revision, "up")


def downgrade() -> None:
    run(revision, "down")
'''


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A folder with the program's next version, whose schema has one step more."""
    folder = tmp_path / "newer"
    # (a module that another process compiles just now has a name of its own, and is gone a moment later)
    shutil.copytree(ROOT / "workerpool", folder / "workerpool", ignore=shutil.ignore_patterns("*.pyc.*"))
    migrations = folder / "workerpool" / "store" / "migrations"
    (migrations / "versions" / "v0003_later.py").write_text(STEP)
    (migrations / "steps" / "0003").mkdir()
    (migrations / "steps" / "0003" / "10_later.sql").write_text("ALTER TABLE {schema}.items ADD COLUMN later text;\n")
    (migrations / "steps" / "0003" / "down.sql").write_text("ALTER TABLE {schema}.items DROP COLUMN later;\n")
    return folder


class Host:
    """A host with a program of some version and a pool."""

    def __init__(self, database: str, folder: Path) -> None:
        self.folder = folder
        self.settings = environment(WORKERPOOL_DATABASE_URL=database, WORKERPOOL_HOME=str(folder / "home"))
        (folder / "cli_handlers.py").write_text(HANDLERS)
        self.pool: subprocess.Popen[bytes] | None = None

    def install(self, version: Path) -> None:
        """Use the program in a folder from now on."""
        self.settings["PYTHONPATH"] = str(version)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a verb."""
        done = subprocess.run(
            workerpool(*words), env=self.settings, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self) -> None:
        """Start the pool and wait until it is ready."""
        self.stop()
        log = self.folder / "log"
        with log.open("wb") as output:
            words = workerpool("start", "--handlers", "cli_handlers", "--workers", "2", "--http", "off")
            self.pool = subprocess.Popen(words, env=self.settings, cwd=self.folder, stdout=output, stderr=output)
        pool = self.pool
        until(lambda: b"manager.ready" in log.read_bytes() or pool.poll() is not None)
        assert pool.poll() is None, log.read_text()

    def stop(self) -> None:
        """Stop the pool, as `workerpool stop` does."""
        if self.pool is not None:
            self.pool.send_signal(signal.SIGTERM)
            self.pool.wait(LIMIT)


def test_an_upgrade_step_by_step(database: str, connection: psycopg.Connection, tmp_path: Path, newer: Path) -> None:
    """Pause and wait, back up, stop, install, migrate, start, resume: what was queued meanwhile runs then, in order."""
    host = Host(database, tmp_path)
    try:
        host.start()
        connection.execute(
            "INSERT INTO workerpool.revisions (item_key, handler, payload) "
            "SELECT 'page' || n % 3, 'good', jsonb_build_object('n', n) FROM generate_series(1, 20) n"
        )
        assert "; safe" in host.run("pause", "--reason", "upgrade to the next version", "--wait", "--timeout", "30s")
        host.run("enqueue", "page0", "--handler", "good")
        assert "backup written to before.dump" in host.run("backup", "before.dump")
        assert "still paused: everything (drain) by" in host.run("safely", "true"), "the operator's own stays"
        host.run("stop")
        host.install(newer)
        assert "run `workerpool migrate`" in host.run("status", code=78)
        assert "at version 0003 (was 0002)" in host.run("migrate")
        host.start()
        waiting = "SELECT count(*) FROM workerpool.revisions WHERE status = 'pending'"
        left = connection.execute(waiting).fetchone()
        assert left is not None
        assert left[0] >= 1, "the new version keeps the pause"
        assert "upgrade to the next version" in host.run("explain", "21")
        seen = "SELECT count(*) FROM workerpool.workers WHERE is_active AND pause_version > 0"
        until(lambda: connection.execute(seen).fetchone() == (2,))
        assert connection.execute(waiting).fetchone() == left
        assert "the pool goes on" in host.run("resume", "--reason", "upgraded")
        until(lambda: connection.execute(waiting).fetchone() == (0,))
        host.stop()

        # Back: the schema a version down, the old program; or the backup, into an empty schema.
        host.run("migrate", "--down-to", "0002", "--yes")
        host.install(ROOT)
        assert "21" in host.run("status")
        host.run("migrate", "--down-to", "base", "--yes")
        assert "restored from before.dump: 21 revisions" in host.run("restore", "before.dump")
        host.install(newer)
        host.run("migrate")
        host.run("migrate", "--down-to", "base", "--yes")
        assert "schema version 0003, migrated from 0002" in host.run("restore", "before.dump")
        host.run("backup", "after.dump")
        host.run("migrate", "--down-to", "base", "--yes")
        host.install(ROOT)
        assert "at version 0003, newer than this program knows (0002)" in host.run("restore", "after.dump", code=78)
    finally:
        host.stop()


def test_the_upgrade_as_one_command(database: str, tmp_path: Path, newer: Path) -> None:
    """`safely` around a command that stops, migrates and starts: its pause is taken away by the old program."""
    host = Host(database, tmp_path)
    try:
        host.start()
        script = (
            f"set -e; {' '.join(workerpool('stop'))}; export PYTHONPATH={newer}; {' '.join(workerpool('migrate'))}; "
            f"{' '.join(workerpool('status'))} | grep 'safely runs sh'"
        )
        said = host.run("safely", "sh", "-c", script)
        assert "(was 0002)" in said
        host.install(newer)
        assert "no" in host.run("resume", code=4)
        host.start()
        assert "completed" in host.run("enqueue", "page", "--handler", "good", "--wait")
    finally:
        host.stop()


def test_a_command_may_replace_the_program_itself(
    database: str, connection: psycopg.Connection, tmp_path: Path, newer: Path
) -> None:
    """All that the way out needs is in memory before the command runs, as if the program were gone from the disk."""
    host = Host(database, tmp_path)
    host.install(newer)
    shutil.rmtree(newer / "workerpool" / "store" / "migrations" / "steps" / "0003")
    assert host.run("safely", "rm", "-r", str(newer / "workerpool")) == ""
    assert connection.execute("SELECT paused, version FROM workerpool.pause_state").fetchone() == (False, 2)


def test_a_command_may_stop_the_pool_that_brings_its_database(tmp_path: Path) -> None:
    """The embedded server ends with its pool; to take the pause away it is started again."""
    host = Host("", tmp_path)
    try:
        host.run("enqueue", "page", "--handler", "good")
        host.start()
        inside = f"{' '.join(workerpool('stop'))} && cp -a {tmp_path}/home {tmp_path}/copy"
        assert "stopped pid" in host.run("safely", "sh", "-c", inside)
        host.run("resume", code=4)
        host.settings["WORKERPOOL_HOME"] = str(tmp_path / "copy")
        assert "gone without having taken the pause away" in host.run("status"), "the copy was made during the pause"
        assert "the pool goes on" in host.run("resume", "--all")
    finally:
        host.stop()
