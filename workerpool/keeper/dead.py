"""Settling for those who cannot: processes that ended with claims in hand (R19, R21, R22).

Invariant: only the revision that was running is charged; whatever else the process held is given back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from workerpool import logs
from workerpool.core import outcome as verdicts
from workerpool.core.outcome import Outcome
from workerpool.core.revision import DEFAULT_MAX_ATTEMPTS, Tries
from workerpool.keeper.flock import Death, Flock
from workerpool.store.line import Line

log = logs.get("keeper")
RESCUES_A_SWEEP = 20


def bury(death: Death, line: Line, max_crashes: int) -> None:
    """Settle everything that the dead process held, and mark it gone. Raises LineLost; doing it again is harmless."""
    rows = line.call("held_by", worker=death.worker_id, manager=None)
    outcomes = [_judge(death, row, max_crashes) for row in rows]
    for start in range(0, len(outcomes), 60):
        line.settle(outcomes[start : start + 60])
    for each in outcomes:
        if each.verdict != "released":
            log.warning(
                "revision.poisoned" if each.kind == "poison" else "revision.crashed",
                revision_id=each.revision_id,
                worker=death.worker_id,
                why=each.message,
            )
    line.call("mark_gone", ids=[death.worker_id], silence="1 hour")


def _judge(death: Death, row: Sequence[Any], max_crashes: int) -> Outcome:
    revision, token, _, attempt, most, crashes = row
    if revision != death.revision_id or token != death.token or death.reason in {"stop", "lease", "recycled"}:
        return verdicts.released(revision, token)
    tries = Tries(attempt, most or death.max_attempts or DEFAULT_MAX_ATTEMPTS, crashes, max_crashes)
    if death.reason == "timeout":
        return verdicts.failed(revision, token, tries, death.message, "timeout", random.random())
    return verdicts.crashed(revision, token, tries, death.message, random.random())


def release_strays(flock: Flock, line: Line, manager_id: str) -> int:
    """Give back what the database ascribes to processes of our manager that are not alive.

    Claims whose answer was lost (R19).
    """
    waiting = {death.worker_id for death in flock.deaths}
    rows = line.call("held_by", worker=None, manager=f"{manager_id}/")
    strays = [verdicts.released(row[0], row[1]) for row in rows if row[2] not in flock.living and row[2] not in waiting]
    for start in range(0, len(strays), 60):
        line.settle(strays[start : start + 60])
    if strays:
        log.warning("revision.released", count=len(strays), why="their worker is not alive")
    return len(strays)


def rescue(line: Line, lease: float, max_crashes: int) -> int:
    """Take back claims whose lease ran out, a bounded number; returns how many. Each counts as a crash."""
    rows = line.call("expired", lease=f"{lease} seconds", how_many=RESCUES_A_SWEEP)
    taken = 0
    for revision, token, worker, attempt, most, crashes in rows:
        tries = Tries(attempt, most or DEFAULT_MAX_ATTEMPTS, crashes, max_crashes)
        told = f"its lease ran out: nobody renewed it for worker {worker}"
        outcome = verdicts.crashed(revision, token, tries, told, random.random())
        if line.settle([outcome], only_expired=True):
            taken += 1
            log.warning("revision.rescued", revision_id=revision, worker=worker)
    return taken
