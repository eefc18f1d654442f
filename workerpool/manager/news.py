"""What the keeper must know of the workers: who lives, who died and how.

Owns: the deaths that the keeper has not answered for yet. Invariant: a death is told again until the keeper says that
the database took its consequence (R21), whichever keeper that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from workerpool.core.plan import Stage
from workerpool.manager.slot import End, Slot

AGAIN_AFTER = 1.0


class News:
    """The manager's side of the keeper's knowledge."""

    def __init__(self, manager_id: str, slots: Callable[[], Iterable[Slot]]) -> None:
        self._manager_id, self._slots = manager_id, slots
        self._deaths: dict[str, dict[str, Any]] = {}
        self._again_at = 0.0

    @property
    def unanswered(self) -> int:
        """How many deaths no keeper has answered for."""
        return len(self._deaths)

    def worker_id(self, slot: Slot) -> str:
        """Return the name of the process in *slot*, with its generation."""
        return f"{self._manager_id}/{slot.name}.{slot.generation}"

    def tell(self, kind: str, **fields: Any) -> None:
        """Send the keeper a message, if there is a keeper."""
        for slot in self._slots():
            if slot.spec.stage == Stage.KEEPER and slot.process is not None and slot.process.channel is not None:
                slot.process.channel.send(kind, **fields)

    def tell_living(self, slot: Slot) -> None:
        """Say that the process in *slot* lives, and what it can do; before it can claim anything."""
        assert slot.process is not None
        self.tell(
            "living",
            worker=self.worker_id(slot),
            board_slot=slot.spec.board_slot,
            pid=slot.process.pid,
            restarts=slot.restart_count,
            handlers=list(slot.handlers),
        )

    def tell_death(self, slot: Slot, end: End) -> None:
        """Say how the process in *slot* ended, and what it was running."""
        running = end.running
        message: dict[str, Any] = {"worker": self.worker_id(slot), "reason": end.reason, "message": end.message}
        if running is not None:
            message |= {"revision": running.revision_id, "token": running.token.hex, "attempt": running.attempt}
            message["max_attempts"] = running.max_attempts
        self._deaths[message["worker"]] = message
        self.tell("ended", **message)

    def answered(self, worker_id: str) -> None:
        """The keeper has settled for this one, and is not told of it again."""
        self._deaths.pop(worker_id, None)
        self.tell("forgotten", worker=worker_id)

    def tell_all(self) -> None:
        """Tell a keeper that is new everything."""
        for slot in self._slots():
            if slot.is_worker and slot.process is not None:
                self.tell_living(slot)
        for death in self._deaths.values():
            self.tell("ended", **death)
        self.tell("synced")

    def repeat(self, now: float) -> None:
        """Tell unanswered deaths again, once a second."""
        if self._deaths and now >= self._again_at:
            self._again_at = now + AGAIN_AFTER
            for death in self._deaths.values():
                self.tell("ended", **death)
