"""What the manager says about its children, and the small things it does for all of them.

Invariant: nothing here decides anything; a child that does not listen is no error.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable

from workerpool import logs
from workerpool.link.board import Board
from workerpool.link.tether import reap_strangers
from workerpool.manager.slot import Slot

log = logs.get("manager")


def report(workers: Iterable[Slot], now: float) -> str:
    """Log and return the health line: every worker with the age of its process in minutes."""
    ages = ", ".join(f"{slot.name}:{(now - slot.since) / 60:.1f}m" for slot in workers if slot.process is not None)
    line = f"Workers healthy: [{ages}]"
    log.info("workers.healthy", line=line)
    return line


def dump(slots: Iterable[Slot], board: Board) -> None:
    """Write what is known of the children to the log, and let the workers write their stacks there."""
    now, there = time.monotonic(), list(slots)
    log.warning("manager.dumped", children=[str(slot.facts(board, now)) for slot in there])
    for slot in there:
        if slot.process is not None and slot.is_worker:
            slot.process.signal(signal.SIGUSR2)


def reopen_logs(slots: Iterable[Slot]) -> None:
    """Open log files again, in every process."""
    logs.reopen()
    for slot in slots:
        if slot.process is not None and slot.process.channel is not None:
            slot.process.channel.send("reopen")


def flush(slots: Iterable[Slot]) -> None:
    """Send what waits for children that did not read, and reap what the kernel gave us."""
    there = [slot.process for slot in slots if slot.process is not None]
    for process in there:
        if process.channel is not None:
            process.channel.flush()
    reap_strangers(frozenset(process.pid for process in there))


def say_broken(slot: Slot, slots: Iterable[Slot], why: str, traceback: str) -> None:
    """Log why a worker cannot start; all have the same modules, so the same traceback is logged once."""
    known = {other.told for other in slots}
    slot.told = traceback or why
    if slot.told not in known:
        log.error("handlers.failed", child=slot.name, why=why, traceback=traceback or None)
