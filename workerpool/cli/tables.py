"""How answers look: tables in colour on a terminal, plain aligned text when piped, JSON on request.

Owns: the writing of values for people and for programs. Does not own: what is shown. Invariant: nothing that comes
from the database can
command the terminal: control characters are shown, not sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from workerpool.cli.options import on_terminal
from workerpool.core.wording import printable, safe

COLOURS = {
    "completed": "green",
    "processing": "cyan",
    "busy": "cyan",
    "idle": "green",
    "pending": "yellow",
    "scheduled": "blue",
    "draft": "bright_black",
    "failed": "red",
    "silent": "red",
    "gone": "bright_black",
    "cancelled": "magenta",
    "ok": "green",
    "warning": "yellow",
    "problem": "red",
    "error": "red",
    "debug": "bright_black",
}


def write_json(value: object) -> None:
    """Print *value* as JSON; instants in ISO form, durations as seconds."""
    click.echo(json.dumps(value, indent=2, default=_for_json, ensure_ascii=False))


def _for_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def paint(text: str) -> str:
    """Return a word in its colour, where it has one; click takes the colour off when nobody looks."""
    colour = COLOURS.get(text.split(" ", 1)[0])
    return click.style(text, fg=colour) if colour else text


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing there") -> None:
    """Print a table; *empty* says what it means that there are no rows."""
    texts = [[printable(value) for value in row] for row in rows]
    if not texts:
        click.echo(empty)
    elif on_terminal():
        _draw(columns, texts)
    else:
        texts = [[cell.replace("\n", "\\n").replace("\t", "\\t") for cell in row] for row in texts]  # a row is a line
        widths = [max(len(row[place]) for row in [list(columns), *texts]) for place in range(len(columns))]
        for row in [[column.upper().replace(" ", "_") for column in columns], *texts]:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)


def write_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line, without those that have no value."""
    lines = [(name, printable(value)) for name, value in facts if value is not None]
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {paint(text)}")


def log_line(row: dict[str, Any], *, with_revision: bool) -> str:
    """Return one line of an execution log for people."""
    at = row["at"].astimezone().strftime("%H:%M:%S.%f")[:-3]
    whose = f"revision {row['revision_id']} " if with_revision else ""
    data = row["data"] if isinstance(row["data"], dict) else {"data": row["data"]}
    known = " ".join(f"{safe(str(key))}={printable(value)}" for key, value in data.items() if value is not None)
    tail = f"  {known}" if known else ""
    message = safe(row["message"])
    return f"{at} {whose}attempt {row['attempt']} {paint(row['level'].ljust(7))} {message}{click.style(tail, dim=True)}"
