"""The panels of `top`: a picture as lines of text in colour.

Owns: columns, colours, and what is left out where there is no room. Does not own: the facts (``top_picture``), or where
a panel stands (``top_drawing``). Pure. Invariant: a row is one line, and no text of the queue commands the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workerpool.api import holders
from workerpool.cli.demo_view import slot
from workerpool.cli.tables import COLOURS
from workerpool.cli.top_picture import DEEP, MOST, RECENT, Item, Picture, Worker
from workerpool.core.wording import length, printable, safe

if TYPE_CHECKING:
    from workerpool.store.session import Row

BADGES = {None: "bold white on green", "drain": "bold black on yellow", "quiesce": "bold white on red"}
LEVELS = {"debug": "bright_black", "info": "", "warning": "yellow", "error": "bold red"}
STATES = COLOURS | {"paused": "yellow", "starting": "blue", "stopping": "magenta"}
FULL, EMPTY = "━", "─"
#: Columns of the workers that are left out where the terminal is narrower than this.
LEFT_OUT = {"PID": 72, "MEM": 72, "RST": 56, "PROGRESS": 56}
SPARKS = "▁▂▃▄▅▆▇█"
HEAD, QUIET = "bold reverse", "bold underline"


def line(text: str | None) -> str:
    """Return a text of the queue as one line that shows what it holds."""
    return safe(" ".join((text or "").split()))


def figure(count: int, most: int = MOST) -> str:
    """Return a count; one that was counted no further says so."""
    return f"{count:,}" if count <= most else f"{most:,}+"


def badge(picture: Picture) -> Text:
    """Return the words that say whether the pool is paused."""
    return Text(f" {picture.badge} ", style=BADGES[picture.mode if picture.paused else None])


def queue(picture: Picture) -> Text:
    """Return how much there is of each status that waits or runs."""
    counts = picture.counts
    told = Text.assemble(("queue  ", "bold"))
    for name in ("pending", "processing", "retrying", "scheduled", "halted"):
        if not counts[name] and name not in ("pending", "processing"):
            continue
        told.append(figure(counts[name]), style=f"bold {COLOURS.get(name, '')}" if counts[name] else "dim")
        more = f" ({figure(counts['held'])} held)" if name == "processing" and counts["held"] else ""
        more += f" ({figure(counts['stale'])} lost)" if name == "processing" and counts["stale"] else ""
        told.append(f" {name}{more}   ", style="" if counts[name] else "dim")
    return told


def latest(picture: Picture) -> Text:
    """Return how the latest revisions ended; of all, where there are no more."""
    total = sum(picture.latest.values())
    told = Text.assemble(("all    " if total < RECENT else "latest ", "bold"))
    told.append(f"{total:,}: ", style="dim")
    for name in ("completed", "failed", "cancelled", "draft"):
        count = picture.latest.get(name, 0)
        if not count and name not in ("completed", "failed"):
            continue
        told.append(f"{count:,}", style=f"bold {COLOURS[name]}" if count else "dim")
        told.append(f" {name}   ", style="" if count else "dim")
    return told


def course(picture: Picture, width: int, ascii_only: bool) -> Text:
    """Return how many end in a second, as a figure and as a chart of the last minutes."""
    told = Text.assemble(("ended  ", "bold"))
    if picture.rate is None:
        return told.append("not known yet", style="dim")
    told.append(f"{picture.rate:,.1f}/s  ", style="bold")
    columns = picture.course[-max(0, width - 32) :]
    peak = max(columns, default=0.0)
    sparks = " .:-=+*#" if ascii_only else SPARKS
    drawn = "".join(sparks[0 if not peak else round(each / peak * (len(sparks) - 1))] for each in columns)
    told.append(drawn, style="cyan")
    return told.append(f"  peak {peak:,.1f}/s", style="dim") if peak else told


def pauses(picture: Picture, room: int) -> list[Text]:
    """Return who paused what and why, and how safe it is; at most *room* lines."""
    if not picture.pauses:
        return []
    told = [Text(f"paused {line(holders.sentence(each))}", style="yellow") for each in picture.pauses]
    if len(told) + 1 > room:
        more = len(told) + 2 - room
        told[room - 2 :] = [Text(f"       and {more} more pauses: `workerpool status`", style="yellow")]
    style = "bold green" if (picture.safety or "").endswith("; safe") else ""
    return [*told, Text(f"       {picture.safety}", style=style)]


def _heading(text: str, is_active: bool) -> Text:
    return Text(text, style=HEAD if is_active else QUIET)


def _table(columns: Mapping[str, dict[str, object]], is_active: bool) -> Table:
    style = HEAD if is_active else QUIET
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style=style)
    for name, options in columns.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis", **options)  # type: ignore[arg-type]
    return table


def _add(table: Table, row: Sequence[Text], *, is_selected: bool) -> None:
    # (colours would make patches in a reversed row)
    cells = [Text(cell.plain) for cell in row] if is_selected else row
    table.add_row(*cells, style="reverse" if is_selected else "")


def shown(count: int, selected: int, room: int) -> range:
    """Return which of *count* rows stand on the page with the selected one."""
    first = selected // room * room if room > 0 else 0
    return range(first, min(count, first + max(room, 0)))


def workers(
    picture: Picture, selected: Worker | None, room: int, *, is_active: bool, width: int, ascii_only: bool
) -> RenderableType:
    """Return the worker processes and what they do, at most *room* rows, in the columns that there is room for."""
    several = len({each.host for each in picture.workers}) > 1
    bar_length = 10 if width >= 100 else 5
    columns: dict[str, dict[str, object]] = {
        "WORKER": {"max_width": 8 if not several else 24 if width >= 100 else 12},
        "PID": {"justify": "right", "min_width": 6},
        "STATE": {"min_width": 7, "max_width": 8},
        "REVISION": {"justify": "right"},
        "ITEM": {"ratio": 2, "min_width": 6},
        "STEP": {"ratio": 3, "min_width": 6},
        "PROGRESS": {"min_width": bar_length + 5},
        "MEM": {"justify": "right", "min_width": 4},
        "RST": {"justify": "right"},
        "UP": {"justify": "right", "min_width": 3},
    }
    for name, least in LEFT_OUT.items():
        if width < least:
            del columns[name]
    if not picture.workers:
        none = Text(
            "no worker is alive; `workerpool start` starts some", style="yellow", no_wrap=True, overflow="ellipsis"
        )
        return Group(Text("WORKER", style=HEAD if is_active else QUIET), none)
    table = _table(columns, is_active)
    at = picture.workers.index(selected) if selected is not None else 0
    for place in shown(len(picture.workers), at, room):
        each = picture.workers[place]
        row = _cells(each, several=several, bar_length=bar_length, ascii_only=ascii_only)
        _add(table, [row[name] for name in columns], is_selected=is_active and place == at)
    return table


def _cells(each: Worker, *, several: bool, bar_length: int, ascii_only: bool) -> dict[str, Text]:
    return {
        "WORKER": Text(line(f"{each.host}/{each.slot}" if several else each.slot)),
        "PID": Text(str(each.pid)),
        "STATE": Text(line(each.state), style=STATES.get(each.state, "")),
        "REVISION": Text(str(each.revision or "")),
        "ITEM": Text(line(each.item)),
        "STEP": Text(step(each)),
        "PROGRESS": bar(each.percent, bar_length, ascii_only) if each.revision is not None else Text(""),
        "MEM": Text(memory(each.memory)),
        "RST": Text(str(each.restarts), style="bold red" if each.restarts else "dim"),
        "UP": Text(short(each.age)),
    }


def step(worker: Worker) -> str:
    """Return what a worker is at."""
    told = line(worker.step) if worker.revision is not None else ""
    return f"asked to stop; {told}".removesuffix("; ") if worker.cancelling else told


def bar(percent: float | None, cells: int, ascii_only: bool) -> Text:
    """Return how far a revision is, drawn with *cells* signs; nothing where it does not say."""
    if percent is None:
        return Text("")
    full, empty = ("#", "-") if ascii_only else (FULL, EMPTY)
    done = round(percent / 100 * cells)
    return Text.assemble((full * done, "green"), (empty * (cells - done), "dim"), f" {percent:3.0f}%")


def memory(count: int | None) -> str:
    """Return a number of bytes in few letters."""
    if count is None:
        return ""
    return f"{count / 2**20:.0f}M" if count < 10 * 2**30 else f"{count / 2**30:.0f}G"


def short(seconds: float) -> str:
    """Return a length of time in its greatest unit."""
    whole = int(seconds)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= 2 * unit:
            return f"{whole // unit}{name}"
    return f"{max(whole, 0)}s"


def items(picture: Picture, selected: Item | None, room: int, *, is_active: bool) -> RenderableType:
    """Return the items with work, at most *room* rows."""
    columns: dict[str, dict[str, object]] = {
        "ITEM": {"ratio": 2, "min_width": 8},
        "DEPTH": {"justify": "right", "min_width": 5},
        "HEAD": {"justify": "right", "min_width": 6},
        "WHY": {"ratio": 5, "min_width": 10},
    }
    table = _table(columns, is_active)
    if not picture.items:
        return Group(_heading("ITEM", is_active), Text("nothing waits, nothing runs", style="dim"))
    at = picture.items.index(selected) if selected is not None else 0
    for place in shown(len(picture.items), at, room):
        each = picture.items[place]
        row = [
            Text(line(each.key), style="cyan" if each.runs else ""),
            Text(figure(each.depth + each.deeper, DEEP)),
            Text(str(each.head or "")),
            Text(line(each.why)),
        ]
        _add(table, row, is_selected=is_active and place == at)
    return table


def events(picture: Picture, room: int) -> list[Text]:
    """Return what operators did, the latest first, under a heading; at most *room* lines in all."""
    told = [_heading("EVENTS", False)]
    for each in picture.events[: max(0, room - 1)]:
        when = each["created_at"].astimezone().strftime("%H:%M:%S")
        mode = f" ({line(each['mode'])})" if each["mode"] else ""
        told.append(
            Text.assemble(
                (f"{when} ", "dim"),
                f"{line(each['actor'])} ",
                (f"{line(each['action'])} ", "bold"),
                f"{line(_target(each))}{mode}",
                f": {line(each['reason'])}" if each["reason"] else "",
            )
        )
    return told if len(told) > 1 or room < 2 else [*told, Text("nobody did anything yet", style="dim")]


def _target(event: Row) -> str:
    if event["control"] == "pool":
        return "the pool" if event["target"] in (None, "all") else str(event["target"])
    return f"{event['control']} {event['target'] or ''}".rstrip()


def log_line(row: Row) -> Text:
    """Return a line of an execution log."""
    at = row["at"].astimezone().strftime("%H:%M:%S.%f")[:-3]
    data = row["data"] if isinstance(row["data"], dict) else {"data": row["data"]}
    known = " ".join(f"{line(name)}={line(printable(value))}" for name, value in data.items() if value is not None)
    level = LEVELS.get(row["level"], "")
    return Text.assemble(
        (f"{at} ", "dim"),
        (f"{row['attempt']} ", "dim"),
        (f"{row['level']:7} ", level),
        (safe(row["message"]).expandtabs(8), level if row["level"] == "error" else ""),
        (f"  {known}" if known else "", "dim"),
    )


def log_head(revision: int, state: Row | None, *, stands_still: bool) -> Text:
    """Return how far the revision is whose log is shown."""
    if state is None:
        return Text(f" there is no revision {revision} ", style="bold white on red")
    told = Text.assemble((f" revision {revision} ", HEAD), (" frozen ", "bold black on cyan") if stands_still else "")
    told.append(f" {line(state['item_key'])}  ").append(state["status"], style=COLOURS[state["status"]])
    told.append(f"  attempt {state['attempt']}" if state["attempt"] else "")
    if state["status"] == "processing":
        told.append(f" on {line(slot(state['worker_id']))}", style="dim")
        told.append(f"  {line(state['step'])}" if state["step"] else "")
        told.append(f" ({state['percent']:.0f}%)" if state["percent"] is not None else "")
    elif state["error_message"]:
        told.append(f"  {state['error_kind'] or ''}: {line(state['error_message'])}", style="red")
    elif state["started_at"] and state["completed_at"]:
        told.append(f" in {length((state['completed_at'] - state['started_at']).total_seconds())}")
    return told
