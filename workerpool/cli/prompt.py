"""A simple prompt for machines without psql: a statement that ends with a semicolon is run, its rows are shown.

Owns: reading statements from people. Invariant: an error of a statement is one sentence, and the prompt goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from workerpool.cli.errors import EXIT_FAILED, explain
from workerpool.cli.tables import write_table

if TYPE_CHECKING:
    from workerpool.store.session import Session


def converse(opened: Session, arguments: Sequence[str]) -> int:
    """Run what `-c` says, or statements from standard input until its end; returns the exit code."""
    if arguments and (arguments[0] not in ("-c", "--command") or len(arguments) != 2):
        raise click.UsageError("No psql was found, and the simple prompt knows only: -c STATEMENT.")
    if arguments:
        return 0 if run(opened, arguments[1]) else EXIT_FAILED
    if sys.stdin.isatty():
        click.echo("No psql was found; this is a simple prompt. End a statement with ; and the session with Ctrl-D.")
    good = True
    for text in statements():
        good = run(opened, text) and good
    return 0 if good or sys.stdin.isatty() else EXIT_FAILED


def statements() -> Iterator[str]:
    """Yield what is typed, up to each semicolon at the end of a line."""
    text = ""
    while True:
        try:
            line = input(("... " if text else "sql> ") if sys.stdin.isatty() else "")
        except EOFError:
            break
        except KeyboardInterrupt:
            click.echo()
            text = ""
            continue
        text += line + "\n"
        if line.strip() in ("\\q", "quit", "exit") and text == line + "\n":
            return
        if line.rstrip().endswith(";"):
            yield text
            text = ""
    if text.strip():
        yield text


def run(opened: Session, text: str) -> bool:
    """Run one statement and show what it answers; tells whether it succeeded."""
    try:
        told = opened.type_in(text)
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        known.show()
        return False
    if told.columns:
        write_table(told.columns, told.rows, empty="no rows")
    click.echo(told.status, err=True)
    return True
