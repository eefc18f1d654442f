"""A live look at revisions while they run: a progress line on a terminal, plain lines when piped.

Owns: looking again and again, and which log lines are new. Does not own: what the revisions do. Invariant: every line
is shown once, also
one whose transaction commits after a later one's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from workerpool.cli.options import on_terminal
from workerpool.cli.tables import log_line
from workerpool.core.revision import TERMINAL
from workerpool.core.wording import safe

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session

LOOK = 0.25
#: Ids are given before commits: a line may appear this many ids behind one that was shown.
OVERLAP = 500
MOST_LINES = 2000


class NewLines:
    """The lines of an execution log that were not shown yet; of all revisions where *revision* is None."""

    def __init__(self, opened: Session, revision: int | None, shown: list[Row]) -> None:
        self._session, self._revision = opened, revision
        self._seen = {row["id"] for row in shown}
        self._highest = max(self._seen, default=0)
        self._least = self._highest if revision is None else 0

    def look(self) -> list[Row]:
        """Return what is new since the last look."""
        after = max(self._least, self._highest - OVERLAP)
        found = self._session.rows("log_after", revision=self._revision, after=after, how_many=MOST_LINES)
        fresh = [row for row in found if row["id"] not in self._seen]
        self._seen = {each for each in self._seen if each > after} | {row["id"] for row in fresh}
        self._highest = max([self._highest, *(row["id"] for row in fresh)])
        return fresh


def watch(opened: Session, revision: int, timeout: timedelta | None) -> Row | None:
    """Show a revision until it has ended and return it then; None where it did not within *timeout*."""
    return _draw(opened, revision, timeout) if on_terminal() else _print(opened, revision, timeout)


def states(opened: Session, revision: int, timeout: timedelta | None) -> Iterator[Row]:
    """Yield how far a revision is, again and again, until it has ended or *timeout* is over."""
    deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
    while found := opened.rows("poll", ids=[revision]):
        yield found[0]
        if found[0]["status"] in TERMINAL or (deadline is not None and time.monotonic() >= deadline):
            return
        time.sleep(LOOK)


def _print(opened: Session, revision: int, timeout: timedelta | None) -> Row | None:
    lines, last, state = NewLines(opened, revision, []), "", None
    for state in states(opened, revision, timeout):
        for row in lines.look():
            click.echo(log_line(row, with_revision=False))
        if (told := describe(state)) != last:
            click.echo(told)
            last = told
    return state if state is not None and state["status"] in TERMINAL else None


def _draw(opened: Session, revision: int, timeout: timedelta | None) -> Row | None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    lines, state = NewLines(opened, revision, []), None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(highlight=False)) as progress:
        task = progress.add_task(f"revision {revision}", total=100)
        for state in states(opened, revision, timeout):
            for row in lines.look():
                progress.console.print(log_line(row, with_revision=False), markup=False, soft_wrap=True)
            progress.update(task, completed=state["percent"] or 0, description=_markup(describe(state)))
    return state if state is not None and state["status"] in TERMINAL else None


def _markup(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def describe(state: Row) -> str:
    """Return a sentence on how far a revision is."""
    text = f"revision {state['id']} {state['status']}"
    if state["status"] == "processing" and state["step"]:
        text += f": {safe(state['step'])}"
        text += f" ({state['percent']:.0f}%)" if state["percent"] is not None and not on_terminal() else ""
    if state["attempt"] > 1 and state["status"] != "completed":
        text += f", attempt {state['attempt']}"
    return text
