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
from workerpool.store.line import Line, StatementRefused

log = logs.get("keeper")
RESCUES_A_SWEEP = 20
REFUSALS_A_SWEEP = 2
EVENT_OF = {"poison": "revision.poisoned", "cancelled": "revision.cancelled", "timeout": "revision.timed_out"}
#: Ends of a worker for a limit that its attempt was beyond: the attempt failed, its worker did not crash.
LIMITS = frozenset({"memory", "output"})


def bury(death: Death, line: Line, max_crashes: int) -> None:
    """Settle everything that the dead process held, and mark it gone. Raises LineLost; doing it again is harmless."""
    rows = line.call("held_by", worker=death.worker_id, manager=None)
    outcomes = [_judge(death, row, max_crashes) for row in rows]
    written: frozenset[int] = frozenset()
    for start in range(0, len(outcomes), 60):
        written |= line.settle(outcomes[start : start + 60])
    for each in outcomes:
        # (one that was not written had ended already: its worker was killed while the server committed its outcome)
        if each.verdict != "released" and each.revision_id in written:
            log.warning(
                EVENT_OF.get(each.kind or "", "revision.limited" if each.kind == "error" else "revision.crashed"),
                revision_id=each.revision_id,
                worker=death.worker_id,
                why=each.message,
            )
    line.call("mark_gone", worker=death.worker_id)


def _judge(death: Death, row: Sequence[Any], max_crashes: int) -> Outcome:
    revision, token, _, attempt, most, crashes = row
    if revision != death.revision_id or token != death.token or death.reason in {"stop", "lease", "recycled"}:
        return verdicts.released(revision, token)
    tries = Tries(attempt, most or death.max_attempts or DEFAULT_MAX_ATTEMPTS, crashes, max_crashes)
    if death.reason == "cancel":
        return Outcome(revision, token, "cancelled", message=death.message, kind="cancelled")
    if death.reason in LIMITS:
        return verdicts.failed(revision, token, tries, death.message, "error", random.random())
    if death.reason == "timeout":
        return verdicts.failed(revision, token, tries, death.message, "timeout", random.random())
    return verdicts.crashed(revision, token, tries, death.message, random.random())


def release_strays(flock: Flock, line: Line, manager_id: str) -> int:
    """Give back what the database ascribes to processes of our manager that are not alive (R19).

    Only what was seen so at the last look too: news of a process that has just started, or died, may be on its way.
    """
    waiting = {death.worker_id for death in flock.deaths}
    rows = line.call("held_by", worker=None, manager=f"{manager_id}/")
    found = {(row[0], row[1]) for row in rows if row[2] not in flock.living and row[2] not in waiting}
    strays = [verdicts.released(revision, token) for revision, token in found & flock.strays]
    flock.strays = frozenset(found)
    for start in range(0, len(strays), 60):
        line.settle(strays[start : start + 60])
    if strays:
        log.warning("revision.released", count=len(strays), why="their worker is not alive")
    return len(strays)


def rescue(line: Line, lease: float, max_crashes: int, flock: Flock) -> int:
    """Take back claims whose lease ran out, a bounded number; returns how many. Each counts as a crash.

    A living worker of ours keeps its claim: its renewal was kept out by somebody's lock.
    """
    ours = {sheep.worker_id for sheep in flock.renewable(lease)}
    rows = line.call("expired", lease=f"{lease} seconds", how_many=RESCUES_A_SWEEP)
    random.shuffle(rows)  # those that somebody has locked must not stand before the others for ever
    taken = refused = 0
    for revision, token, worker, attempt, most, crashes in rows:
        if refused >= REFUSALS_A_SWEEP:
            break
        if worker in ours:
            continue
        tries = Tries(attempt, most or DEFAULT_MAX_ATTEMPTS, crashes, max_crashes)
        told = f"its lease ran out: nobody renewed it for worker {worker}"
        outcome = verdicts.crashed(revision, token, tries, told, random.random())
        try:
            written = line.settle([outcome], only_expired=True)
        except StatementRefused as error:
            refused += 1
            log.warning("duty.failed", duty="rescue", revision_id=revision, error=str(error))
            continue
        if written:
            taken += 1
            log.warning("revision.rescued", revision_id=revision, worker=worker)
    return taken
