"""What all verbs have in common: their flags, their settings, and their way to the database.

Owns: the shared flags and the opening of a session. Invariant: a verb is called with settings that were validated as a
whole.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import click

from workerpool import config as configuration
from workerpool.cli.home import Home
from workerpool.config.instants import parse_instant
from workerpool.core.durations import ALLOWED, BadDuration, parse_duration

if TYPE_CHECKING:
    from workerpool.store.session import Session

Verb = Callable[..., Any]


def with_settings(verb: Verb) -> Verb:
    """Give a verb the flags of the database and, as its first argument, the settings they make."""

    @click.option("--database-url", metavar="URL", help="The database (WORKERPOOL_DATABASE_URL).")
    @click.option("--home", type=click.Path(readable=False), help="Embedded data and run files (WORKERPOOL_HOME).")
    @click.option("--schema", metavar="NAME", help="The schema in the database (WORKERPOOL_SCHEMA).")
    @functools.wraps(verb)
    def wired(database_url: str | None, home: str | None, schema: str | None, **rest: Any) -> Any:
        flags = {"database_url": database_url, "home": home, "schema": schema}
        settings = configuration.load({name: value for name, value in flags.items() if value is not None})
        for warning in settings.warnings:
            click.echo(f"workerpool: {warning}", err=True)
        return verb(settings, **rest)

    return wired


def with_json(verb: Verb) -> Verb:
    """Give a reading verb `--json`, as the argument *as_json*."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(verb)


@contextmanager
def session(
    settings: configuration.Settings, role: str, *, migrated: bool = True, migrating: bool = True
) -> Iterator[Session]:
    """Open a session on the database of *settings*, an embedded one with its server.

    *migrated* asks for the right schema version, *migrating* brings an embedded database there first.
    """
    from workerpool.client import address
    from workerpool.store.session import Session

    if settings.database_url is None and not (settings.home / "postgres" / "data").exists():
        Home(settings.home).make()
        click.echo(f"workerpool: making a database in {settings.home} (WORKERPOOL_HOME)", err=True)
    with address(settings, migrating=migrating) as url, Session(url, settings.db_schema, role) as opened:
        if migrated:
            opened.require()
        yield opened


class Duration(click.ParamType[timedelta]):
    """A length of time on the command line."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read 500ms, 5s, 2m, 1h, 30d, or bare seconds."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except BadDuration:
            self.fail(f"{value!r} is not {ALLOWED}", param, ctx)


class Instant(click.ParamType[datetime]):
    """A point in time on the command line; local time where no zone is given."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read an ISO date and time, or + and a duration from now."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_instant(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class InstantOrNow(click.ParamType[datetime | Literal["now"]]):
    """A point in time on the command line, or ``now``: by the database's clock."""

    name = "instant"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | Literal["now"]:
        """Read `now`, an ISO date and time, or + and a duration from now."""
        return "now" if value == "now" else Instant().convert(value, param, ctx)


class RevisionId(click.IntRange):
    """The id of a revision on the command line."""

    name = "revision id"

    def __init__(self) -> None:
        super().__init__(min=1, max=2**63 - 1)


def on_terminal() -> bool:
    """Tell whether people read standard output, live."""
    return sys.stdout.isatty()
