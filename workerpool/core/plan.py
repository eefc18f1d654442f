"""What the manager does next: from facts about its children to actions.

Owns: the order of start and stop, deadlines, and when a run is over. Does not own: doing it (``manager``).
Invariant: whatever the facts, a stop ends within grace + 5 s: each rung of the ladder has its own deadline, counted
from the stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from workerpool.core.lapse import MANAGER_KILLS


class Stage(IntEnum):
    """The order of start; the order of stop is the reverse."""

    POSTGRES = 0
    PREPARE = 1
    KEEPER = 2
    API = 3
    """Shows; nothing that is performed needs it.

    It is started when the workers are up, so that it takes nothing from them.
    """
    WORKER = 4
    CHECK = 5
    """Tries a new configuration before anything is replaced; nobody waits for it."""


State = Literal["waiting", "starting", "ready", "finished", "gave_up"]
Why = Literal["late", "timeout", "stopped", "stop", "cancel", "memory", "output", "lease"]

#: Seconds a child may take until it says that it is up.
BOOT_LIMIT = 30.0
#: Seconds from a time limit, at which the handler is asked, to the kill of its process.
HARD_AFTER = 2.0
#: Seconds, after the grace, at which each rung of the stop begins: abort, kill workers, kill the keeper, kill
#: postgres, leave whatever is still there.
KILL_WORKERS, KILL_KEEPER, KILL_POSTGRES, LAST_MOMENT = 2.0, 3.7, 4.5, 4.8


@dataclass(frozen=True, slots=True)
class Child:
    """What is known of one child; instants are monotonic."""

    name: str
    stage: Stage
    state: State
    since: float
    start_at: float = 0.0
    wanted: bool = True
    asked: bool = False
    aborted: bool = False
    killed: bool = False
    deadline: float | None = None
    stopped_for: float = 0.0
    cancelled_at: float | None = None
    """When somebody wanted its attempt cancelled."""
    accepted: float | None = None
    """When the lease of its attempt was last known to begin."""
    beyond: Why | None = None
    """The limit, ``memory`` or ``output``, that its attempt was seen beyond."""

    @property
    def alive(self) -> bool:
        """Tell whether a process is there."""
        return self.state in {"starting", "ready"}


@dataclass(frozen=True, slots=True)
class Pool:
    """Everything that a plan needs."""

    children: tuple[Child, ...]
    grace: float
    lease: float
    stopping_since: float | None = None
    quick: bool = False
    cancel_grace: float = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """Start the child."""

    name: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the child to end after what it is doing."""

    name: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Ask the child to end at once."""

    name: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill the child."""

    name: str
    why: Why


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything is over."""


Action = Start | Ask | Abort | Kill | Leave


def plan(pool: Pool, now: float) -> tuple[Action, ...]:
    """Return what to do now; nothing where all is as it should be."""
    if pool.stopping_since is None:
        return tuple(_keep_going(pool, now))
    return tuple(_stop(pool, now))


def end_of_grace(pool: Pool) -> float:
    """Return the instant at which a stop stops being kind; never: no stop was asked for."""
    if pool.stopping_since is None:
        return float("inf")
    return pool.stopping_since + (0.0 if pool.quick else pool.grace)


def _keep_going(pool: Pool, now: float) -> Iterator[Action]:
    for child in pool.children:
        if child.state == "waiting" and child.wanted and now >= child.start_at and _may_start(pool, child, now):
            yield Start(child.name)
        elif child.alive and not child.killed:
            why = _overdue(pool, child, now)
            if why is not None:
                yield Kill(child.name, why)
            elif not child.wanted and not child.asked:
                yield Ask(child.name)


def _overdue(pool: Pool, child: Child, now: float) -> Why | None:
    """Return why *child* may not live any longer, whether the pool is stopping or not."""
    if child.state == "starting" and child.stage >= Stage.KEEPER and now - child.since > BOOT_LIMIT:
        return "late"
    if child.beyond is not None:
        return child.beyond
    if child.deadline is not None and now > child.deadline + HARD_AFTER:
        return "timeout"
    if child.cancelled_at is not None and now > child.cancelled_at + pool.cancel_grace:
        return "cancel"
    if child.accepted is not None and now > child.accepted + MANAGER_KILLS * pool.lease:
        return "lease"
    # A keeper that is stopped renews nobody: it goes before the leases do.
    patience = {Stage.KEEPER: pool.lease / 3, Stage.WORKER: pool.lease}.get(child.stage)
    return "stopped" if patience is not None and child.stopped_for >= patience else None


def _may_start(pool: Pool, child: Child, now: float) -> bool:
    if child.stage <= Stage.PREPARE:
        return all(other.alive for other in pool.children if other.stage < child.stage)
    if child.stage == Stage.API and any(
        _comes_up(other, now) for other in pool.children if other.stage == Stage.WORKER
    ):
        return False
    return all(other.state == "finished" for other in pool.children if other.stage == Stage.PREPARE)


def _comes_up(child: Child, now: float) -> bool:
    return child.state == "starting" or (child.state == "waiting" and child.wanted and now >= child.start_at)


def _stop(pool: Pool, now: float) -> Iterator[Action]:
    alive = [child for child in pool.children if child.alive]
    end = end_of_grace(pool)
    if not alive or now >= end + LAST_MOMENT:
        yield Leave()
        return
    stage = max((child.stage for child in alive if child.stage != Stage.CHECK), default=Stage.CHECK)
    for child in alive:
        if child.killed or (child.stage != stage and child.stage not in {Stage.PREPARE, Stage.CHECK}):
            continue
        if child.stage == Stage.CHECK or now >= end + _last_moment(child.stage):
            yield Kill(child.name, "stop")
        elif (why := _overdue(pool, child, now)) is not None:
            yield Kill(child.name, why)
        elif child.stage == Stage.WORKER and now >= end and not child.aborted:
            yield Abort(child.name)
        elif not child.asked:
            yield Ask(child.name)


def _last_moment(stage: Stage) -> float:
    match stage:
        case Stage.WORKER:
            return KILL_WORKERS
        case Stage.POSTGRES:
            return KILL_POSTGRES
        case _:
            return KILL_KEEPER


def next_moment(pool: Pool, now: float) -> float:
    """Return how many seconds may pass until a plan could say something new without anything having happened.

    At most 1.
    """
    moments = [child.start_at for child in pool.children if child.state == "waiting" and child.wanted]
    moments += [child.deadline + HARD_AFTER for child in pool.children if child.deadline is not None]
    moments += [child.cancelled_at + pool.cancel_grace for child in pool.children if child.cancelled_at is not None]
    moments += [child.accepted + MANAGER_KILLS * pool.lease for child in pool.children if child.accepted is not None]
    moments += [child.since + BOOT_LIMIT for child in pool.children if child.state == "starting"]
    if pool.stopping_since is not None:
        end = end_of_grace(pool)
        moments += [end, *(end + rung for rung in (KILL_WORKERS, KILL_KEEPER, KILL_POSTGRES, LAST_MOMENT))]
    return min([1.0, *(moment - now + 0.001 for moment in moments if moment >= now)])
