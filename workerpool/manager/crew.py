"""The workers as a crew: how many there are, and their replacement by a new configuration.

Owns: which places exist, and a reload from its first look at the configuration to the last worker replaced. Does not
own: starting and ending processes (the loop does). Invariant: nothing is replaced by a configuration that has not
started one process well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workerpool import logs
from workerpool.core.plan import Stage
from workerpool.link.board import Board
from workerpool.manager.slot import Slot
from workerpool.manager.spec import ChildSpec, PoolSpec

log = logs.get("manager")
CHECK = "check"


class Crew:
    """The places of the workers among all *slots* of the manager."""

    def __init__(
        self, spec: PoolSpec, slots: dict[str, Slot], board: Board, read_again: Callable[[], PoolSpec | None]
    ) -> None:
        self.spec = spec
        self._slots, self._board, self._read_again = slots, board, read_again
        self._checked: PoolSpec | None = None
        self._once_more = False
        self.resize(spec.workers)

    def workers(self) -> list[Slot]:
        """Return the places of workers."""
        return [slot for slot in self._slots.values() if slot.is_worker]

    def size(self) -> int:
        """Return how many workers are wanted."""
        return sum(slot.wanted for slot in self.workers())

    def resize(self, count: int) -> None:
        """Have *count* workers: free places are filled, the least busy workers finish and leave."""
        count = max(1, min(count, self.spec.most_workers))
        for number in range(self.spec.most_workers):
            child = self.spec.worker(number)
            if self.size() < count and (slot := self._slots.get(child.name)) is None:
                self._slots[child.name] = Slot(child)
            elif self.size() < count and slot is not None:
                slot.wanted = True
        while self.size() > count:
            slot = min((each for each in self.workers() if each.wanted), key=self._use)
            slot.wanted = False
            if slot.process is None:
                del self._slots[slot.name]

    def _use(self, slot: Slot) -> tuple[bool, bool, int]:
        number = slot.spec.board_slot or 0
        return slot.process is not None, self._board.running(number) is not None, -number

    @property
    def is_checking(self) -> bool:
        """Tell whether a new configuration is being tried."""
        return CHECK in self._slots

    def reload(self) -> None:
        """Read the configuration again; if it can be read, try it in a process of its own first."""
        if self.is_checking:
            self._once_more = True  # ten requests at once are one reload, of what is there at the last
            return
        spec = self._checked = self._read_again()
        if spec is not None:
            first = spec.worker(0)
            self._slots[CHECK] = Slot(_check(first))

    def checked(self, status: int) -> None:
        """Take the new configuration over if the process that tried it left with 0."""
        self._slots.pop(CHECK, None)
        spec, self._checked = self._checked, None
        if self._once_more:
            self._once_more = False
            self.reload()
            return
        if status != 0 or spec is None:
            log.error("config.refused", why=f"a worker with it does not start (status {status}); the old one stays")
            return
        self.spec = spec
        for slot in self.workers():
            slot.spec = spec.worker(slot.spec.board_slot or 0)
            slot.boot_failures, slot.restarts = 0, ()
            slot.replacing = slot.process is not None
            if slot.state == "gave_up":
                slot.state = "waiting"
        self.resize(spec.workers)
        log.info("config.reloaded", workers=spec.workers)

    def next_to_replace(self) -> Slot | None:
        """Return the next worker to be replaced: one at a time, each after its current revision."""
        workers = self.workers()
        if any(slot.asked or slot.state in {"starting", "waiting"} for slot in workers if slot.wanted):
            return None
        return next((slot for slot in workers if slot.replacing and slot.process is not None), None)


def _check(first: ChildSpec) -> ChildSpec:
    make = first.brief
    assert make is not None, "a worker has a brief"
    return replace(first, name=CHECK, stage=Stage.CHECK, board_slot=None, brief=lambda _: {**make(0), "slot": CHECK})
