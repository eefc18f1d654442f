"""What `top` knows of a pool at one moment.

Owns: which facts those are, and their bounds. Does not own: how they look (``top_drawing``). Invariant: a look costs
about the same whatever the queue holds, and what it counts no further than to a bound says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from workerpool.api.reasons import reason
from workerpool.api.service import pool
from workerpool.cli import draining
from workerpool.cli.demo_view import slot
from workerpool.core.wording import length, safe

if TYPE_CHECKING:
    from workerpool.store.session import Row, Session

#: Counted to no more of the queue, of one item; told apart by status; items, running revisions and events at once.
MOST, DEEP, RECENT, ITEMS, RUNNING, EVENTS = 10_000, 200, 2_000, 40, 200, 8


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process and what it performs; lengths in seconds, memory in bytes.

    *place* is what stays of its id when another process takes its place.
    """

    id: str
    place: str
    host: str
    slot: str
    pid: int
    state: str
    revision: int | None
    item: str | None
    step: str | None
    percent: float | None
    cancelling: bool
    running_for: float | None
    memory: int | None
    restarts: int
    processed: int
    age: float
    handlers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """An item with work: *head* is what runs, else what would be next; *deeper*: there are more than *depth*."""

    key: str
    depth: int
    deeper: bool
    head: int | None
    runs: bool
    why: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known at one moment. Counts above MOST mean: more than MOST."""

    at: datetime
    badge: str
    paused: bool
    mode: str | None
    version: int
    counts: dict[str, int]
    latest: dict[str, int]
    pauses: tuple[Row, ...]
    safety: str | None
    """While something is paused: how far it is from being safe."""
    workers: tuple[Worker, ...]
    items: tuple[Item, ...]
    events: tuple[Row, ...]
    rate: float | None = None
    """Revisions that end in a second; None: not known yet."""
    course: tuple[float, ...] = field(default=())


def look(session: Session, silence: timedelta) -> Picture:
    """Return what is there, as of one moment; a worker that was not seen for *silence* counts as silent."""
    with session.snapshot():
        session.rows("in_order")
        facts = session.rows("top", most=MOST, recent=RECENT)[0]
        pauses = session.rows("pauses")
        found = session.rows("top_items", how_many=ITEMS, most=DEEP)
        heads = [row["processing_id"] or row["head_id"] for row in found]
        why = session.rows("waiting", ids=[head for head in heads if head is not None], silence=silence)
        workers = session.rows("worker_list", silence=silence, gone=False)
        running = session.rows("top_running", how_many=RUNNING)
        events = session.rows("events", control=None, after=None, how_many=EVENTS)
        safety = _safety(session) if pauses else None
    reasons = {each["id"]: _why(each) for each in why}
    return Picture(
        at=facts["at"],
        badge=badge(facts["mode"] if facts["paused"] else None),
        paused=facts["paused"],
        mode=facts["mode"],
        version=facts["version"],
        counts={name: facts[name] for name in COUNTED},
        latest=facts["latest"],
        pauses=tuple(pauses),
        safety=safety,
        workers=tuple(_worker(row, running) for row in workers),
        items=tuple(_item(row, reasons) for row in found),
        events=tuple(reversed(events)),
    )


#: The counts of a picture, each no further than to MOST.
COUNTED = ("pending", "retrying", "scheduled", "processing", "held", "stale", "halted")


def badge(mode: str | None) -> str:
    """Return the words for a pool that is paused in *mode*, or (None) is not."""
    return f"Workers: Paused ({mode.capitalize()})" if mode else "Workers: Running"


def _safety(session: Session) -> str:
    return draining.describe(pool.safe_state(session))


def _worker(row: Row, running: Sequence[Row]) -> Worker:
    mine = [each for each in running if each["worker_id"] == row["id"]]
    # It may have claimed ahead: the one it said it has, else the one that has said something, else the first.
    mine.sort(key=lambda each: (each["id"] != row["current_revision_id"], each["step"] is None, each["id"]))
    now = mine[0] if mine else None
    return Worker(
        id=row["id"],
        place=row["id"].removesuffix(f".{row['generation']}"),
        host=row["host"],
        slot=row["slot"],
        pid=row["pid"],
        state=row["state"],
        revision=now["id"] if now else None,
        item=now["item_key"] if now else None,
        step=now["step"] if now else None,
        percent=now["percent"] if now else None,
        cancelling=now["cancelling"] if now else False,
        running_for=now["running_for"] if now else None,
        memory=row["rss_bytes"],
        restarts=row["restart_count"],
        processed=row["processed_count"],
        age=row["age_seconds"],
        handlers=tuple(row["handlers"]),
    )


def _item(row: Row, reasons: dict[int, str]) -> Item:
    head = row["processing_id"] or row["head_id"]
    why = reasons.get(head, "") if head is not None else ""
    if not why and row["halted_at"] is not None:
        why = f"halted: {safe(row['halt_reason'])}"
    depth = min(row["depth"], DEEP)
    return Item(row["item_key"], depth, row["depth"] > DEEP, head, row["processing_id"] is not None, why)


def _why(facts: Row) -> str:
    """Return why a head is where it is, in fewer words than `explain`: there is one line for it."""
    if facts["status"] != "processing" or (facts["lease_left"] or 0) < 0:
        return reason(facts).why.removeprefix("it ")
    step = f": {safe(facts['step'])}" if facts["step"] else ""
    if facts["held"]:
        return f"held on {slot(facts['worker_id'])} until the resume{step}"
    percent = f" ({facts['percent']:.0f}%)" if facts["percent"] is not None else ""
    asked = ", asked to stop" if facts["cancelling"] else ""
    return f"runs on {slot(facts['worker_id'])} for {length(facts['running_for'])}{asked}{step}{percent}"
