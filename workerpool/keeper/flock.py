"""Whom this keeper keeps: the workers of its manager, as the manager told it.

Owns: who lives, who died and how, and what the manager has not been answered yet. Invariant: a death is forgotten
only after the database took its consequence and the manager was told so, and is taken for a new one never.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from workerpool.link.tether import is_stopped


@dataclass(slots=True)
class Sheep:
    """A living worker process."""

    worker_id: str
    board_slot: int
    pid: int
    restarts: int
    handlers: tuple[str, ...] = ()
    stopped_since: float | None = None


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended: what it was running, and how the manager explains its end."""

    worker_id: str
    reason: str
    """``crash``, ``timeout``, ``memory``, ``output``, ``cancel``, ``stop``, ``lease``, ``recycled``."""
    message: str
    revision_id: int | None
    token: UUID | None
    attempt: int
    max_attempts: int


@dataclass(slots=True)
class Flock:
    """Everything that the manager told."""

    living: dict[str, Sheep] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    buried: set[str] = field(default_factory=set)
    """Workers whose death is settled, and of whom the manager may have told again before it heard so."""
    strays: frozenset[tuple[int, UUID]] = frozenset()
    """Claims that nobody living had at the last look."""
    known: bool = False
    """The manager has told everything once: before that, an unknown worker is not a dead one."""

    def hear(self, message: dict[str, Any]) -> None:
        """Take in one message of the manager."""
        match message["kind"]:
            case "living":
                self.living[message["worker"]] = Sheep(
                    message["worker"],
                    message["board_slot"],
                    message["pid"],
                    message["restarts"],
                    tuple(message["handlers"]),
                )
            case "ended":
                self.living.pop(message["worker"], None)
                told = self.buried.union(death.worker_id for death in self.deaths)
                if message["worker"] not in told:
                    self.deaths.append(_death(message))
            case "forgotten":
                self.buried.discard(message["worker"])
            case "synced":
                self.known = True

    def bury(self, death: Death) -> None:
        """Note that a death is settled."""
        self.deaths.remove(death)
        self.buried.add(death.worker_id)

    @property
    def has_spoken(self) -> bool:
        """Tell whether there are workers, and each has said what it can do."""
        return self.known and bool(self.living) and all(sheep.handlers for sheep in self.living.values())

    def renewable(self, lease: float) -> list[Sheep]:
        """Return the workers whose leases are to be lengthened: alive, and not stopped for a whole lease (R20)."""
        now = time.monotonic()
        for sheep in self.living.values():
            if not is_stopped(sheep.pid):
                sheep.stopped_since = None
            elif sheep.stopped_since is None:
                sheep.stopped_since = now
        return [
            sheep for sheep in self.living.values() if sheep.stopped_since is None or now - sheep.stopped_since < lease
        ]


def _death(message: dict[str, Any]) -> Death:
    token = message.get("token")
    return Death(
        message["worker"],
        message["reason"],
        message["message"],
        message.get("revision"),
        UUID(hex=token) if token else None,
        message.get("attempt", 0),
        message.get("max_attempts", 0),
    )
