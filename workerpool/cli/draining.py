"""Waiting for the safe state, shown live: a bar on a terminal, a line for each change when piped.

Owns: how far a drain looks. Does not own: when it is safe (``store.pausing``). Invariant: whoever gives up waiting is
told everything that is in the way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from workerpool.cli.errors import EXIT_REFUSED, EXIT_TIMED_OUT, Refused
from workerpool.core.wording import counted, safe

if TYPE_CHECKING:
    from workerpool.store.pausing import Safety
    from workerpool.store.session import Session

Tell = Callable[["Safety"], object]
#: How many obstacles are named at once.
NAMED = 50
#: Seconds of waiting that a script's log need not tell of.
SOON = 1.0


def wait(
    opened: Session, timeout: timedelta | None, hint: str, *, scope: str = "all", quiet_stdout: bool = False
) -> Safety:
    """Wait until it is safe, and show how far it is; on standard error where the output is a command's.

    Raises Refused: 75 with the obstacles and *hint*, 4 where somebody took the pause away.
    """
    from workerpool.store import pausing

    with _shown(quiet_stdout) as show:

        def tell(found: Safety) -> None:
            if not found.paused:
                raise Refused("somebody resumed meanwhile", EXIT_REFUSED, "`workerpool events --control pool` says who")
            show(found)

        try:
            return pausing.wait_for_safe_state(opened, timeout, tell, scope)
        except pausing.NotSafe as error:
            raise Refused(f"not safe in time:{told(error.safety)}", EXIT_TIMED_OUT, hint) from None


def told(safety: Safety) -> str:
    """Return what is in the way, a line each."""
    obstacles = safety.obstacles()
    more = [f"and {len(obstacles) - NAMED} more"] if len(obstacles) > NAMED else []
    return "".join(f"\n  - {safe(each)}" for each in obstacles[:NAMED] + more)


def describe(safety: Safety) -> str:
    """Return a line on how far it is."""
    parts = [f"{counted(len(safety.running), 'revision')} running"]
    if safety.held:
        parts.append(f"{len(safety.held)} held at a checkpoint")
    if safety.lost:
        parts.append(f"{len(safety.lost)} lost with their hosts")
    if safety.tokens:
        parts.append(f"{counted(len(safety.tokens), 'other program')} active")
    if safety.unaware:
        parts.append(f"{counted(len(safety.unaware), 'worker')} to see the pause")
    return ", ".join(parts) + ("; safe" if safety.is_safe else "")


@contextmanager
def _shown(quiet_stdout: bool) -> Iterator[Tell]:
    stream = sys.stderr if quiet_stdout else sys.stdout
    if stream.isatty():
        with _bar(quiet_stdout) as show:
            yield show
    else:
        last, began = "", time.monotonic()

        def show_line(found: Safety) -> None:
            nonlocal last
            if quiet_stdout and (found.is_safe or time.monotonic() - began < SOON):
                return
            if (line := describe(found)) != last:
                click.echo(line, err=quiet_stdout)
            last = line

        yield show_line


@contextmanager
def _bar(quiet_stdout: bool) -> Iterator[Tell]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(highlight=False, stderr=quiet_stdout)
    with Progress(*columns, console=console, transient=quiet_stdout) as progress:
        task = progress.add_task("draining", total=None)
        most = 0

        def show(found: Safety) -> None:
            nonlocal most
            left = len(found.running) + len(found.tokens) + len(found.unaware)
            most = max(most, left, 1)
            progress.update(task, total=most, completed=most - left, description=escape(describe(found)))

        yield show
