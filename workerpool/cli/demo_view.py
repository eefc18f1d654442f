"""What the demo shows while it runs: each page with a bar, its step and its worker; a line for each edit when piped.

Owns: the drawing. Does not own: the facts (`poll.sql`). Invariant: `show` returns when every revision has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from workerpool.cli.options import on_terminal
from workerpool.cli.tables import write_table
from workerpool.core.revision import TERMINAL
from workerpool.core.wording import length, safe

LOOK = 0.1
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """How far one page is, between 0 and 100 percent over all of its edits."""

    name: str
    done: int
    failed: int
    total: int
    percent: float
    step: str
    worker: str


def slot(worker: str | None) -> str:
    """Return the short name of a worker, such as W1."""
    return (worker or "").rpartition("/")[2].partition(".")[0]


def pages(states: Sequence[State]) -> list[Page]:
    """Return how far each page is, in the order of its first edit."""
    found = []
    for name in dict.fromkeys(state["item_key"] for state in states):
        mine = [state for state in states if state["item_key"] == name]
        ended = [state for state in mine if state["status"] in TERMINAL]
        running = next((state for state in mine if state["status"] == "processing"), None)
        part = (running["percent"] or 0.0) if running is not None else 0.0
        percent = (100.0 * len(ended) + part) / len(mine)
        failed = sum(state["status"] != "completed" for state in ended)
        step = "finished" if len(ended) == len(mine) else "waiting"
        if running is not None:
            step = running["step"] or "starting"
        found.append(Page(name, len(ended), failed, len(mine), percent, step, slot((running or {}).get("worker_id"))))
    return found


def show(look: Callable[[], list[State]], requests: dict[int, str]) -> list[State]:
    """Show the revisions until all have ended, and return them; *requests* are their words, by id."""
    return _draw(look) if on_terminal() else _print(look, requests)


def _looks(look: Callable[[], list[State]]) -> Iterator[list[State]]:
    while True:
        states = look()
        yield states
        if all(state["status"] in TERMINAL for state in states):
            return
        time.sleep(LOOK)


def _print(look: Callable[[], list[State]], requests: dict[int, str]) -> list[State]:
    told: set[int] = set()
    states: list[State] = []
    for states in _looks(look):
        fresh = [state for state in states if state["status"] in TERMINAL and state["id"] not in told]
        for state in sorted(fresh, key=lambda each: each["completed_at"]):
            told.add(state["id"])
            done = sum(each["id"] in told for each in states if each["item_key"] == state["item_key"])
            total = sum(each["item_key"] == state["item_key"] for each in states)
            took = length((state["completed_at"] - state["started_at"]).total_seconds()) if state["started_at"] else "-"
            click.echo(
                f"{slot(state['worker_id']):3} {state['item_key']:<12} {done}/{total} {state['status']} in {took}: "
                f"{requests[state['id']]}"
            )
    return states


def _draw(look: Callable[[], list[State]]) -> list[State]:
    from rich.console import Console
    from rich.live import Live

    states: list[State] = []
    with Live(console=Console(highlight=False), refresh_per_second=12) as live:
        for states in _looks(look):
            live.update(_table(pages(states)))
    return states


def _table(found: Sequence[Page]) -> Any:
    from rich import box
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in ("page", "", "edits", "step", "worker"):
        table.add_column(column, min_width=24 if column == "step" else None)
    for page in found:
        colour = "red" if page.failed else "green" if page.done == page.total else ""
        table.add_row(
            Text(page.name, style=colour),
            ProgressBar(total=100, completed=page.percent, width=32),
            Text(f"{page.done}/{page.total}"),
            Text(page.step, style=colour),
            Text(page.worker, style="cyan"),
        )
    return table


def write_history(name: str, rows: Sequence[State], begun: Any) -> None:
    """Print a page's revisions: number, request, worker, when it started and ended since the first start, and its
    base.
    """
    click.echo()
    click.secho(safe(name), bold=True)
    table = []
    for place, row in enumerate(rows):
        base = "the original page" if place == 0 else f"number {rows[place - 1]['revision_number']}"
        times = [
            f"+{(row[at] - begun).total_seconds():.2f}s" if row[at] else "-" for at in ("started_at", "completed_at")
        ]
        number = row["revision_number"]
        table.append((number, row["request"], slot(row["worker_id"]), *times, base if number else row["status"]))
    write_table(("number", "request", "worker", "started", "ended", "built on"), table)
