"""``workerpool migrate``, ``workerpool psql`` and ``workerpool prune``: the database itself.

Owns: what is asked before something is deleted. Does not own: the steps (``store.migrate``). Invariant: nothing is
deleted without
``--yes``; no password is ever in an argument list.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from workerpool.cli.errors import EXIT_REFUSED, Refused
from workerpool.cli.options import Duration, session, with_json, with_settings
from workerpool.cli.tables import write_json, write_table
from workerpool.config import Settings
from workerpool.core.durations import format_duration
from workerpool.core.wording import counted

if TYPE_CHECKING:
    from workerpool.store.session import Session

#: How many revisions one statement of prune looks at.
STRIDE = 1000


@click.command()
@click.option("--sql", "only_sql", is_flag=True, help="Print the statements for a database administrator; run nothing.")
@click.option(
    "--down-to", metavar="VERSION", help="Take the schema back to a version; `base`: remove all of it, data included."
)
@click.option("--yes", is_flag=True, help="Really remove the data.")
@click.option(
    "--roles",
    "with_roles",
    is_flag=True,
    help="Make the roles SCHEMA_owner, SCHEMA_runtime and SCHEMA_readonly too; with --sql print only their statements.",
)
@with_settings
def migrate(settings: Settings, only_sql: bool, down_to: str | None, yes: bool, with_roles: bool) -> None:
    """Bring the schema of the database to this program's version; `start` does that too."""
    from workerpool.store import migrate as steps
    from workerpool.store import roles

    if only_sql and down_to:
        raise click.UsageError("--sql prints the way up; it does not go with --down-to.")
    if with_roles and down_to:
        raise click.UsageError("--roles goes with the way up, not with --down-to.")
    if only_sql:
        click.echo((roles if with_roles else steps).script(settings.db_schema))
        return
    with session(settings, "migrate", migrated=False, migrating=False) as opened:
        before = opened.version()
        if down_to is None:
            steps.upgrade(database_url(settings), settings.db_schema)
        else:
            _may_go_down(settings, opened, before, down_to, yes)
            steps.downgrade(database_url(settings), down_to, settings.db_schema)
        after = opened.version()
        if with_roles:
            _make_roles(settings)
    was = "as it was" if after == before else f"was {before or 'not there'}"
    click.echo(f"schema {settings.db_schema} is {f'at version {after}' if after else 'empty'} ({was})")


def _make_roles(settings: Settings) -> None:
    from workerpool.store import roles

    for remark in roles.make(database_url(settings), settings.db_schema):
        click.echo(remark, err=True)
    names = roles.roles_of(settings.db_schema)
    click.echo(f"roles {names.owner} (migrates), {names.runtime} (works) and {names.readonly} (looks) are there")


def database_url(settings: Settings) -> str:
    """Return the address of the database; the embedded one's while a session is open on it."""
    from workerpool.store import embedded

    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return embedded.Server(settings.home, settings.db_schema).url()


def _may_go_down(settings: Settings, opened: Session, before: str | None, version: str, yes: bool) -> None:
    from workerpool.store.versions import known

    allowed = ("base", *known())
    if version not in allowed:
        raise click.UsageError(f"--down-to {version}: there is no such version; allowed: {', '.join(allowed)}.")
    if before is None:
        raise Refused(f"schema {settings.db_schema} is empty already", EXIT_REFUSED)
    alive = opened.row("pool", silence=settings.lease)
    if alive is not None and alive["workers_alive"]:
        raise Refused(
            f"{alive['workers_alive']} workers use the schema", EXIT_REFUSED, "stop every pool on this database first"
        )
    if not yes:
        count = sum((alive or {"counts": {}})["counts"].values())
        raise Refused(
            f"schema {settings.db_schema} would go from version {before} to {version}, with {count} revisions in it",
            EXIT_REFUSED,
            "--yes does it; `workerpool backup FILE` keeps a copy",
        )


@click.command()
@click.option("--older-than", type=Duration(), help="Finished longer ago than this (WORKERPOOL_RETENTION).")
@click.option("--yes", is_flag=True, help="Delete; without it only say what would be deleted.")
@with_json
@with_settings
def prune(settings: Settings, as_json: bool, older_than: timedelta | None, yes: bool) -> None:
    """Delete old finished revisions and their logs; an item's current one is never deleted.

    Failed revisions stay three times as long.
    """
    age = settings.retention if older_than is None else older_than
    with session(settings, "prune") as opened:
        opened.patience(0)
        found = opened.rows("prune_preview", retention=age)
        count = sum(row["revisions"] for row in found)
        if yes:
            if (pool := opened.row("pool", silence=settings.lease)) is not None and pool["paused"]:
                raise Refused("the pool is paused: nothing is deleted until the resume", EXIT_REFUSED)
            count = _delete(opened, age)
    if as_json:
        write_json(
            {"older_than_seconds": age.total_seconds(), "deleted" if yes else "would_delete": count, "by_status": found}
        )
    elif yes:
        click.echo(
            f"deleted {counted(count, 'revision')} that ended more than {format_duration(age)} ago, with their logs"
        )
    else:
        write_table(
            ("status", "revisions", "oldest"),
            [(r["status"], r["revisions"], r["oldest"]) for r in found],
            "nothing to prune",
        )
        if count:
            click.echo(f"{counted(count, 'revision')} would be deleted; `workerpool prune --yes` deletes them")


def _delete(opened: Session, age: timedelta) -> int:
    deleted = 0
    after: int | None = 0
    while after is not None:
        row = opened.row("prune", retention=age, after=after, how_many=STRIDE)
        assert row is not None, "prune answers one row"
        count, after = row.values()
        deleted += count
    return deleted


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_settings
def psql(settings: Settings, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; its own ARGUMENTS may follow, such as -c 'SELECT ...'.

    Without psql on this machine: a simple prompt.
    """
    from workerpool.store.session import without_password

    with session(settings, "psql", migrated=False) as opened:
        program = _program(settings)
        if program is None:
            from workerpool.cli.prompt import converse

            sys.exit(converse(opened, arguments))
        opened.close()
        target, password = without_password(database_url(settings))
        environment = dict(os.environ) | ({"PGPASSWORD": password} if password is not None else {})
        # Ctrl-C is for psql, where it ends a statement: a handler of ours, unlike SIG_IGN, does not pass on to it.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            done = subprocess.run([program, "--dbname", target, *arguments], env=environment, check=False)
        finally:
            signal.signal(signal.SIGINT, before)
    sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def _program(settings: Settings) -> str | None:
    """Return psql: the embedded server's own for the embedded server, else the machine's."""
    from workerpool.store import embedded

    try:
        brought: str | None = str(embedded.program("psql"))
    except embedded.BinariesMissing:
        brought = None
    installed = shutil.which("psql")
    return brought or installed if settings.database_url is None else installed or brought
