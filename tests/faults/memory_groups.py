"""A memory cgroup whose limit a test sets: the kernel kills in it, and nowhere else.

Version 1 is used where the machine has its memory controller there, else version 2. A group is named after the pid of
the tests; those of a run that was killed are taken away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
from functools import cache
from pathlib import Path

from tests.process.daemon import gone, until

PREFIX = "workerpool-test-"


class Refused(Exception):
    """No group can be made here; the message says why."""


@cache
def missing() -> str:
    """Return what these tests need and do not have; empty: nothing."""
    if os.geteuid() != 0:
        return "memory cgroups can be made by root only"
    try:
        MemoryGroup(1 << 30).remove()
    except Refused as error:
        return f"a memory cgroup cannot be made: {error}"
    return ""


def _mounted() -> tuple[Path, int]:
    """Return the folder of the hierarchy that has the memory controller, and its version. Raises Refused."""
    unified = None
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(folder), 1
        if kind == "cgroup2":
            unified = Path(folder)
    if unified is None:
        raise Refused("no cgroups are mounted")
    controllers = (unified / "cgroup.controllers").read_text().split()
    if "memory" not in controllers:
        raise Refused(f"{unified} has no memory controller")
    return unified, 2


class MemoryGroup:
    """A group of processes that may have *limit* bytes of memory together."""

    def __init__(self, limit: int) -> None:
        parent, self._version = _mounted()
        self.folder = parent / f"{PREFIX}{os.getpid()}"
        try:
            for left in parent.glob(f"{PREFIX}*"):
                if gone(int(re.sub(r"\D", "", left.name))):
                    with contextlib.suppress(OSError):
                        left.rmdir()
            if self._version == 2 and "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                (parent / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir(exist_ok=True)
            self._limit(limit)
        except OSError as error:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            raise Refused(f"{error.filename}: {error.strerror}") from error

    def _limit(self, limit: int) -> None:
        names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if self._version == 1 else ("memory.max",)
        for name in names:
            if (self.folder / name).exists():
                (self.folder / name).write_text(str(limit))
        if (self.folder / "memory.swap.max").exists():
            (self.folder / "memory.swap.max").write_text("0")

    def take(self, *pids: int) -> None:
        """Put processes into the group; what they start is in it too."""
        for pid in pids:
            (self.folder / "cgroup.procs").write_text(str(pid))

    @property
    def killed(self) -> int:
        """How many processes the kernel has killed here for want of memory."""
        file = "memory.oom_control" if self._version == 1 else "memory.events"
        found = re.search(r"^oom_kill (\d+)$", (self.folder / file).read_text(), re.MULTILINE)
        return int(found[1]) if found else 0

    def remove(self) -> None:
        """Take the group away, when the last of its processes is gone."""

        def removed() -> bool:
            with contextlib.suppress(FileNotFoundError):
                try:
                    self.folder.rmdir()
                except OSError:
                    return False
            return True

        until(removed, what=f"{self.folder} is empty")
