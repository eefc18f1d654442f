"""What the keeper does on the clock; each duty is one function over the connection.

Invariant: every duty is bounded in rows and in time, and doing it twice is harmless.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from workerpool import logs
from workerpool.core.briefs import KeeperBrief
from workerpool.job import artifacts
from workerpool.keeper.facts import Facts
from workerpool.keeper.flock import Flock, Sheep
from workerpool.keeper.tally import Tally
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.store.line import Line

log = logs.get("keeper")
CANCELS_A_ROUND = 100
FOLDERS_A_ROUND = 200
PRUNED_A_ROUND = 2_000
#: Seconds between two walks over what is old.
LONGEST_REST = 3600.0


def beat(brief: KeeperBrief, flock: Flock, board: Board, line: Line) -> None:
    """Write what is seen of the living workers, and of those who are silent."""
    sheep = flock.renewable(brief.lease)
    seen = [(each, board.running(each.board_slot), board.counts(each.board_slot)) for each in sheep]
    line.call(
        "beat",
        ids=[each.worker_id for each in sheep],
        revisions=[running.revision_id if running else None for _, running, _ in seen],
        processed=[counts[0] for *_, counts in seen],
        restarts=[each.restarts for each in sheep],
        rss=[_rss(each) for each in sheep],
        silence=f"{3 * brief.lease} seconds",
    )


def keep_output(message: Mapping[str, Any], line: Line) -> None:
    """Store lines of output that the manager read of a process of ours."""
    line.call("output_lines", id=message["revision"], token=message["token"], messages=message["lines"])


def relay_pause(board: Board, facts: Facts) -> bool:
    """Write the version in force on the board; tells whether it was news."""
    if board.pause_version() == facts.version:
        return False
    board.mark_pause(facts.version)
    log.info("pause.changed", version=facts.version, paused=facts.paused)
    return True


def lift_pauses(line: Line) -> None:
    """Take away the pauses whose time is over."""
    ((lifted,),) = line.call("lift_pauses")
    if lifted:
        log.info("pause.lifted", count=lifted)


def sweep_tokens(line: Line) -> None:
    """Take away the work tokens of holders that are dead or stopped."""
    ((swept,),) = line.call("sweep_tokens")
    if swept:
        log.info("tokens.expired", count=swept)


def relay_cancels(flock: Flock, board: Board, line: Line) -> bool:
    """Carry out what somebody stamped: end what waits, and ask the workers of what runs here.

    Tells whether a worker of ours holds one that it has not begun: it is to be asked soon, when it has.
    """
    unasked = False
    for revision, worker, token in line.call("carry_out_cancels", how_many=CANCELS_A_ROUND):
        sheep = flock.living.get(worker)
        if sheep is None:
            continue
        running = board.running(sheep.board_slot)
        if running is None or running.identity != (revision, token):
            unasked = True
        elif board.ask_cancel(sheep.board_slot, running, time.monotonic()):
            log.info("cancel.relayed", revision_id=revision, worker=worker)
    return unasked


def tell_empty(channel: Channel, line: Line) -> None:
    """Tell the manager if there is nothing left to do."""
    if line.call("is_empty")[0][0]:
        channel.send("empty")


def _rss(sheep: Sheep) -> int | None:
    try:
        return int(psutil.Process(sheep.pid).memory_info().rss)
    except psutil.Error:
        return None


def fail_unhandled(brief: KeeperBrief, line: Line, tally: Tally) -> int:
    """End revisions that nobody can perform, with a sentence that names the handler; returns how many."""
    rows = line.call("unhandled", patience=f"{brief.unhandled_after} seconds", how_many=100)
    for revision, handler, there in rows:
        known = ", ".join(there or ()) or "none at all"
        told = f"no living worker has a handler {handler!r} (there are: {known}): is its module in WORKERPOOL_HANDLERS?"
        asked = {"verdict": "failed", "message": told, "kind": "error", "halts": brief.after_failure == "halt"}
        ((ended,),) = line.call("dismiss", ids=[revision], **asked)
        tally.add("unhandled", count=len(ended))
        log.warning("revision.unhandled", revision_id=revision, handler=handler)
    return len(rows)


@dataclass(slots=True)
class Walk:
    """Where a slow walk over the table is."""

    after_item: str = ""
    after_id: int = 0
    folders: list[int] = field(default_factory=list)
    swept_at: float = 0.0


def heal(walk: Walk, line: Line) -> int:
    """Look at the next thousand items for heads that foreign SQL stranded; returns how many were freed."""
    last, healed = line.call("heal", after=walk.after_item, how_many=1000)[0]
    walk.after_item = last or ""
    if healed:
        log.warning("heal.unparked", count=len(healed), revisions=list(healed[:20]))
    return len(healed)


def prune(walk: Walk, brief: KeeperBrief, line: Line) -> float:
    """Look at the next two thousand revisions for what is past its retention; returns the seconds until the next look.

    A rest is as long as the look before it, so that a busy table's past goes as fast as it comes and the keeper has
    half of its time for all else. At the end of what is old there is a longer rest.
    """
    began = time.monotonic()
    deleted, last = line.call(
        "prune", retention=f"{brief.retention} seconds", after=walk.after_id, how_many=PRUNED_A_ROUND
    )[0]
    walk.after_id = last or 0
    if deleted:
        log.info("queue.pruned", count=deleted)
    return time.monotonic() - began if last else min(LONGEST_REST, max(1.0, brief.retention / 60))


def sweep_artifacts(walk: Walk, home: Path, line: Line) -> int:
    """Look at the next folders of kept files in this host's home; delete those of revisions that exist no more.

    Returns how many were deleted. An hour's rest at the end.
    """
    now = time.monotonic()
    if now < walk.swept_at:
        return 0
    if not walk.folders:
        walk.folders = artifacts.revisions(home)
    some, walk.folders = walk.folders[:FOLDERS_A_ROUND], walk.folders[FOLDERS_A_ROUND:]
    there = {row[0] for row in line.call("outcome_of", ids=some)} if some else set()
    deleted = sum(artifacts.discard(home, revision) for revision in some if revision not in there)
    walk.swept_at = now + (1.0 if walk.folders else 3600.0)
    if deleted:
        log.info("artifacts.pruned", count=deleted)
    return deleted
