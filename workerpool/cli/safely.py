"""``workerpool safely``: run a command while nothing runs.

Owns: what a command is told. Does not own: the pause around it (``window``). Invariant: while the command runs nothing
else writes to the terminal, and it gets the keys.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import timedelta
from typing import Literal

import click

from workerpool.cli.errors import Refused
from workerpool.cli.options import Duration, Verb, with_settings
from workerpool.config import Settings
from workerpool.core.wording import shorten

EXIT_NOT_RUNNABLE, EXIT_NOT_FOUND = 126, 127


def with_window(verb: Verb) -> Verb:
    """Give a verb the flags of the pause around it."""
    mode = click.option(
        "--mode",
        type=click.Choice(["drain", "quiesce"]),
        default="drain",
        show_default=True,
        help="What runs ends first; or is held at its next checkpoint.",
    )
    reason = click.option("--reason", default="", metavar="TEXT", help="Why; people will read it.")
    timeout = click.option("--timeout", type=Duration(), help="Until it is safe, at most. [default: 10m]")
    return mode(reason(timeout(verb)))


@click.command(context_settings={"allow_interspersed_args": False})
@with_window
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@with_settings
def safely(
    settings: Settings,
    mode: Literal["drain", "quiesce"],
    reason: str,
    timeout: timedelta | None,
    command: tuple[str, ...],
) -> None:
    """Pause, wait until nothing runs, run COMMAND, and take the pause away, whatever happens.

    Exits with COMMAND's exit code; 128 and more: it ended by a signal; 75: it was not safe in time; 126, 127: COMMAND
    could not be run. An interactive COMMAND has the terminal.
    """
    from workerpool.cli import window as around

    _findable(command[0])
    why = reason.strip() or f"safely runs {shorten(os.path.basename(command[0]), 60)}"
    try:
        with around.opened_window(
            settings, "safely", mode, why, around.TIMEOUT if timeout is None else timeout
        ) as window:
            code = window.signals.run(command, window.holder.mark)
    except around.Stopped as stopped:
        sys.exit(128 + stopped.number)
    sys.exit(around.exit_code(window, code))


def _findable(name: str) -> None:
    """Refuse what cannot be run before the pool is paused for it."""
    if shutil.which(name) is None:
        there = shutil.which(name, mode=os.F_OK) is not None
        what = "cannot be executed" if there else "there is no such command"
        raise Refused(f"{name}: {what}", EXIT_NOT_RUNNABLE if there else EXIT_NOT_FOUND, "nothing was paused")
