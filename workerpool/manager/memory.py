"""How much memory a worker has in use together with the processes of its handler.

Owns: finding the processes and adding them up. Does not own: what follows from it (``slot``, ``core.plan``).
Invariant: a look costs as much as the worker has processes, whatever else runs on the host, and looking never takes
more than a tenth of the manager's time.

A worker is the parent of its orphaned descendants (``link.tether.adopt_orphans``), so that all of them, ``setsid`` or
not, are found from parent to child. Pages that several of them share are counted in each, as in every sum of resident
sizes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from workerpool.core.sizes import format_beside
from workerpool.handlers.subprocess_tree import read_processes

#: Seconds between two looks at one worker.
LOOK_EVERY = 0.25
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Whether the kernel lists the children of a thread (CONFIG_PROC_CHILDREN).
_LISTED = os.path.exists("/proc/thread-self/children")


@dataclass(frozen=True, slots=True)
class Use:
    """Resident bytes of a worker and of its processes, and how many those are."""

    size: int
    processes: int

    def told(self, limit: int) -> str:
        """Return a sentence for people: that this is more than *limit*."""
        whose = "worker" if not self.processes else f"worker and {self.processes} process"
        whose += "es of it" if self.processes > 1 else " of it" if self.processes else ""
        used, allowed = format_beside(self.size, limit), format_beside(limit, limit)
        return f"it used {used} of memory, its limit is {allowed} ({whose})"


class MemoryWatch:
    """Looks at one worker again and again, not too often."""

    def __init__(self) -> None:
        self._next = 0.0

    def look(self, pid: int, now: float) -> Use | None:
        """Return what the worker *pid* uses; None: it was looked at a moment ago."""
        if now < self._next:
            return None
        began = time.monotonic()
        use = measure(pid)
        self._next = now + max(LOOK_EVERY, 10 * (time.monotonic() - began))
        return use


def measure(pid: int) -> Use:
    """Add up what *pid* and all its living descendants have resident; one that ends meanwhile counts as nothing."""
    children = _children if _LISTED else _children_by_parent()
    found, seen = [pid], {pid}
    for each in found:  # it grows while it is read
        new = [child for child in children(each) if child not in seen]
        seen.update(new)
        found += new
    return Use(sum(map(_resident, found)), len(found) - 1)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            # A thread may be gone by now, and its children are another's.
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _children_by_parent() -> Callable[[int], list[int]]:
    """Return the same by one pass over all processes, for a kernel that keeps no lists of children."""
    families: dict[int, list[int]] = {}
    for fact in read_processes().values():
        families.setdefault(fact.parent, []).append(fact.pid)
    return lambda pid: families.get(pid, [])


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
