"""``workerpool backup`` and ``workerpool restore``: the queue as a file, and back.

Owns: when a file takes its name, and what is refused. Does not own: the pause around a backup (``window``), the dump
(``store.dumping``). Invariant: a file with the name that was asked for is a whole backup that was read back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from workerpool.cli.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_REFUSED, Refused
from workerpool.cli.options import session, with_settings
from workerpool.cli.safely import with_window
from workerpool.cli.schema import database_url
from workerpool.config import Settings
from workerpool.core.wording import counted, safe, size

if TYPE_CHECKING:
    from workerpool.store.dumping import Tools
    from workerpool.store.session import Session

#: A backup holds payloads and results: it is its owner's.
OWNERS_ONLY = 0o600


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_window
@click.option("--force", is_flag=True, help="Take the place of a file that is there.")
@with_settings
def backup(
    settings: Settings,
    file: Path,
    mode: Literal["drain", "quiesce"],
    reason: str,
    timeout: timedelta | None,
    force: bool,
) -> None:
    """Write everything of the queue to FILE, while nothing runs, and read it back.

    The pool is paused for the length of it. FILE appears when it is whole, in pg_dump's custom format.
    """
    from workerpool.cli import window as around

    _may_write(file, force)
    with session(settings, "backup") as opened:
        tools = _tools(settings, opened)
    try:
        with (
            _beside(file) as fresh,
            around.opened_window(
                settings, "backup", mode, reason.strip() or "a backup", around.TIMEOUT if timeout is None else timeout
            ) as window,
        ):
            revisions, version = _dump(settings, tools, fresh)
            _publish(fresh, file, force)
    except around.Stopped as stopped:
        sys.exit(128 + stopped.number)
    told = f"{counted(revisions, 'revision')}, {size(file.stat().st_size)}, schema version {version}"
    click.echo(f"backup written to {file}: {told}; `workerpool restore` puts it into an empty database")
    sys.exit(around.exit_code(window, 0))


def _may_write(file: Path, force: bool) -> None:
    if file.exists() and not force:
        raise Refused(f"{file} is there already", EXIT_REFUSED, "--force takes its place")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise Refused(f"nothing can be written to {file.parent}", EXIT_CONFIG)


def _tools(settings: Settings, opened: Session, at_least: int = 0) -> Tools:
    from workerpool.store import dumping

    try:
        return dumping.tools(max(opened.server_major(), at_least), brought=settings.database_url is None)
    except dumping.CannotDump as error:
        raise Refused(str(error), EXIT_CONFIG) from None


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """Yield a new file in the same folder, which is gone at the end unless it got its name."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.partial")
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNERS_ONLY))
    try:
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _dump(settings: Settings, tools: Tools, fresh: Path) -> tuple[int, str]:
    """Write and check the dump; returns how many revisions were there, and the schema's version in it."""
    from workerpool.store import dumping

    with session(settings, "backup") as opened:
        opened.patience(0)
        about = _occupied(settings, opened)
        try:
            dumping.dump(tools, database_url(settings), settings.db_schema, fresh)
            return about["revisions"], dumping.check(tools, settings.db_schema, fresh)
        except (dumping.CannotDump, dumping.NotABackup) as error:
            raise Refused(f"no backup was made: {safe(str(error))}", EXIT_FAILED) from None


def _occupied(settings: Settings, opened: Session) -> dict[str, Any]:
    row = opened.row("occupied", silence=settings.lease)
    assert row is not None, "occupied answers one row"
    return row


def _publish(fresh: Path, file: Path, force: bool) -> None:
    """Give the file its name, once its bytes are on the disk."""
    _sync(fresh)
    if force:
        fresh.replace(file)
    else:
        try:
            os.link(fresh, file)  # unlike a rename it takes nobody's place
        except FileExistsError:
            raise Refused(f"{file} has come into being meanwhile", EXIT_REFUSED, "--force takes its place") from None
    _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@with_settings
def restore(settings: Settings, file: Path) -> None:
    """Put a backup into an empty database; what ran when it was made is pending again.

    All or nothing. A backup of an older version is migrated; one of a newer version is refused (78).
    """
    from workerpool.store import dumping, migrate
    from workerpool.store.versions import SchemaTooNew, newest

    with session(settings, "restore", migrated=False) as opened:
        opened.patience(0)
        there = opened.version()
        if there is not None and there > newest():
            raise SchemaTooNew(settings.db_schema, there, newest())
        _must_be_empty(settings, opened, there)
        try:
            tools = _tools(settings, opened, dumping.dumped_by(file))
            version = dumping.check(tools, settings.db_schema, file)
        except dumping.NotABackup as error:
            raise Refused(safe(str(error)), EXIT_REFUSED, "nothing was changed") from None
        if version > newest():
            raise SchemaTooNew(settings.db_schema, version, newest())
        url, server = database_url(settings), opened.server_major()
        try:
            dumping.restore(tools, url, settings.db_schema, file, there=there, server=server)
        except dumping.CannotDump as error:
            raise Refused(safe(str(error)), EXIT_FAILED) from None
        if version < newest():
            migrate.upgrade(url, settings.db_schema)
        pool = opened.row("pool", silence=settings.lease)
    assert pool is not None, "pool answers one row"
    _tell(file, version, pool["counts"])


def _must_be_empty(settings: Settings, opened: Session, there: str | None) -> None:
    if there is None:
        return
    about = _occupied(settings, opened)
    if about["workers"]:
        raise Refused(
            f"{counted(about['workers'], 'worker')} work on this database", EXIT_REFUSED, "stop every pool on it first"
        )
    full = [counted(about[name], name[:-1]) for name in ("revisions", "items", "schedules") if about[name]]
    if full:
        raise Refused(
            f"schema {settings.db_schema} is not empty: it has {', '.join(full)}",
            EXIT_REFUSED,
            "a backup is restored into an empty one: another database, another --home, or after "
            "`workerpool migrate --down-to base --yes`, which deletes everything",
        )


def _tell(file: Path, version: str, counts: dict[str, int]) -> None:
    whole = counted(sum(counts.values()), "revision")
    parts = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    from workerpool.store.versions import newest

    moved = "" if version == newest() else f", migrated from {version}"
    click.echo(f"restored from {file}: {whole}{f' ({parts})' if parts else ''}; schema version {newest()}{moved}")
